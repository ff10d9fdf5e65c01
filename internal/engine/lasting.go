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

	// lastingBatch is the longest batch on a lasting link. It is halved when one
	// breaks with frames in flight, so that networks which break links by size let
	// some pass.
	lastingBatch = 64 << 10

	// growAfter is how many batches must have been acked until they grow.
	growAfter = 4
)

// Lasting is what the two ends of a lasting link have in common: it carries many
// batches each way. Guarded by the endpoint's lock.
type Lasting struct {
	Waiter
	ID     LinkID
	Heard  time.Duration // when the last batch came
	Pinged time.Duration // when the ping was sent that has no pong; 0: none is out

	built         bool   // its first batch was built
	pong          uint64 // to be sent; 0: none
	padding       []byte // of the ping, to be sent back
	bytesInFlight int    // handed to the link and not acked
	acked         int    // bytes acked since batches last grew
}

// Received notes that a batch came.
func (l *Lasting) Received(b *wire.Batch, now time.Duration) {
	l.Heard = now
	if b.Ping != 0 {
		l.pong, l.padding = b.Ping, b.Padding
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
	switch {
	case !l.built, l.pong != 0, e.AsksNow(), d.Frames && e.out.sendable(), e.in.ackPending >= ackBytes:
		d.At = now
	case e.in.ackPending > 0:
		d.At = e.in.ackPendingSince + ackDelay
	}
	return d
}

// Build appends a batch with the given header to dst, and with frames if they
// are due. It reports how many went in.
func (l *Lasting) Build(dst []byte, limit int, h *wire.Batch, due Due) ([]byte, int) {
	e := l.ep
	h.X = l.ID.Number
	if !l.built {
		h.Session = e.id[:]
	}
	if l.pong != 0 {
		h.Pong = l.pong
		if h.Padding == nil {
			h.Padding = l.padding
		}
	}
	l.built, l.pong, l.padding = true, 0, nil
	f := fill{link: l.ID, limit: min(limit, e.maxBatch()), room: e.maxInFlight() - l.bytesInFlight}
	return e.build(dst, h, due.Frames, f)
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

// delivered notes that n bytes were acked: batches may be longer.
func (l *Lasting) delivered(n int) {
	if l.acked += n; l.acked >= growAfter*l.ep.batch.Size {
		l.acked = 0
		l.ep.batch.Grow()
	}
}

// Attach makes l the lasting link on which new frames may go, in place of
// another.
func (e *Endpoint) Attach(l *Lasting) { e.attached = l }

// Detach takes l out, if it is the attached one.
func (e *Endpoint) Detach(l *Lasting) {
	if e.attached != l {
		return
	}
	if l.bytesInFlight > 0 {
		e.batch.Failed()
	}
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

// hasRoom reports whether the link takes more frames.
func (e *Endpoint) hasRoom(l *Lasting) bool {
	return roomFor(l.bytesInFlight, e.maxInFlight()) || e.out.hasGap()
}

// maxInFlight is how many bytes should be in flight on a lasting link at most.
// After one has broken it is a batch, so that something is acked before the next
// breaks.
func (e *Endpoint) maxInFlight() int {
	if e.batch.Reduced() {
		return e.batch.Size
	}
	return e.Path.MaxInFlight() + frameRoom // the last frame may go beyond it
}

// maxBatch is how long a batch on a lasting link may be: a quarter of what may
// be in flight, since nothing of a batch is acked before its end. With halves the
// path would stand idle, and be taken for a slower one.
func (e *Endpoint) maxBatch() int {
	if e.batch.Reduced() {
		return e.batch.Size
	}
	return min(e.batch.Size, e.Path.MaxInFlight()/4)
}

// LastingBatch is how long a batch on a lasting link may be, as learnt.
func (e *Endpoint) LastingBatch() int { return e.batch.Size }
