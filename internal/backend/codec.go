package backend

import (
	"fmt"
	"sync/atomic"

	"google.golang.org/grpc/mem"
)

// smallMessage is the length below which a message is copied rather than kept
// by reference: many short messages can share one of gRPC's read buffers, and
// one that waits for an ack would pin all of it.
const smallMessage = 1 << 10

// Message is one gRPC message: its bytes in order, in one or more pieces.
type Message struct {
	Pieces [][]byte
	// Free, if not nil, gives the bytes back. Calls after the first do nothing.
	Free func()
}

// rawCodec hands messages through as they are. Its value is the
// content-subtype, so that the content-type is what a client with generated
// code would have sent: "application/grpc" for the empty one.
type rawCodec string

func (c rawCodec) Name() string { return string(c) }

// unaryRequest is the request of a Pool.Invoke. gRPC marshals it once a channel
// took the RPC, which ends the wait for one.
type unaryRequest struct {
	Message
	turn  *turn
	taken bool // in time
}

// Marshal implements encoding.CodecV2 for *Message and *unaryRequest. The bytes
// are the garbage collector's, so neither gRPC's free nor its retry buffer can
// outlive them.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	var m *Message
	switch v := v.(type) {
	case *Message:
		m = v
	case *unaryRequest:
		v.taken = v.turn.endWait()
		m = &v.Message
	default:
		return nil, fmt.Errorf("backend: cannot send a %T", v)
	}
	out := make(mem.BufferSlice, len(m.Pieces))
	for i, p := range m.Pieces {
		out[i] = mem.SliceBuffer(p)
	}
	return out, nil
}

// Unmarshal implements encoding.CodecV2 for *Message, and for *Reply, which
// takes every message that comes.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	switch v := v.(type) {
	case *Message:
		*v = take(data)
	case *Reply:
		v.Messages = append(v.Messages, take(data))
	default:
		return fmt.Errorf("backend: cannot receive a %T", v)
	}
	return nil
}

func take(data mem.BufferSlice) Message {
	n := data.Len()
	switch {
	case n == 0:
		return Message{}
	case n < smallMessage:
		return Message{Pieces: [][]byte{data.Materialize()}}
	default:
		return keep(data)
	}
}

// keep takes a reference of data, which gRPC frees when Unmarshal returns.
func keep(data mem.BufferSlice) Message {
	data.Ref()
	pieces := make([][]byte, 0, len(data))
	for _, b := range data {
		if b.Len() > 0 {
			pieces = append(pieces, b.ReadOnlyData())
		}
	}
	var freed atomic.Bool
	return Message{Pieces: pieces, Free: func() {
		if !freed.Swap(true) {
			data.Free()
		}
	}}
}
