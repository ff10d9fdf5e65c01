package ws

import (
	"net"
	"time"

	"github.com/pollbridge/pollbridge/internal/wsframe"
)

// conn is the net.Conn below a WebSocket.
type conn struct {
	net.Conn
	frames *wsframe.Writer
}

func newConn(c net.Conn, writeTimeout time.Duration) *conn {
	return &conn{c, wsframe.NewWriter(timely{c, writeTimeout})}
}

// Write implements net.Conn for the library.
func (c *conn) Write(p []byte) (int, error) { return c.frames.Write(p) }

// timely gives each write, of batches, pongs and close frames alike, a deadline of
// its own: a peer that is gone must not hold a writer for ever.
type timely struct {
	net.Conn
	timeout time.Duration
}

func (c timely) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
