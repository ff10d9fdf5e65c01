package rpc

import (
	"bytes"
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc/mem"
)

// grpcCodec hands bytes through as they are, for every content-subtype.
type grpcCodec struct{}

// Name implements encoding.CodecV2.
func (grpcCodec) Name() string { return "proto" }

// Unmarshal implements encoding.CodecV2 for *inbound. What it takes is never given
// back to gRPC's pool: it is the garbage collector's.
func (grpcCodec) Unmarshal(data mem.BufferSlice, msg any) error {
	m, ok := msg.(*inbound)
	if !ok {
		return fmt.Errorf("rpc: cannot receive a %T", msg)
	}
	data.Ref()
	m.pieces = m.first[:0]
	for _, b := range data {
		if n := b.Len(); n > 0 {
			m.pieces = append(m.pieces, b.ReadOnlyData())
			m.size += n
		}
	}
	return nil
}

// Marshal implements encoding.CodecV2 for *outbound.
func (grpcCodec) Marshal(msg any) (mem.BufferSlice, error) {
	m, ok := msg.(*outbound)
	if !ok {
		return nil, fmt.Errorf("rpc: cannot send a %T", msg)
	}
	return m.buffers(), nil
}

// inbound is a message that was received.
type inbound struct {
	pieces [][]byte
	first  [1][]byte // backs pieces, mostly
	size   int
}

// outbound is a message to be sent.
type outbound struct {
	pieces [][]byte
	done   func()       // called once gRPC needs the bytes no more; nil: nothing to do then
	left   atomic.Int32 // pieces that gRPC still needs
}

// buffers returns the pieces as gRPC takes them. It counts references to long ones
// only; short ones are copied where the bytes are not the garbage collector's.
func (m *outbound) buffers() mem.BufferSlice {
	out := make(mem.BufferSlice, 0, len(m.pieces))
	if m.done == nil {
		for _, p := range m.pieces {
			out = append(out, mem.SliceBuffer(p))
		}
		return out
	}
	m.left.Store(1) // this function's own
	for i, p := range m.pieces {
		if mem.IsBelowBufferPoolingThreshold(cap(p)) {
			out = append(out, mem.SliceBuffer(bytes.Clone(p)))
			continue
		}
		m.left.Add(1)
		out = append(out, mem.NewBuffer(&m.pieces[i], m))
	}
	m.Put(nil)
	return out
}

// Get implements mem.BufferPool. Nobody calls it.
func (*outbound) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

// Put implements mem.BufferPool: gRPC needs a piece no more.
func (m *outbound) Put(*[]byte) {
	if m.left.Add(-1) == 0 {
		m.done()
	}
}
