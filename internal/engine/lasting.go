package engine

import (
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// Times of a lasting link.
const (
	// PingAfter is how long nothing may come until the bridge pings.
	PingAfter = 15 * time.Second
	// PongLimit is how long a ping has for its answer.
	PongLimit = 10 * time.Second
)

const (
	// ackDelay and ackBytes are what is pending before an ack goes alone.
	ackDelay = 20 * time.Millisecond
	ackBytes = 16 << 10

	// leastYield is how long frames wait for the ack of the peer's first ones, on a
	// network that breaks links which carry much.
	leastYield = 3 * ackDelay

	// acksPerTrip is how many acks go alone in a round trip at most, so that a fast
	// path does not need thousands a second.
	acksPerTrip = 16
)

// Lasting is what the two ends of a lasting link have in common: it carries many
// batches each way. Guarded by the endpoint's lock.
type Lasting struct {
	Waiter
	ID     LinkID
	Heard  time.Duration // when the last batch came
	Pinged time.Duration // when the ping was sent that has no pong; 0: none is out

	built         bool          // its first batch was built
	pong          uint64        // to be sent; 0: none
	padding       []byte        // of the ping, to be sent back
	bytesInFlight int           // handed to the link and not acked
	passed        int           // longest batch of which something was acked
	acked         int           // bytes acked
	careful       bool          // links broke before with nothing acked
	yieldUntil    time.Duration // the peer's first frames are acked before ours go
}

// Received notes that a batch came.
func (l *Lasting) Received(b *wire.Batch, now time.Duration) {
	l.Heard = now
	if b.Ping != 0 {
		l.pong, l.padding = b.Ping, b.Padding
	}
	if l.careful && l.yieldUntil == 0 && len(b.Frames) > 0 {
		l.yieldUntil = now + l.ep.Path.AtLeast(leastYield, 2)
	}
}

// Built reports whether the link's first batch was built.
func (l *Lasting) Built() bool { return l.built }

// BytesInFlight is what was handed to the link and is not acked.
func (l *Lasting) BytesInFlight() int { return l.bytesInFlight }

// Due returns what either end of a lasting link has to send, and when.
func (l *Lasting) Due(now time.Duration) Due {
	e := l.ep
	d := Due{At: now + LongestWait, Frames: e.err == nil && e.carries(l) && e.hasRoom(l)}
	if d.Frames && l.acked == 0 && now < l.yieldUntil {
		d.At, d.Frames = l.yieldUntil, false
	}
	switch {
	case !l.built, l.pong != 0, e.AsksNow(), d.Frames && e.out.sendable():
		d.At = now
	case e.in.ackPending > 0:
		d.At = min(d.At, e.ackAt())
	}
	return d
}

// ackAt is when an ack goes alone.
func (e *Endpoint) ackAt() time.Duration {
	at := e.in.ackPendingSince + ackDelay
	if e.in.ackPending < ackBytes {
		return at
	}
	return min(at, e.in.ackedAt+e.Path.SmoothedRTT()/acksPerTrip)
}

// Build builds a batch with the given header in out, and with frames if they are
// due. It reports how many went in.
func (l *Lasting) Build(out *Outgoing, limit int, h *wire.Batch, due Due) int {
	e := l.ep
	h.X = l.ID.Number
	if !l.built {
		h.Session = e.SessionID()
	}
	if l.pong != 0 {
		h.Pong = l.pong
		if h.Padding == nil {
			h.Padding = l.padding
		}
	}
	l.built, l.pong, l.padding = true, 0, nil
	f := fill{link: l.ID, limit: min(limit, e.maxBatch()), room: e.maxInFlight() - l.bytesInFlight}
	n := e.build(out, h, due.Frames, f)
	if due.Frames && e.out.sendable() && !e.hasRoom(l) {
		e.Path.Filled()
	}
	return n
}

func (l *Lasting) add(f *sentFrame) {
	if l != nil && f.on == l.ID {
		l.bytesInFlight += f.cost
	}
}

// remove reports whether the frame was in flight on the link.
func (l *Lasting) remove(f *sentFrame) bool {
	if l == nil || f.on != l.ID {
		return false
	}
	l.bytesInFlight -= f.cost
	return true
}

// delivered notes that a frame was acked that was in flight on the link.
func (l *Lasting) delivered(f *sentFrame) {
	l.acked += f.cost
	l.ep.batch.Acked(l.acked)
	if f.ends > 0 {
		l.passed = max(l.passed, int(f.ends))
		l.ep.batch.Passed(int(f.ends))
	}
}

// broke takes from the end of the link what it says of the lengths of batches.
func (l *Lasting) broke() {
	o, shortest := &l.ep.out, int32(0)
	for i := range o.sent.len() {
		f := *o.sent.at(i)
		if f.on == l.ID && int(f.ends) > l.passed && (shortest == 0 || f.ends < shortest) {
			shortest = f.ends
		}
	}
	l.ep.batch.Broke(l.acked, int(shortest))
}

// Attach makes l the lasting link on which new frames may go, in place of
// another.
func (e *Endpoint) Attach(l *Lasting) {
	if e.attached != nil {
		e.attached.broke()
	}
	e.attached = l
	l.careful = e.batch.Opened()
}

// Detach takes l out, if it is the attached one.
func (e *Endpoint) Detach(l *Lasting) {
	if e.attached != l {
		return
	}
	l.broke()
	e.attached = nil
}

// Prefer names, by its number, the lasting link that gets new frames (L3);
// 0: one-shot links do.
func (e *Endpoint) Prefer(number uint64) { e.prefer = number }

// Preferred is the number that Prefer was called with last.
func (e *Endpoint) Preferred() uint64 { return e.prefer }

// Carries reports whether new frames go on a lasting link (L3).
func (e *Endpoint) Carries() bool { return e.attached != nil && e.carries(e.attached) }

func (e *Endpoint) carries(l *Lasting) bool { return l == e.attached && l.ID.Number == e.prefer }

// hasRoom reports whether the link takes more frames: where links broke before, one
// batch alone until something is acked.
func (e *Endpoint) hasRoom(l *Lasting) bool {
	if l.careful && l.acked == 0 {
		return l.bytesInFlight == 0
	}
	return roomFor(l.bytesInFlight, e.maxInFlight()) || e.out.hasGap()
}

// maxInFlight is how many bytes should be in flight on a lasting link at most.
func (e *Endpoint) maxInFlight() int {
	return e.Path.MaxInFlight() + frameRoom // the last frame may go beyond it
}

// maxBatch is how long a batch on a lasting link may be.
func (e *Endpoint) maxBatch() int { return min(e.batch.Size, e.Path.MaxBatch()) }

// LastingBatch is how long a batch on a lasting link may be, as learnt.
func (e *Endpoint) LastingBatch() int { return e.batch.Size }
