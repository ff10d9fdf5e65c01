package backend

import (
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc/mem"

	"github.com/pollbridge/pollbridge/internal/message"
)

// smallMessage is the length below which a message is copied rather than kept
// by reference: many short messages can share one of gRPC's read buffers, and
// one that waits for an ack would pin all of it.
const smallMessage = 1 << 10

// Message is one gRPC message. Free returns the bytes to their pool.
type Message = message.Message

// rawCodec passes messages through unchanged. Its value is the content-subtype,
// so that the content-type is that of a client with generated code:
// "application/grpc" for the empty one.
type rawCodec string

func (c rawCodec) Name() string { return string(c) }

// Marshal implements encoding.CodecV2 for *Message and *invocation. The bytes
// are the garbage collector's, so neither gRPC's free nor its retry buffer can
// outlive them.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *Message:
		return appendPieces(make(mem.BufferSlice, 0, len(v.Pieces)), v), nil
	case *invocation:
		v.taken = v.turn.endWait()
		return v.marshal(), nil
	}
	return nil, fmt.Errorf("backend: cannot send a %T", v)
}

// marshal returns the request. A message of one piece, as most are, allocates
// nothing.
func (in *invocation) marshal() mem.BufferSlice {
	out := mem.BufferSlice(in.buffer[:0])
	if len(in.request.Pieces) != 1 {
		return appendPieces(out, &in.request)
	}
	in.whole = in.request.Pieces[0]
	return append(out, &in.whole)
}

func appendPieces(out mem.BufferSlice, m *Message) mem.BufferSlice {
	for _, p := range m.Pieces {
		out = append(out, mem.SliceBuffer(p))
	}
	return out
}

// Unmarshal implements encoding.CodecV2 for *incoming, and for *Reply, which
// collects every message.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *incoming:
		v.take(data)
	case *Reply:
		v.take(data)
	default:
		return fmt.Errorf("backend: cannot receive a %T", v)
	}
	return nil
}

// incoming is the last message received. Its Pieces, though not the bytes that
// they point to, are valid until the next.
type incoming struct {
	Message
	first [1][]byte // backs Pieces, mostly
	chunk []byte    // short messages are copied here, one after the other
}

// maxChunk bounds what one short message can pin.
const maxChunk = 4 << 10

func (m *incoming) take(data mem.BufferSlice) {
	n := data.Len()
	switch {
	case n == 0:
		m.Message = Message{}
	case n < smallMessage:
		m.copy(data, n)
	default:
		m.keep(data)
	}
}

// takeOnly is take for an only message: if it is one piece of garbage-collected
// memory, it pins nothing else and need not be copied.
func (m *incoming) takeOnly(data mem.BufferSlice) {
	if len(data) == 1 {
		if whole, ok := data[0].(mem.SliceBuffer); ok && len(whole) > 0 {
			m.first[0] = whole
			m.Message = Message{Pieces: m.first[:]}
			return
		}
	}
	m.take(data)
}

func (m *incoming) copy(data mem.BufferSlice, n int) {
	if cap(m.chunk)-len(m.chunk) < n {
		m.chunk = make([]byte, 0, max(n, min(2*cap(m.chunk), maxChunk)))
	}
	start, end := len(m.chunk), len(m.chunk)+n
	m.chunk = m.chunk[:end]
	data.CopyTo(m.chunk[start:])
	m.first[0] = m.chunk[start:end:end]
	m.Message = Message{Pieces: m.first[:]}
}

// keep holds a reference to data, which gRPC frees when Unmarshal returns.
func (m *incoming) keep(data mem.BufferSlice) {
	data.Ref()
	m.Pieces = m.first[:0]
	for _, b := range data {
		if b.Len() > 0 {
			m.Pieces = append(m.Pieces, b.ReadOnlyData())
		}
	}
	var freed atomic.Bool
	m.Free = func() {
		if !freed.Swap(true) {
			data.Free()
		}
	}
}
