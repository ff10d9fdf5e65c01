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
	return &conn{c, wsframe.NewWriter(c, writeTimeout)}
}

// Write implements net.Conn for the library.
func (c *conn) Write(p []byte) (int, error) { return c.frames.Write(p) }
