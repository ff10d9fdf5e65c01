package client

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
)

// Parts of a WebSocket frame's header (RFC 6455 §5.2).
const (
	finalBinary = 0x82 // the only frame of a binary message
	finalClose  = 0x88
	maskBit     = 0x80
	length16    = 126
	length64    = 127
)

// frameConn is what a WebSocket's handshake left open. Messages are written
// past the library, which would write each in pieces of 4 KiB: as many system
// calls here, and reads at the bridge. The library's own writes are whole
// control frames.
type frameConn struct {
	io.ReadWriteCloser

	mu     sync.Mutex // held for one write
	closed bool       // a close frame was written: none may follow it
	key    [4]byte
	buf    []byte
}

// Write implements io.Writer for the library.
func (c *frameConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = c.closed || len(p) > 0 && p[0] == finalClose
	return c.ReadWriteCloser.Write(p)
}

// writeFrame writes message as one binary message, in one piece.
func (c *frameConn) writeFrame(message []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	_, _ = rand.Read(c.key[:]) // never fails
	c.buf = appendFrame(c.buf[:0], c.key, message)
	_, err := c.ReadWriteCloser.Write(c.buf)
	return err
}

// appendFrame appends a binary message in one frame, masked with key.
func appendFrame(dst []byte, key [4]byte, message []byte) []byte {
	switch n := len(message); {
	case n < length16:
		dst = append(dst, finalBinary, maskBit|byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, finalBinary, maskBit|length16), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, finalBinary, maskBit|length64), uint64(n))
	}
	dst = append(dst, key[:]...)
	start := len(dst)
	dst = append(dst, message...)
	mask(dst[start:], key)
	return dst
}

// mask masks p with key, a stretch of many keys at a time.
func mask(p []byte, key [4]byte) {
	var keys [256]byte
	n := copy(keys[:], key[:])
	for n < len(keys) && n < len(p) {
		n += copy(keys[n:], keys[:n])
	}
	for len(p) > 0 {
		p = p[subtle.XORBytes(p, p, keys[:n]):]
	}
}

// framing is a RoundTripper for one handshake, which makes a frameConn of what
// it leaves open.
type framing struct {
	handshakes http.RoundTripper
	conn       *frameConn // nil: no handshake was successful
}

// RoundTrip implements http.RoundTripper.
func (f *framing) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f.handshakes.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	if open, ok := resp.Body.(io.ReadWriteCloser); ok {
		f.conn = &frameConn{ReadWriteCloser: open}
		resp.Body = f.conn
	}
	return resp, nil
}
