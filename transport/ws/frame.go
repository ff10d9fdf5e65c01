package ws

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// frameRoom is the room that writeFrame needs before a message: the longest
// header of a frame that is not masked (RFC 6455 §5.2).
const frameRoom = 10

const (
	finalBinary = 0x82 // the only frame of a binary message
	finalClose  = 0x88
	length16    = 126
	length64    = 127
)

// frameConn is the net.Conn below a WebSocket. It gives each write, of batches,
// pongs and close frames alike, a deadline of its own: a peer that is gone must
// not hold a writer for ever.
//
// Batches are written past the library, which would copy each and write it in
// several pieces. The library's own writes are whole control frames.
type frameConn struct {
	net.Conn
	timeout time.Duration

	mu     sync.Mutex // held for one write
	closed bool       // a close frame was written: none may follow it
}

// Write implements net.Conn for the library.
func (c *frameConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = c.closed || len(p) > 0 && p[0] == finalClose
	return c.write(p)
}

// writeFrame writes buf[frameRoom:] as one binary message, in one piece.
func (c *frameConn) writeFrame(buf []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	_, err := c.write(withHeader(buf))
	return err
}

func (c *frameConn) write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// withHeader puts the header right before buf[frameRoom:] and returns both.
func withHeader(buf []byte) []byte {
	switch n := len(buf) - frameRoom; {
	case n < length16:
		buf = buf[frameRoom-2:]
		buf[1] = byte(n)
	case n < 1<<16:
		buf = buf[frameRoom-4:]
		buf[1] = length16
		binary.BigEndian.PutUint16(buf[2:], uint16(n))
	default:
		buf[1] = length64
		binary.BigEndian.PutUint64(buf[2:], uint64(n))
	}
	buf[0] = finalBinary
	return buf
}
