package session

import (
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// parsed holds batches for ParseBatch. Frames are copied where they are kept,
// so that a batch is free again as soon as it was taken in.
var parsed = sync.Pool{New: func() any { return new(wire.Batch) }}

// pooledFrames is the room for frames that a batch in the pool may have.
const pooledFrames = 256

func newBatch() *wire.Batch { return parsed.Get().(*wire.Batch) }

func freeBatch(b *wire.Batch) {
	if cap(b.Frames) > pooledFrames {
		return
	}
	clear(b.Frames)
	*b = wire.Batch{Frames: b.Frames[:0]}
	parsed.Put(b)
}

// frames holds sentFrames between an ack and the next frame sent.
var frames = sync.Pool{New: func() any { return new(sentFrame) }}

func newFrame() *sentFrame { return frames.Get().(*sentFrame) }

func freeFrame(f *sentFrame) {
	*f = sentFrame{}
	frames.Put(f)
}

// alarm is a timer that is set again and again by one goroutine.
type alarm struct{ timer *time.Timer }

// in makes the alarm ring after d; a ring that was set before is forgotten.
func (a *alarm) in(d time.Duration) <-chan time.Time {
	if a.timer == nil {
		a.timer = time.NewTimer(d)
	} else {
		a.timer.Reset(d)
	}
	return a.timer.C
}

func (a *alarm) stop() {
	if a.timer != nil {
		a.timer.Stop()
	}
}
