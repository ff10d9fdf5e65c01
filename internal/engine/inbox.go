package engine

import (
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Most that is kept ahead of order (D1): all but one of the bodies that may be in
// flight, one where the budget has no room.
const (
	maxAheadFrames = (MaxExchanges - 1) * maxFramesPerBatch
	maxAheadBytes  = (MaxExchanges - 1) * tune.MaxBatch
)

// inbox takes frames in order, each once (D1).
type inbox struct {
	taken      uint64                // the ack: every frame up to it was taken
	ahead      map[uint64]wire.Frame // frames ahead of order
	aheadBytes int
	dropped    uint64 // highest seq that was dropped: ask for it again

	ackedAt         time.Duration // when the last ack was sent
	ackPending      int           // cost of frames received since
	ackPendingSince time.Duration // when the first of them came
}

// accept takes f if it is next in order and reports true; else it keeps it for
// later, held in share, or drops it: as a duplicate, or for want of room.
func (in *inbox) accept(f *wire.Frame, now time.Duration, share *Share) bool {
	if in.ackPending == 0 {
		in.ackPendingSince = now
	}
	in.ackPending += len(f.Data) + wire.FrameCost
	switch {
	case f.Seq <= in.taken:
		return false
	case f.Seq == in.taken+1:
		return true
	}
	if _, have := in.ahead[f.Seq]; have {
		return false
	}
	if !in.hasRoom(len(f.Data), share) {
		in.dropped = max(in.dropped, f.Seq)
		return false
	}
	if in.ahead == nil {
		in.ahead = make(map[uint64]wire.Frame)
	}
	in.ahead[f.Seq] = *f
	in.hold(len(f.Data), share)
	return false
}

// hasRoom reports whether another frame of n bytes may be kept ahead of order.
func (in *inbox) hasRoom(n int, share *Share) bool {
	frames, bytes := maxAheadFrames, maxAheadBytes
	if share.Tight() {
		frames, bytes = maxFramesPerBatch, tune.MaxBatch
	}
	return len(in.ahead) < frames && in.aheadBytes+n <= bytes
}

// hold accounts for bytes kept ahead of order (n > 0) or let go (n < 0).
func (in *inbox) hold(n int, share *Share) {
	in.aheadBytes += n
	share.Hold(n)
}

// drop lets go of what is ahead of order, when the session is over.
func (in *inbox) drop(share *Share) {
	in.hold(-in.aheadBytes, share)
	in.ahead = nil
}

// hasGap reports whether something was dropped and has not come again.
func (in *inbox) hasGap() bool { return in.taken < in.dropped }

// next returns the frame that has come into order, if any.
func (in *inbox) next(share *Share) (wire.Frame, bool) {
	if len(in.ahead) == 0 {
		return wire.Frame{}, false
	}
	f, ok := in.ahead[in.taken+1]
	if !ok {
		return f, false
	}
	delete(in.ahead, f.Seq)
	in.hold(-len(f.Data), share)
	if len(in.ahead) == 0 {
		in.ahead = nil
	}
	return f, true
}

// AckPending is the cost of the frames received since the last ack was sent.
func (e *Endpoint) AckPending() int { return e.in.ackPending }
