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
	"slices"
	"sync"
	"time"
)

// Parts of a frame's header.
const (
	finalBinary = 0x82 // the only frame of a binary message
	finalClose  = 0x88
	maskBit     = 0x80
	length16    = 126
	length64    = 127
	keySize     = 4
	headerSize  = 2 + 8 + keySize // of the longest
)

// order lets one write at a time through, and none after a close frame.
type order struct {
	sync.Mutex
	closed bool // a close frame was written
}

// control writes what the library has: a whole control frame, or the handshake's
// answer. After a close frame it drops it.
func (o *order) control(w io.Writer, p []byte) (int, error) {
	o.Lock()
	defer o.Unlock()
	if o.closed {
		return len(p), nil
	}
	o.closed = len(p) > 0 && p[0] == finalClose
	return w.Write(p)
}

// Writer is a server's end. Its methods may be called by several goroutines.
type Writer struct {
	order
	conn   deadlined
	header [headerSize]byte
	pieces net.Buffers // of a frame
	left   net.Buffers // of them, while they are written
}

// NewWriter returns a Writer to conn. The peer has that long to take each frame: one
// that is gone must not hold a writer for ever.
func NewWriter(conn net.Conn, timeout time.Duration) *Writer {
	return &Writer{conn: deadlined{conn, timeout}}
}

// Write is for the library.
func (w *Writer) Write(p []byte) (int, error) { return w.control(w.conn, p) }

// WriteMessage writes pieces as one binary message, without a copy where they are
// long and conn is TCP's. After a close frame it returns net.ErrClosed.
func (w *Writer) WriteMessage(pieces [][]byte) error {
	w.Lock()
	defer w.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	n := size(pieces)
	header := appendHeader(w.header[:0], n, 0)
	if _, tcp := w.conn.Conn.(*net.TCPConn); !tcp || n < worthPieces {
		return w.writeWhole(header, pieces)
	}
	if err := w.conn.begin(); err != nil {
		return err
	}
	w.pieces = append(append(w.pieces[:0], header), pieces...)
	w.left = w.pieces
	_, err := w.left.WriteTo(w.conn.Conn)
	return err
}

// worthPieces is the length of a message, in bytes, from which it is written in
// pieces.
const worthPieces = 4 << 10

// writeWhole writes a frame in one piece, as a TLS record should be.
func (w *Writer) writeWhole(header []byte, pieces [][]byte) error {
	buf := whole.Get().(*[]byte)
	*buf = append(slices.Grow((*buf)[:0], len(header)+size(pieces)), header...)
	for _, p := range pieces {
		*buf = append(*buf, p...)
	}
	_, err := w.conn.Write(*buf)
	if cap(*buf) <= keptWhole {
		whole.Put(buf)
	}
	return err
}

var whole = sync.Pool{New: func() any { return new([]byte) }}

// keptWhole is the largest buffer, in bytes, that is kept.
const keptWhole = 512 << 10

// deadlined gives each write a deadline of its own.
type deadlined struct {
	net.Conn
	timeout time.Duration
}

func (d deadlined) begin() error { return d.SetWriteDeadline(time.Now().Add(d.timeout)) }

func (d deadlined) Write(p []byte) (int, error) {
	if err := d.begin(); err != nil {
		return 0, err
	}
	return d.Conn.Write(p)
}

// MaskedWriter is a client's end: it masks what it writes. Its methods may be called
// by several goroutines.
type MaskedWriter struct {
	order
	w   io.Writer
	key [keySize]byte
	buf []byte
}

// NewMaskedWriter returns a MaskedWriter to w, which it gives whole frames.
func NewMaskedWriter(w io.Writer) *MaskedWriter { return &MaskedWriter{w: w} }

// Write is for the library.
func (w *MaskedWriter) Write(p []byte) (int, error) { return w.control(w.w, p) }

// WriteMessage writes pieces as one binary message. It leaves their bytes alone
// and does not keep them. After a close frame it returns net.ErrClosed.
func (w *MaskedWriter) WriteMessage(pieces [][]byte) error {
	w.Lock()
	defer w.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	_, _ = rand.Read(w.key[:]) // never fails
	frame := append(appendHeader(w.buf[:0], size(pieces), maskBit), w.key[:]...)
	start := len(frame)
	for _, p := range pieces {
		frame = append(frame, p...)
	}
	mask(frame[start:], w.key)
	w.buf = frame
	_, err := w.w.Write(frame)
	return err
}

func size(pieces [][]byte) int {
	n := 0
	for _, p := range pieces {
		n += len(p)
	}
	return n
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
