package engine

import (
	"sync"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// parsed holds batches for ParseBatch. Frames are copied where they are kept,
// so that a batch is free again as soon as it was taken in.
var parsed = sync.Pool{New: func() any { return new(wire.Batch) }}

// pooledFrames is the room for frames that a batch in the pool may have.
const pooledFrames = 256

// NewBatch returns an empty batch; FreeBatch takes it back. Its frames are copied
// where they are kept.
func NewBatch() *wire.Batch { return parsed.Get().(*wire.Batch) }

// FreeBatch takes a batch back that nothing refers to.
func FreeBatch(b *wire.Batch) {
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
