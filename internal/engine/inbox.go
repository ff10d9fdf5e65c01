package engine

import (
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// Most that is kept ahead of order (D1).
const (
	maxAheadFrames = 1024
	maxAheadBytes  = 1 << 20
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
// later, or drops it: as a duplicate, or for want of room.
func (in *inbox) accept(f *wire.Frame, now time.Duration) bool {
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
	if len(in.ahead) >= maxAheadFrames || in.aheadBytes+len(f.Data) > maxAheadBytes {
		in.dropped = max(in.dropped, f.Seq)
		return false
	}
	if in.ahead == nil {
		in.ahead = make(map[uint64]wire.Frame)
	}
	in.ahead[f.Seq] = *f
	in.aheadBytes += len(f.Data)
	return false
}

// hasGap reports whether something was dropped and has not come again.
func (in *inbox) hasGap() bool { return in.taken < in.dropped }

// next returns the frame that has come into order, if any.
func (in *inbox) next() (wire.Frame, bool) {
	if len(in.ahead) == 0 {
		return wire.Frame{}, false
	}
	f, ok := in.ahead[in.taken+1]
	if !ok {
		return f, false
	}
	delete(in.ahead, f.Seq)
	in.aheadBytes -= len(f.Data)
	if len(in.ahead) == 0 {
		in.ahead = nil
	}
	return f, true
}

// AckPending is the cost of the frames received since the last ack was sent.
func (e *Endpoint) AckPending() int { return e.in.ackPending }
