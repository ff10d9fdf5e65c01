package session

import (
	"slices"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// carriage says which link a frame went with.
type carriage struct {
	x  uint64
	ws bool
}

// sentFrame is a frame that was sent and not acked.
type sentFrame struct {
	wire.Frame
	msg  *outMessage // the message that Data is cut from
	cost int
	on   carriage      // the link it was last sent on
	at   time.Duration // when, on the session's clock
	then delivery      // outbox.latest at that time
	lost bool          // to be sent again
	once bool          // sent once only: fit for measuring
}

// delivery is what was acked last.
type delivery struct {
	sum  uint64        // cost of all that was ever acked
	at   time.Duration // when that was acked
	sent time.Duration // when the last of it had been sent
}

// since is what was delivered since then, and the time that it took: that of
// its acks or of its sending, whichever is longer, because acks that come in
// bunches say nothing of the path's rate.
func (d delivery) since(then delivery, sent time.Duration) (uint64, time.Duration) {
	return d.sum - then.sum, max(d.at-then.at, sent-then.sent)
}

// outItem is an element of a stream's send queue: a frame, of which a queue
// need not hold all fields, or a message that is cut into frames when it is sent.
type outItem struct {
	msg     *outMessage // nil: the frame
	kind    wire.FrameType
	open    *wire.Open
	headers *wire.Headers
	end     *wire.End
}

func (i *outItem) frame(stream uint64) wire.Frame {
	return wire.Frame{Stream: stream, Type: i.kind, Open: i.open, Headers: i.headers, End: i.end}
}

// outbox is a session's only send queue. It keeps each frame until acked (D2).
type outbox struct {
	window int // most bytes sent and not acked
	acked  uint64
	sent   queue[*sentFrame] // seq acked+1 and following
	flying int               // cost of sent
	lost   int               // frames in sent that are lost
	latest delivery

	cancels []uint64        // streams whose CANCEL is unsent
	grants  []*Stream       // streams whose WINDOW is unsent
	turn    queue[*Stream]  // streams with something to send, in turn
	closing *wire.Close     // the unsent CLOSE frame
	ready   int             // weight of the streams that have credit
	stalled queue[*Stream]  // streams whose Send waits for room in the outbox
	resent  uint64          // frames sent more than once
	bytes   int             // message bytes held, sent or not
	onBytes func(delta int) // the registry's account
}

func (o *outbox) lastSeq() uint64 { return o.acked + uint64(o.sent.len()) }

// hold accounts for message bytes kept (n > 0) or let go (n < 0).
func (o *outbox) hold(n int) {
	o.bytes += n
	if o.onBytes != nil && n != 0 {
		o.onBytes(n)
	}
}

// headerRoom is more than what a batch mostly has beside its messages.
const headerRoom = 256

// grow makes room in dst for a batch with the messages that are ready, so that
// it is not lengthened, and copied, step by step.
func (o *outbox) grow(dst []byte, limit int) []byte {
	return slices.Grow(dst, min(limit, o.ready+o.ready/8+headerRoom))
}

// full tells that more should not be queued: twice the window waits (D6).
func (o *outbox) full() bool { return o.flying+o.ready > 2*o.window }

// payloadOf is what a frame counts beside FrameCost (D2).
func payloadOf(f *wire.Frame) int {
	n := len(f.Data)
	switch {
	case f.Open != nil:
		n = len(f.Open.Method) + wire.MetadataSize(f.Open.Metadata)
	case f.Headers != nil:
		n = wire.MetadataSize(f.Headers.Metadata)
	case f.End != nil:
		n = len(f.End.Message) + len(f.End.Details) + wire.MetadataSize(f.End.Trailers)
	}
	return n
}

// ack drops the frames up to seq, which the peer has taken. It reports false
// if that many were never sent (D1). sampled is called for each frame that is
// fit for measuring.
func (o *outbox) ack(seq uint64, now time.Duration, dropped func(*sentFrame)) bool {
	if seq > o.lastSeq() {
		return false
	}
	for o.acked < seq {
		f := o.sent.pop()
		o.acked++
		o.flying -= f.cost
		o.latest = delivery{sum: o.latest.sum + uint64(f.cost), at: now, sent: f.at}
		if f.lost {
			o.lost--
		}
		dropped(f)
		if f.msg != nil {
			o.hold(-len(f.Data))
			f.msg.pending--
			f.msg.settle()
		}
		freeFrame(f)
	}
	return true
}

// markLost makes every unacked frame for which gone is true be sent again.
func (o *outbox) markLost(gone func(*sentFrame) bool) {
	for i := range o.sent.len() {
		f := *o.sent.at(i)
		if !f.lost && gone(f) {
			f.lost = true
			o.lost++
		}
	}
}

// frameRoom is the room that a window must have for one more frame.
const frameRoom = wire.MaxFragment + wire.FrameCost

// roomFor tells that a window of the given size takes one more frame. It
// always does when nothing is in flight.
func roomFor(flying, window int) bool { return flying == 0 || flying+frameRoom <= window }

// sendable tells that a link with room would find something to send.
func (o *outbox) sendable() bool {
	if o.lost > 0 || len(o.cancels) > 0 || len(o.grants) > 0 {
		return true
	}
	for o.turn.len() > 0 && !(*o.turn.at(0)).sendable() {
		o.leaveTurn()
	}
	if o.turn.len() == 0 {
		return o.closing != nil
	}
	return roomFor(o.flying, o.window)
}

// leaveTurn takes the first stream out of turn.
func (o *outbox) leaveTurn() {
	st := o.turn.pop()
	st.send.inTurn = false
	st.setBlocked(st.send.queue.len() > 0)
}

// gapped tells that the peer lacks the frame which it must take next, and that
// it is under way on no link: it must go even on a link without room, because
// what fills the link cannot be acked before it.
func (o *outbox) gapped() bool { return o.sent.len() > 0 && (*o.sent.at(0)).lost }

// oldestSent is when the oldest unacked frame was last sent.
func (o *outbox) oldestSent() (time.Duration, bool) {
	if o.sent.len() == 0 {
		return 0, false
	}
	return (*o.sent.at(0)).at, true
}

// filler puts frames into one batch for one link.
type filler struct {
	s    *Session
	o    *outbox
	b    *wire.Builder
	on   carriage
	now  time.Duration
	max  int // bytes of the batch
	room int // cost that the link may still take
	n    int // frames put in

	socket *flight // of the attached WebSocket; nil: none
}

const maxFramesPerBatch = 1024

// fill puts into the batch what is to be sent, in the order of rule W5: lost
// frames, CANCEL, WINDOW, then streams in turn, and CLOSE last.
func (fl *filler) fill() {
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
		fl.b.AppendFrame(&f.Frame)
		f.lost, f.once = false, false
		fl.o.lost--
		fl.o.resent++
		fl.sent(f)
	}
	return true
}

