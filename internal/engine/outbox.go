package engine

import (
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// sentFrame is a frame that was sent and not acked.
type sentFrame struct {
	wire.Frame
	msg    *outMessage // the message that Data is cut from
	cost   int
	on     LinkID        // the link it was last sent on
	at     time.Duration // when, on the session's clock
	then   delivery      // outbox.latest at that time
	lost   bool          // to be sent again
	once   bool          // sent once only: fit for measuring
	vain   uint8         // times that it was sent again, longer than a batch should be
	proofs uint8         // times in a row that it was lost, and an answer without it was not
	ends   int32         // length of the batch whose last frame it was; 0: it was not the last
	asked  uint64        // the exchange that was answered without it, of which more is not known; 0: none
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
	window        int // most bytes sent and not acked, now
	acked         uint64
	sent          queue[*sentFrame] // seq acked+1 and following
	bytesInFlight int               // cost of sent
	latest        delivery

	cancels []uint64       // streams whose CANCEL is unsent
	grants  []*Stream      // streams whose WINDOW is unsent
	turn    queue[*Stream] // streams in turn; some may have nothing to send any more
	active  int32          // streams in turn that may send
	lost    int32          // frames in sent that are lost
	closing *wire.Close    // the unsent CLOSE frame
	ready   int            // weight of the streams that have credit
	stalled queue[*Stream] // streams whose Send waits for room in the outbox
	resent  uint64         // frames sent more than once
	bytes   int            // message bytes held, sent or not
	share   *Share
}

func (o *outbox) lastSeq() uint64 { return o.acked + uint64(o.sent.len()) }

// hold accounts for message bytes kept (n > 0) or let go (n < 0).
func (o *outbox) hold(n int) {
	o.bytes += n
	o.share.Hold(n)
}

// unsent is how many bytes of messages were not sent, with credit or without.
func (o *outbox) unsent() int { return o.bytes + o.sent.len()*wire.FrameCost - o.bytesInFlight }

// full reports whether more should not be queued: twice the window waits (D6).
func (o *outbox) full() bool { return o.bytesInFlight+o.ready > 2*o.window }

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
		o.bytesInFlight -= f.cost
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

// markLost has every unacked frame sent again for which lost is true.
func (o *outbox) markLost(lost func(on LinkID, at time.Duration) bool) {
	for i := range o.sent.len() {
		f := *o.sent.at(i)
		if !f.lost && lost(f.on, f.at) {
			f.lost = true
			o.lost++
		}
	}
}

// SeqOn is the number of the oldest unacked frame that was last sent on a link; 0:
// there is none.
func (e *Endpoint) SeqOn(link LinkID) uint64 {
	for i := range e.out.sent.len() {
		if f := *e.out.sent.at(i); f.on == link {
			return f.Seq
		}
	}
	return 0
}

// accepts reports whether the endpoint is a bridge's.
func (e *Endpoint) accepts() bool {
	_, ok := e.role.(requestRole)
	return ok
}

// replace puts another frame in the place of an unacked one.
func (o *outbox) replace(f *sentFrame, by wire.Frame) {
	if f.msg != nil {
		o.hold(-len(f.Data))
		f.msg.pending--
		f.msg.settle()
		f.msg = nil
	}
	cost := payloadOf(&by) + wire.FrameCost
	o.bytesInFlight -= f.cost - cost
	f.Frame, f.cost = by, cost
}

// frameRoom is the room that a window must have for one more frame.
const frameRoom = wire.MaxFragment + wire.FrameCost

// roomFor reports whether a window of the given size takes one more frame. It
// always does when nothing is in flight.
func roomFor(inFlight, window int) bool { return inFlight == 0 || inFlight+frameRoom <= window }

// sendable reports whether a link with room would find something to send.
func (o *outbox) sendable() bool {
	switch {
	case o.lost > 0, len(o.cancels) > 0, len(o.grants) > 0:
		return true
	case o.active == 0:
		return o.closing != nil
	}
	return roomFor(o.bytesInFlight, o.window)
}

// Sendable reports whether a link with room would find something to send.
func (e *Endpoint) Sendable() bool { return e.out.sendable() }

// creditWait is how long readers have for what came, until credit goes on a one-shot
// link without the rest of what they are about to give.
const creditWait = time.Millisecond

// refillWait is how long senders have for another full body, until what the last one
// left goes on a one-shot link as a short one, in the place of a full one.
const refillWait = time.Millisecond

// CreditDue returns when credit alone is worth a one-shot link.
func (e *Endpoint) CreditDue(now time.Duration) time.Duration {
	if e.received == 0 {
		return now
	}
	return max(now, e.creditAt)
}

// SendDue returns when a one-shot link is to be used for what is to be sent.
func (e *Endpoint) SendDue(now time.Duration) time.Duration {
	o := &e.out
	urgent := o.lost > 0 || len(o.cancels) > 0 || o.closing != nil
	switch {
	case !o.sendable():
		return now + LongestWait
	case urgent:
	case o.active == 0:
		return e.CreditDue(now)
	case o.unsent() < e.bodyLength():
		return max(now, e.refillAt)
	}
	return now
}

// ReadyBytes is how many bytes of messages wait to be sent and have credit.
func (e *Endpoint) ReadyBytes() int { return e.out.ready }

// QueuedBytes is how many bytes of messages are queued and have credit.
func (e *Endpoint) QueuedBytes() (n int) {
	for i := range e.out.turn.len() {
		if st := *e.out.turn.at(i); st.send.active {
			n += max(min(st.send.bytes, st.credit()), 0)
		}
	}
	return n
}

// AckedTo is the number of the last frame that the peer has acked.
func (e *Endpoint) AckedTo() uint64 { return e.out.acked }

// SentTo is the number of the last frame that was sent.
func (e *Endpoint) SentTo() uint64 { return e.out.lastSeq() }

// Resent is how many frames were sent more than once, each time counted.
func (e *Endpoint) Resent() uint64 { return e.out.resent }

// Flushed reports whether all that was queued was sent, and acked if acks are
// waited for.
func (e *Endpoint) Flushed(acked bool) bool {
	return e.out.active == 0 && (!acked || e.out.sent.len() == 0)
}

// MarkLost has every unacked frame sent again for which lost is true. It is given
// the link that the frame was last sent on, and when.
func (e *Endpoint) MarkLost(lost func(on LinkID, at time.Duration) bool) { e.out.markLost(lost) }

// OldestUnacked returns when the oldest unacked frame was last sent; false: there
// is none.
func (e *Endpoint) OldestUnacked() (time.Duration, bool) { return e.out.oldestUnacked() }

// QueueClose queues CLOSE, the session's last frame (L6).
func (e *Endpoint) QueueClose(c *wire.Close) {
	e.out.closing = c
	e.Wake()
}

// Closing reports whether CLOSE is queued and not sent.
func (e *Endpoint) Closing() bool { return e.out.closing != nil }

// hasGap reports whether the peer lacks the frame which it must take next, and it
// is under way on no link: it must go even on a link without room, because
// what fills the link cannot be acked before it.
func (o *outbox) hasGap() bool { return o.sent.len() > 0 && (*o.sent.at(0)).lost }

// oldestUnacked returns when the oldest unacked frame was last sent.
func (o *outbox) oldestUnacked() (time.Duration, bool) {
	if o.sent.len() == 0 {
		return 0, false
	}
	return (*o.sent.at(0)).at, true
}

// drop lets go of every frame, when the session is over.
func (o *outbox) drop() {
	for o.sent.len() > 0 {
		f := o.sent.pop()
		if f.msg != nil {
			o.hold(-len(f.Data))
			f.msg.pending--
			f.msg.dropped = true
			f.msg.settle()
		}
		freeFrame(f)
	}
	for o.stalled.len() > 0 {
		signal(o.stalled.pop().writable)
	}
	o.turn.reset()
	o.bytesInFlight, o.lost, o.active, o.cancels, o.grants = 0, 0, 0, nil, nil
}
