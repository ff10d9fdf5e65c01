// Package wsframe writes binary WebSocket messages in one piece, past
// coder/websocket, which would copy each and write it in pieces of 4 KiB. The
// library keeps reading, the handshakes and the control frames, which it writes
// through the same Writer, each in one call.
package wsframe

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"io"
	"net"
	"sync"
)

// Room is the room that Writer.WriteMessage needs before a message: the longest
// header of a frame without a mask (RFC 6455 section 5.2).
const Room = 2 + 8

// Parts of a frame's header.
const (
	finalBinary = 0x82 // the only frame of a binary message
	finalClose  = 0x88
	maskBit     = 0x80
	length16    = 126
	length64    = 127
	keySize     = 4
)

// Writer is a server's end. Its methods may be called by several goroutines.
type Writer struct {
	w io.Writer

	mu     sync.Mutex // held for one write
	closed bool       // a close frame was written: none may follow it
}

// NewWriter returns a Writer to w, which it gives whole frames.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes what the library has: a whole control frame, or the handshake's
// answer. After a close frame it drops it.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return len(p), nil
	}
	w.closed = len(p) > 0 && p[0] == finalClose
	return w.w.Write(p)
}

// WriteMessage writes buf[Room:] as one binary message, and the header into the
// bytes before it. After a close frame it returns net.ErrClosed.
func (w *Writer) WriteMessage(buf []byte) error {
	var room [Room]byte
	head := appendHeader(room[:0], len(buf)-Room, 0)
	frame := buf[Room-len(head):]
	copy(frame, head)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(frame)
}

// write writes a frame. The caller holds mu.
func (w *Writer) write(frame []byte) error {
	if w.closed {
		return net.ErrClosed
	}
	_, err := w.w.Write(frame)
	return err
}

// MaskedWriter is a client's end: it masks what it writes.
type MaskedWriter struct {
	Writer
	key [keySize]byte
	buf []byte
}

// NewMaskedWriter returns a MaskedWriter to w, which it gives whole frames.
func NewMaskedWriter(w io.Writer) *MaskedWriter { return &MaskedWriter{Writer: Writer{w: w}} }

// WriteMessage writes message as one binary message. It leaves its bytes alone
// and does not keep them. After a close frame it returns net.ErrClosed.
func (w *MaskedWriter) WriteMessage(message []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = rand.Read(w.key[:]) // never fails
	frame := append(appendHeader(w.buf[:0], len(message), maskBit), w.key[:]...)
	start := len(frame)
	frame = append(frame, message...)
	mask(frame[start:], w.key)
	w.buf = frame
	return w.write(frame)
}

// appendHeader appends the header of a binary message of n bytes in one frame.
func appendHeader(dst []byte, n int, masked byte) []byte {
	switch {
	case n < length16:
		return append(dst, finalBinary, masked|byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, finalBinary, masked|length16), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, finalBinary, masked|length64), uint64(n))
}

// mask masks p with key, a stretch of many keys at a time.
func mask(p []byte, key [keySize]byte) {
	var keys [256]byte
	n := copy(keys[:], key[:])
	for n < len(keys) && n < len(p) {
		n += copy(keys[n:], keys[:n])
	}
	for len(p) > 0 {
		p = p[subtle.XORBytes(p, p, keys[:n]):]
	}
}
