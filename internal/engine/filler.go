package engine

import (
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// fill says how much of what is to be sent goes into a batch.
type fill struct {
	link  LinkID
	limit int // bytes of the batch
	room  int // cost that the link may still take
}

// build builds a batch in out, with frames if there are to be any. The ack, and
// what else every batch says, is added to the header. It reports how many frames
// went in.
func (e *Endpoint) build(out *Outgoing, h *wire.Batch, frames bool, f fill) int {
	h.Ack, h.Resend = e.in.taken, e.askIfDue()
	e.in.ackPending, e.in.ackedAt = 0, e.Now()
	fl := filler{fill: f, e: e, o: &e.out, b: out, now: e.Now()}
	out.Begin(h)
	if frames {
		fl.fillIn()
	}
	out.Finish()
	if fl.n > 0 {
		fl.last.ends = int32(out.Len())
	}
	return fl.n
}

// BuildOneShot builds a batch for a link that carries one each way, of at most
// limit bytes, in out. It reports how many frames went in.
func (e *Endpoint) BuildOneShot(out *Outgoing, h *wire.Batch, link LinkID, limit int, frames bool) int {
	h.X = link.Number
	e.oneShotLimit = uint32(min(limit, tune.LongBatch))
	e.followPath()
	n := e.build(out, h, frames && !e.withholds(h), fill{link: link, limit: limit, room: Unlimited})
	if n > 0 && e.out.active > 0 { // full: senders may have waited for the room that it makes
		e.refillAt = e.Now() + refillWait
	}
	return n
}

// filler puts frames into one batch for one link.
type filler struct {
	fill
	e    *Endpoint
	o    *outbox
	b    *Outgoing
	now  time.Duration
	n    int        // frames put in
	last *sentFrame // of them
}

const maxFramesPerBatch = 1024

// fillIn puts into the batch what is to be sent, in the order of rule W5: lost
// frames, CANCEL, WINDOW, then streams in turn, and CLOSE last.
func (fl *filler) fillIn() {
	if fl.o.lost > 0 && !fl.again() {
		return
	}
	_ = fl.cancels() && fl.grants() && fl.streams() && fl.close()
}

// again sends lost frames, oldest first. It reports whether all went in. Those
// that the peer must take next need no room on the link.
func (fl *filler) again() bool {
	gap := true
	for i := 0; i < fl.o.sent.len() && fl.o.lost > 0; i++ {
		f := *fl.o.sent.at(i)
		if !f.lost {
			gap = false
			continue
		}
		if !fl.fits(&f.Frame) && !(gap && fl.inBatch(&f.Frame)) {
			return false
		}
		if len(f.Data) > firstPiece { // those to come may be too long
			*fl.e.longestPassed(fl.link.Kind) = 0
		}
		alone := fl.giveUp(f, i == 0)
		fl.b.append(&f.Frame, f.msg)
		f.lost, f.once = false, false
		fl.o.lost--
		fl.o.resent++
		fl.sent(f)
		if alone {
			return false
		}
	}
	return true
}

// fits reports whether a frame may go in. The first always may: the link had
// room, and a limit shorter than one frame would never be met.
func (fl *filler) fits(f *wire.Frame) bool {
	return fl.n == 0 || fl.room >= payloadOf(f)+wire.FrameCost && fl.inBatch(f)
}

func (fl *filler) inBatch(f *wire.Frame) bool {
	return fl.n < maxFramesPerBatch && fl.b.Len()+wire.FrameSize(f) <= fl.limit
}

func (fl *filler) sent(f *sentFrame) {
	fl.e.attached.remove(f)
	f.on, f.at, f.then, f.ends = fl.link, fl.now, fl.o.latest, 0
	fl.last = f
	fl.e.attached.add(f)
	fl.room -= f.cost
	fl.n++
}

// put sends a new frame, which gets its seq now (W5).
func (fl *filler) put(frame wire.Frame, msg *outMessage) {
	f := newFrame()
	f.Frame, f.msg, f.once = frame, msg, true
	f.Seq = fl.o.lastSeq() + 1
	f.cost = payloadOf(&f.Frame) + wire.FrameCost
	if fl.o.bytesInFlight == 0 { // what was delivered before took no time of this
		fl.o.latest.at, fl.o.latest.sent = fl.now, fl.now
	}
	fl.b.append(&f.Frame, msg)
	fl.o.bytesInFlight += f.cost
	fl.o.sent.push(f)
	fl.sent(f)
}

func (fl *filler) cancels() bool {
	for len(fl.o.cancels) > 0 {
		f := wire.Frame{Stream: fl.o.cancels[0], Type: wire.TypeCancel}
		if !fl.fits(&f) {
			return false
		}
		fl.o.cancels = fl.o.cancels[1:]
		fl.put(f, nil)
	}
	fl.o.cancels = nil
	return true
}

func (fl *filler) grants() bool {
	for len(fl.o.grants) > 0 {
		st := fl.o.grants[0]
		if st.ended {
			fl.o.grants = fl.o.grants[1:]
			continue
		}
		f := wire.Frame{Stream: st.id, Type: wire.TypeWindow, Limit: st.recv.limit}
		if !fl.fits(&f) {
			return false
		}
		fl.o.grants = fl.o.grants[1:]
		st.recv.granting = false
		fl.put(f, nil)
	}
	fl.o.grants = nil
	return true
}

// streams serves the streams in turn, one frame each.
func (fl *filler) streams() bool {
	for fl.o.turn.len() > 0 {
		st := *fl.o.turn.at(0)
		if st.send.active && !fl.one(st) {
			return false
		}
		fl.o.turn.pop()
		if st.send.inTurn = st.send.active; st.send.inTurn {
			fl.o.turn.push(st)
		}
	}
	return true
}

// one sends one frame of a stream. It reports false if the batch, the link or
// the session's window has no room for it.
func (fl *filler) one(st *Stream) bool {
	item := st.send.queue.at(0)
	if item.msg != nil {
		return fl.fragment(st, item.msg)
	}
	f := item.frame(st.id)
	if !roomFor(fl.o.bytesInFlight, fl.o.window) || !fl.fits(&f) {
		return false
	}
	if f.Type == wire.TypeOpen {
		fl.e.number(st)
	}
	f.Stream = st.id
	st.send.queue.pop()
	st.update()
	fl.put(f, nil)
	if f.Type == wire.TypeEnd {
		st.ended = true
		fl.e.forget(st)
	}
	return true
}

// smallestCut is the least worth cutting off a longer message to fill a batch.
const smallestCut = 1 << 10

// fragmentOverhead bounds what a fragment's encoding adds to its data.
const fragmentOverhead = 48

// fragment cuts the next fragment off a message and sends it.
func (fl *filler) fragment(st *Stream, msg *outMessage) bool {
	piece := msg.next()
	n := min(len(piece), fl.e.longestPiece(fl.link.Kind), st.credit())
	room, least := fl.limit-fl.b.Len()-fragmentOverhead, smallestCut
	if fl.n == 0 {
		room, least = max(room, smallestPiece), smallestPiece
	}
	if room < n && room < least || fl.n >= maxFramesPerBatch {
		return false
	}
	n = min(n, room)
	if !roomFor(fl.o.bytesInFlight, fl.o.window) || fl.n > 0 && fl.room < n+wire.FrameCost {
		return false
	}
	f := wire.Frame{Stream: st.id, Type: wire.TypeMessage}
	if !msg.started {
		f.First, f.Length = true, uint64(msg.length)
		st.send.used += wire.FrameCost
	}
	f.Data = msg.take(n)
	st.send.used += uint64(n)
	st.sentBytes(n)
	if msg.done() {
		st.send.queue.pop()
	}
	st.update()
	fl.put(f, msg)
	return true
}

// close sends CLOSE, the session's last frame, when nothing else is left (L6).
func (fl *filler) close() bool {
	if fl.o.closing == nil {
		return true
	}
	f := wire.Frame{Type: wire.TypeClose, Close: fl.o.closing}
	if !fl.fits(&f) {
		return false
	}
	fl.o.closing = nil
	fl.put(f, nil)
	return true
}
