package park

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/pollbridge/pollbridge/internal/replay"
	"github.com/pollbridge/pollbridge/transport"
)

// state says whose a connection is.
type state uint8

const (
	handled   state = iota // the handler's
	parked                 // the Parker's: it waits for Wake, or for its peer's leaving
	answering              // answer's
	idle                   // the Parker's: it waits for the next request
	over                   // nobody's: closed, or given back
)

// Conn is one connection, from when its request may be parked until the next
// request arrives on it.
type Conn struct {
	server *server
	socket *net.TCPConn // what is watched
	proto  string       // of the response

	// Set by Park.
	id           uint64
	response     PendingResponse
	header       unique.Handle[string] // of the response, as far as it is known; most are the same
	writeTimeout time.Duration
	ahead        []byte // what came behind the request

	mu sync.Mutex
	// Guarded by mu.
	state state
	conn  net.Conn
	last  bool          // the connection ends with the response
	woken bool          // Wake was called and nobody has looked since
	waits chan struct{} // of Wait
	timer *time.Timer   // of an idle connection
}

// Wake has PendingResponse.Next called again, or Wait return. It may be called in any goroutine, and does not wait.
func (c *Conn) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.state {
	case parked:
		c.state = answering
		c.server.parker.running.Go(c.answer)
	case handled, answering:
		c.woken = true
		if c.waits != nil {
			close(c.waits)
			c.waits = nil
		}
	case idle, over:
	}
}

// Wait is for a handler whose connection could not be parked. It returns when Wake
// is called, or with the context's cause.
func (c *Conn) Wait(ctx context.Context) error {
	c.mu.Lock()
	if c.woken {
		c.woken = false
		c.mu.Unlock()
		return nil
	}
	waits := make(chan struct{})
	c.waits = waits
	c.mu.Unlock()
	select {
	case <-waits:
		c.mu.Lock()
		c.woken = false
		c.mu.Unlock()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Park takes the connection, and w's header for the response, from the handler,
// which then returns at once; the response is the Conn's from then on. It reports
// whether it did: not if Wake was called, or the connection cannot be had. The
// peer has writeTimeout to take the response.
func (c *Conn) Park(w http.ResponseWriter, response PendingResponse, writeTimeout time.Duration) bool {
	c.mu.Lock()
	woken := c.woken
	c.mu.Unlock()
	parker := c.server.parker
	if woken {
		return false
	}
	id, ok := parker.enter(c)
	if !ok {
		return false
	}
	defer parker.running.Done()
	c.id = id
	c.server.start()
	header, last := headerOf(w.Header())
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		parker.leave(c.id)
		return false
	}
	if n := buffered.Reader.Buffered(); n > 0 {
		ahead, _ := buffered.Reader.Peek(n) // there is as much
		c.ahead = bytes.Clone(ahead)
	}
	c.response, c.header, c.writeTimeout = response, header, writeTimeout
	c.mu.Lock()
	c.conn, c.last = conn, c.last || last
	c.mu.Unlock()
	if !c.park() {
		c.answer()
	}
	return true
}

// headerOf returns the lines of a response's header that are known before its
// body is, and whether the connection ends with it.
func headerOf(header http.Header) (unique.Handle[string], bool) {
	var lines strings.Builder
	_ = header.WriteSubset(&lines, map[string]bool{ // a Builder takes all
		"Connection": true, "Content-Length": true, "Date": true, "Transfer-Encoding": true,
	})
	return unique.Make(lines.String()), strings.EqualFold(header.Get("Connection"), "close")
}

// park parks the connection. It reports whether it did: else there is something
// to do at once, and the connection is answer's.
func (c *Conn) park() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.woken || c.server.parker.open.Err() != nil {
		c.woken = false
		c.state = answering
		return false
	}
	// Should it fail, for lack of memory, a peer's leaving is found by the write.
	_ = c.server.parker.poller.watch(c.socket, c.id, false)
	c.state = parked
	return true
}

// answer asks for the response and writes it, or parks again.
func (c *Conn) answer() {
	open := c.server.parker.open
	body, err := c.response.Next(open)
	for errors.Is(err, transport.ErrIdle) {
		if c.park() {
			return
		}
		body, err = c.response.Next(open)
	}
	c.response.Close()
	if err == nil {
		err = c.write(body)
	}
	if err != nil {
		c.close()
		return
	}
	c.finish()
}

