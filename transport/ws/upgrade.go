package ws

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

// Sizes of a WebSocket's buffers. net/http's own are 4 KiB each, which is most
// of an idle WebSocket's memory. Only control frames, of 127 bytes at most, go
// through the one for writing.
const (
	readBuffer  = 512
	writeBuffer = 128
)

// notSentLowAt bounds what the kernel takes before it has sent it (TCP_NOTSENT_LOWAT):
// what waits there can be neither batched nor sent over another link.
const notSentLowAt = 32 << 10

// upgrade makes a socket of the request. If it fails, it has answered.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request) (*socket, error) {
	if err := httpwrite.Begin(w, h.cfg.WriteTimeout); err != nil {
		return nil, err
	}
	hijacker := &hijacker{ResponseWriter: w, writeTimeout: h.cfg.WriteTimeout}
	c, err := websocket.Accept(hijacker, r, &websocket.AcceptOptions{
		Subprotocols:       []string{Subprotocol},
		InsecureSkipVerify: true, // access.Policy has checked the Origin
	})
	if err != nil {
		return nil, errors.Join(err, httpwrite.End(w))
	}
	c.SetReadLimit(-1) // socket.read has its own, with its own close code
	conn := hijacker.conn.Conn
	setNotSentLowAt(conn, notSentLowAt)
	s := &socket{Conn: c, reader: hijacker.reader, conn: conn, frames: hijacker.conn.frames, handler: h}
	s.watch.Init(r, conn, s.resume)
	return s, nil
}

// hijacker gives the WebSocket smaller buffers than net/http would and bounds
// its writes. It keeps hold of its net.Conn, for read deadlines.
type hijacker struct {
	http.ResponseWriter
	writeTimeout time.Duration
	conn         *conn
	reader       *bufio.Reader
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	hijacked, old, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = newConn(hijacked, h.writeTimeout)
	// A client need not wait for the 101 before it sends its first message.
	// websocket.Accept looks for such bytes in the new reader's buffer only.
	early, _ := old.Reader.Peek(old.Reader.Buffered())
	in := io.Reader(hijacked)
	if len(early) > 0 {
		in = io.MultiReader(bytes.NewReader(bytes.Clone(early)), in)
	}
	h.reader = bufio.NewReaderSize(in, max(readBuffer, len(early)))
	if _, err := h.reader.Peek(len(early)); err != nil {
		hijacked.Close()
		return nil, nil, fmt.Errorf("ws: early bytes: %w", err)
	}
	return h.conn, bufio.NewReadWriter(h.reader, bufio.NewWriterSize(h.conn, writeBuffer)), nil
}

// tcpConn finds the TCP connection under a net.Conn, nil if there is none.
func tcpConn(conn net.Conn) *net.TCPConn {
	if under, ok := conn.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		conn = under.NetConn()
	}
	tcp, _ := conn.(*net.TCPConn)
	return tcp
}
