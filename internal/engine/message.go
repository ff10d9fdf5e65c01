package engine

import (
	"sync"

	"github.com/pollbridge/pollbridge/internal/message"
)

// Message is one gRPC message. The engine calls Free once, when it needs the bytes
// of a sent message no more.
type Message = message.Message

// copyBelow is the size up to which a sent message is copied: a pooled buffer
// of the sender's may be far larger than a short message in it.
const copyBelow = 1 << 10

// outMessages holds outMessages that are settled.
var outMessages = sync.Pool{New: func() any { return new(outMessage) }}

// outMessage is a message on its way out: cut into fragments as it is sent,
// freed when the last of them is acked.
type outMessage struct {
	pieces  [][]byte
	free    func()
	length  int
	cut     int // bytes that went into fragments
	started bool
	pending int // fragments sent and not acked
	dropped bool
	first   [1][]byte // the room for pieces, mostly
}

func newOutMessage(m Message) *outMessage {
	out := outMessages.Get().(*outMessage)
	out.free, out.length = m.Free, m.Len()
	if out.length <= copyBelow && (m.Free != nil || len(m.Pieces) > 1) {
		out.pieces = append(out.first[:0], append([]byte(nil), m.Bytes()...))
		if m.Free != nil {
			m.Free()
		}
		out.free = nil
		return out
	}
	out.pieces = append(out.first[:0], m.Pieces...) // a copy: take shortens them
	return out
}

// next returns the rest of the current piece: what one fragment may take from.
func (m *outMessage) next() []byte {
	for len(m.pieces) > 0 && len(m.pieces[0]) == 0 {
		m.pieces = m.pieces[1:]
	}
	if len(m.pieces) == 0 {
		return nil
	}
	return m.pieces[0]
}

// take cuts a fragment of n bytes off the current piece.
func (m *outMessage) take(n int) []byte {
	m.started = true
	m.pending++
	if n == 0 {
		return nil
	}
	data := m.pieces[0][:n:n]
	m.pieces[0] = m.pieces[0][n:]
	m.cut += n
	return data
}

func (m *outMessage) done() bool { return m.started && m.cut == m.length }

// settle frees the bytes, and m with them, once nothing can ask for them again.
func (m *outMessage) settle() {
	if m.pending > 0 || !(m.dropped || m.done()) {
		return
	}
	if m.free != nil {
		m.free()
	}
	*m = outMessage{}
	outMessages.Put(m)
}

// inMessage is a message being put together.
type inMessage struct {
	pieces   [][]byte
	length   int
	got      int
	reserved int // bytes of the reassembly budget that it holds (D4)
	first    [1][]byte
}
