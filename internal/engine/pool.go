package engine

import (
	"sync"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
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

// Outgoing is a batch on its way out. The messages in it are not freed before it is
// released, whatever becomes of them meanwhile: they may be acked on another link.
// What is encoded is bounded by what a link writes at once, and not accounted for.
type Outgoing struct {
	wire.Builder
	batch transport.Batch
	held  []*outMessage // whose bytes it refers to, as often as it does
}

var outgoing = sync.Pool{New: func() any { return new(Outgoing) }}

// pooledOutgoing is the most memory, in bytes, that a batch in the pool may have.
const pooledOutgoing = 2 * tune.MaxLasting

// NewOutgoing returns an empty batch; Release takes it back.
func NewOutgoing() *Outgoing { return outgoing.Get().(*Outgoing) }

// append adds a frame. msg, if not nil, is the message that its bytes are of.
func (o *Outgoing) append(f *wire.Frame, msg *outMessage) {
	if o.AppendFrame(f) && msg != nil {
		msg.pending++
		o.held = append(o.held, msg)
	}
}

// Finish ends the batch.
func (o *Outgoing) Finish() { o.batch = o.Builder.Finish() }

// Repeat makes it a batch that was sent before.
func (o *Outgoing) Repeat(batch []byte) { o.batch = transport.Batch{batch} }

// Batch is what was built. It is valid until Release.
func (o *Outgoing) Batch() transport.Batch { return o.batch }

// Release lets go of the messages, and of the batch. It is called with the endpoint's
// lock held.
func (o *Outgoing) Release() {
	for _, msg := range o.held {
		msg.pending--
		msg.settle()
	}
	clear(o.held)
	o.held, o.batch = o.held[:0], nil
	if o.Reset(); o.Cap() <= pooledOutgoing {
		outgoing.Put(o)
	}
}
