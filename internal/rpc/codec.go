package rpc

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// message is one message: what the codec takes and gives.
type message struct {
	call   *httpCall
	pieces [][]byte
	first  [1][]byte // the room for pieces of what was received
	err    error     // why it was not taken, which connect-go would call wrong input
}

func (m *message) len() int {
	n := 0
	for _, p := range m.pieces {
		n += len(p)
	}
	return n
}

// codec hands bytes through as they are. Its value is its name.
type codec string

// Name implements connect.Codec.
func (c codec) Name() string { return string(c) }

// MarshalWrite implements connect.Codec for *message, and for the details of a
// status, which connect-go marshals with the codec called proto.
func (codec) MarshalWrite(_ context.Context, dst io.Writer, msg any) error {
	switch msg := msg.(type) {
	case *message:
		for _, p := range msg.pieces {
			if _, err := dst.Write(p); err != nil {
				return err
			}
		}
		return nil
	case proto.Message:
		b, err := proto.Marshal(msg)
		if err == nil {
			_, err = dst.Write(b)
		}
		return err
	}
	return fmt.Errorf("rpc: cannot send a %T", msg)
}

// UnmarshalRead implements connect.Codec for *message. What it takes is the
// garbage collector's: gRPC may keep the bytes for a retry.
func (codec) UnmarshalRead(_ context.Context, src io.Reader, msg any) error {
	m, ok := msg.(*message)
	if !ok {
		return fmt.Errorf("rpc: cannot receive a %T", msg)
	}
	sized, ok := src.(interface{ Len() int })
	if !ok {
		return fmt.Errorf("rpc: cannot receive from a %T", src)
	}
	if m.err = m.call.hold(sized.Len()); m.err != nil {
		return m.err
	}
	m.first[0] = make([]byte, sized.Len())
	m.pieces = m.first[:]
	_, err := io.ReadFull(src, m.first[0])
	return err
}
