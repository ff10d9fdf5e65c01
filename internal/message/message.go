// Package message is what the engine and the gRPC side hand each other.
package message

import "bytes"

// Message is one gRPC message: its bytes in order, in one or more pieces.
type Message struct {
	Pieces [][]byte
	// Free, if not nil, gives the bytes back. Who sends a message has the engine
	// call it once, when the message is acked or dropped with its stream. It must
	// not block and must not call back into the session. Calls after the first do
	// nothing.
	Free func()
}

// Len is the number of bytes of the message.
func (m Message) Len() int {
	n := 0
	for _, p := range m.Pieces {
		n += len(p)
	}
	return n
}

// Bytes returns the message in one piece, copying only if it has several.
func (m Message) Bytes() []byte {
	switch len(m.Pieces) {
	case 0:
		return nil
	case 1:
		return m.Pieces[0]
	}
	return bytes.Join(m.Pieces, nil)
}
