package client

import (
	"math"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/engine"
)

// codec is encoding.CodecV2; codecV1 adapts an older codec.
type codec = encoding.CodecV2

type codecV1 struct{ encoding.Codec }

func (c codecV1) Marshal(v any) (mem.BufferSlice, error) {
	b, err := c.Codec.Marshal(v)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (c codecV1) Unmarshal(data mem.BufferSlice, v any) error {
	return c.Codec.Unmarshal(data.Materialize(), v)
}

// encode marshals m. The caller owns one reference to the buffers. A nil m is an
// empty message.
func encode(c codec, m any, limit int) (mem.BufferSlice, error) {
	if m == nil {
		return nil, nil
	}
	data, err := c.Marshal(m)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	n := data.Len()
	if n > limit {
		data.Free()
		return nil, status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", n, limit)
	}
	if int64(n) > math.MaxUint32 {
		data.Free()
		return nil, status.Errorf(codes.ResourceExhausted, "grpc: message too large (%d bytes)", n)
	}
	return data, nil
}

// toMessage returns data as a message for the session, which takes over one
// reference.
func toMessage(data mem.BufferSlice) engine.Message {
	m := engine.Message{Pieces: make([][]byte, 0, len(data))}
	for _, b := range data {
		m.Pieces = append(m.Pieces, b.ReadOnlyData())
		if _, plain := b.(mem.SliceBuffer); !plain {
			m.Free = data.Free
		}
	}
	return m
}

// decode unmarshals m into v.
func decode(c codec, m engine.Message, v any, limit int) error {
	if n := m.Len(); n > limit {
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", n, limit)
	}
	data := whole(m)
	defer data.Free()
	if err := c.Unmarshal(mem.BufferSlice{data}, v); err != nil {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

// whole returns m in one piece, as codecs need it: gRPC's own way to make it one
// clears the memory first.
func whole(m engine.Message) mem.Buffer {
	if len(m.Pieces) < 2 {
		return mem.SliceBuffer(m.Bytes())
	}
	data := wholes.Get(m.Len())
	at := (*data)[:0]
	for _, piece := range m.Pieces {
		at = append(at, piece...)
	}
	return mem.NewBuffer(data, &wholes)
}

// wholes holds memory for messages while they are unmarshalled.
var wholes bufferPool

// bufferPool is a mem.BufferPool.
type bufferPool struct{ sync.Pool }

// keptBuffer is the largest buffer, in bytes, that is kept.
const keptBuffer = 1 << 20

// Get implements mem.BufferPool.
func (p *bufferPool) Get(n int) *[]byte {
	data, ok := p.Pool.Get().(*[]byte)
	if !ok {
		data = new([]byte)
	}
	*data = slices.Grow((*data)[:0], n)[:n]
	return data
}

// Put implements mem.BufferPool.
func (p *bufferPool) Put(data *[]byte) {
	if cap(*data) <= keptBuffer {
		p.Pool.Put(data)
	}
}