// fits tells whether a frame may go in. The first always may: the link had
// room, and a limit shorter than one frame would never be met.
func (fl *filler) fits(f *wire.Frame) bool {
	return fl.n == 0 || fl.room >= frameRoom && fl.inBatch(f)
}

func (fl *filler) inBatch(f *wire.Frame) bool {
	return fl.n < maxFramesPerBatch && fl.b.Len()+wire.FrameSize(f) <= fl.max
}

func (fl *filler) sent(f *sentFrame) {
	fl.socket.remove(f)
	f.on, f.at, f.then = fl.on, fl.now, fl.o.latest
	fl.socket.add(f)
	fl.room -= f.cost
	fl.n++
}

// put sends a new frame, which gets its seq now (W5).
func (fl *filler) put(frame wire.Frame, msg *outMessage) {
	f := newFrame()
	f.Frame, f.msg, f.once = frame, msg, true
	f.Seq = fl.o.lastSeq() + 1
	f.cost = payloadOf(&f.Frame) + wire.FrameCost
	if fl.o.flying == 0 { // what was delivered before took no time of this
		fl.o.latest.at, fl.o.latest.sent = fl.now, fl.now
	}
	fl.b.AppendFrame(&f.Frame)
	fl.o.flying += f.cost
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
		if !st.sendable() {
			fl.o.leaveTurn()
			continue
		}
		if !fl.one(st) {
			return false
		}
		if st.sendable() {
			fl.o.turn.push(fl.o.turn.pop())
			continue
		}
		fl.o.leaveTurn()
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
	if !roomFor(fl.o.flying, fl.o.window) || !fl.fits(&f) {
		return false
	}
	if f.Type == wire.TypeOpen {
		fl.s.number(st)
	}
	f.Stream = st.id
	st.send.queue.pop()
	fl.put(f, nil)
	if f.Type == wire.TypeEnd {
		fl.s.endSent(st)
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
	n := min(len(piece), wire.MaxFragment, st.credit())
	room := fl.max - fl.b.Len() - fragmentOverhead
	if fl.n == 0 {
		room = max(room, smallestCut)
	}
	if room < n && room < smallestCut || fl.n >= maxFramesPerBatch {
		return false
	}
	if !roomFor(fl.o.flying, fl.o.window) || fl.n > 0 && fl.room < frameRoom {
		return false
	}
	n = min(n, room)
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