// write writes the response.
func (c *Conn) write(body []byte) error {
	c.mu.Lock()
	timeout := c.writeTimeout
	if c.server.parker.open.Err() != nil {
		timeout = min(timeout, closeLimit)
	}
	c.last = c.last || c.server.isClosed()
	err := c.conn.SetWriteDeadline(time.Now().Add(timeout))
	c.mu.Unlock()
	if err == nil {
		_, err = c.conn.Write(c.encode(body))
	}
	return err
}

func (c *Conn) encode(body []byte) []byte {
	const lines = 160 // more than the lines beside the header have
	header := c.header.Value()
	b := make([]byte, 0, lines+len(header)+len(body))
	b = append(b, c.proto...)
	b = append(b, " 200 OK\r\nDate: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n"...)
	if c.last {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, header...)
	b = append(b, "\r\n"...)
	return append(b, body...)
}

// finish lets an answered connection wait for its next request, or ends it.
func (c *Conn) finish() {
	switch {
	case c.last:
		c.linger()
	case c.conn.SetWriteDeadline(time.Time{}) != nil:
		c.close()
	case len(c.ahead) > 0:
		c.mu.Lock()
		c.state = over
		c.mu.Unlock()
		c.giveBack(replay.New(c.conn, c.ahead))
	case !c.idle():
		c.close()
	}
}

// idle lets the connection wait for its next request. It reports false if the
// server is closed.
func (c *Conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.server.isClosed() { // from now on its Close sees that this is idle
		return false
	}
	if c.server.parker.poller.watch(c.socket, c.id, true) != nil {
		return false
	}
	c.response = nil
	c.state = idle
	if after := c.server.idleTimeout(); after > 0 {
		c.timer = time.AfterFunc(after, c.expire)
	}
	return true
}

// event implements watched.
func (c *Conn) event(gone bool) {
	c.mu.Lock()
	before := c.state
	switch before {
	case parked, idle:
		c.state = over
		c.stopTimer()
	case handled, answering, over: // it is watched again when it parks again
	}
	c.mu.Unlock()
	switch {
	case before == parked:
		c.response.Close()
		c.cut()
	case before == idle && gone:
		c.cut()
	case before == idle:
		c.giveBack(c.conn)
	}
}

// expire ends an idle connection whose time is over.
func (c *Conn) expire() {
	if c.takeIdle() {
		c.close()
	}
}

// closeIdle ends an idle connection, without waiting.
func (c *Conn) closeIdle() {
	if c.takeIdle() {
		c.cut()
	}
}

// takeIdle reports whether the connection was idle. It is its caller's then.
func (c *Conn) takeIdle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != idle {
		return false
	}
	c.state = over
	c.stopTimer()
	return true
}

// closing implements watched: what waits is answered, and what is being answered
// has little time left.
func (c *Conn) closing() {
	c.Wake()
	c.mu.Lock()
	if c.state == answering {
		_ = c.conn.SetWriteDeadline(time.Now().Add(closeLimit)) // fails if it is closed
	}
	c.mu.Unlock()
	c.closeIdle()
}

func (c *Conn) stopTimer() {
	if c.timer != nil {
		c.timer.Stop()
	}
}

// giveBack has the server read the next request.
func (c *Conn) giveBack(conn net.Conn) {
	c.server.parker.leave(c.id)
	c.server.parker.poller.forget(c.socket)
	c.server.put(conn)
}

// close closes the connection. Over TLS it says so, and may wait for it.
func (c *Conn) close() {
	c.server.parker.leave(c.id)
	_ = c.conn.Close() // nobody is left to report to
}

// cut closes the connection, without waiting.
func (c *Conn) cut() {
	c.server.parker.leave(c.id)
	_ = c.socket.Close()
}

// lingerTime is how long a peer may take to close a connection that has ended.
const lingerTime = 500 * time.Millisecond

// linger closes the connection once its peer has, or after a while: bytes that
// nobody reads would otherwise cost it the response.
func (c *Conn) linger() {
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		_ = c.conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.Copy(io.Discard, c.conn)
	}
	c.close()
}
