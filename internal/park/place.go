package park

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/pollbridge/pollbridge/transport"
)

// state says whose a place's connection is.
type state uint8

const (
	handled   state = iota // the handler's
	parked                 // the Lot's: it waits for Wake, or for its peer's leaving
	answering              // answer's
	idle                   // the Lot's: it waits for the next request
	over                   // nobody's: closed, or given back
)

// place is one connection, from when its request may be parked until the next
// request comes on it.
type place struct {
	gate   *gate
	socket *net.TCPConn // what is watched
	proto  string       // of the answer

	// Set by Park.
	id           uint64
	guest        transport.Guest
	head         unique.Handle[string] // of the answer, as far as it is known; most are the same
	writeTimeout time.Duration
	ahead        []byte // what came behind the request

	mu sync.Mutex
	// Guarded by mu.
	state   state
	conn    net.Conn
	last    bool          // the connection ends with the answer
	woken   bool          // Wake was called and nobody has looked since
	waits   chan struct{} // of Wait
	closing bool          // the Lot is being closed
	timer   *time.Timer   // of an idle connection
}

// Wake implements transport.Place.
func (p *place) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.state {
	case parked:
		p.state = answering
		p.gate.lot.running.Go(p.answer)
	case handled, answering:
		p.woken = true
		if p.waits != nil {
			close(p.waits)
			p.waits = nil
		}
	case idle, over:
	}
}

// Wait implements transport.Place.
func (p *place) Wait(ctx context.Context) error {
	p.mu.Lock()
	if p.woken {
		p.woken = false
		p.mu.Unlock()
		return nil
	}
	waits := make(chan struct{})
	p.waits = waits
	p.mu.Unlock()
	select {
	case <-waits:
		p.mu.Lock()
		p.woken = false
		p.mu.Unlock()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Park implements transport.Place.
func (p *place) Park(w http.ResponseWriter, guest transport.Guest, writeTimeout time.Duration) bool {
	p.mu.Lock()
	woken := p.woken
	p.mu.Unlock()
	lot := p.gate.lot
	if woken || !lot.enter(p) {
		return false
	}
	defer lot.running.Done()
	head, last := headOf(w.Header())
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		lot.leave(p)
		return false
	}
	if n := buffered.Reader.Buffered(); n > 0 {
		ahead, _ := buffered.Reader.Peek(n) // there is as much
		p.ahead = bytes.Clone(ahead)
	}
	p.guest, p.head, p.writeTimeout = guest, head, writeTimeout
	p.mu.Lock()
	p.conn, p.last = conn, p.last || last
	p.mu.Unlock()
	if !p.settle(answering) {
		p.answer()
	}
	return true
}

// headOf gives the lines of an answer's head that are known before its body is,
// and whether the connection is to end with it.
func headOf(header http.Header) (unique.Handle[string], bool) {
	var head strings.Builder
	_ = header.WriteSubset(&head, map[string]bool{ // a Builder takes all
		"Connection": true, "Content-Length": true, "Date": true, "Transfer-Encoding": true,
	})
	return unique.Make(head.String()), strings.EqualFold(header.Get("Connection"), "close")
}

// settle parks the connection. It reports false, and leaves it in the state
// given, if there is something to do at once.
func (p *place) settle(otherwise state) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.woken || p.closing {
		p.woken = false
		p.state = otherwise
		return false
	}
	// Should it fail, for lack of memory, a peer's leaving is found by the write.
	_ = p.gate.lot.poller.watch(p.socket, p.id, false)
	p.state = parked
	return true
}

// answer asks the guest for the answer and writes it, or parks again.
func (p *place) answer() {
	body, err := p.guest.Next()
	for errors.Is(err, transport.ErrIdle) && !p.isClosing() {
		if p.settle(answering) {
			return
		}
		body, err = p.guest.Next()
	}
	p.guest.Close()
	if err == nil {
		err = p.write(body)
	}
	if err != nil {
		p.drop()
		return
	}
	p.goOn()
}

func (p *place) isClosing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closing
}

// write writes the answer.
func (p *place) write(body []byte) error {
	p.mu.Lock()
	timeout := p.writeTimeout
	if p.closing {
		timeout = min(timeout, closeLimit)
	}
	p.last = p.last || p.gate.isClosed()
	err := p.conn.SetWriteDeadline(time.Now().Add(timeout))
	p.mu.Unlock()
	if err == nil {
		_, err = p.conn.Write(p.response(body))
	}
	return err
}

func (p *place) response(body []byte) []byte {
	const lines = 160 // more than the lines beside the head have
	head := p.head.Value()
	b := make([]byte, 0, lines+len(head)+len(body))
	b = append(b, p.proto...)
	b = append(b, " 200 OK\r\nDate: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n"...)
	if p.last {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, head...)
	b = append(b, "\r\n"...)
	return append(b, body...)
}

// goOn lets an answered connection wait for its next request, or ends it.
func (p *place) goOn() {
	switch {
	case p.last:
		p.linger()
	case p.conn.SetWriteDeadline(time.Time{}) != nil:
		p.drop()
	case len(p.ahead) > 0:
		p.mu.Lock()
		p.state = over
		p.mu.Unlock()
		p.giveBack(withAhead(p.conn, p.ahead))
	case !p.rest():
		p.drop()
	}
}

// rest lets the connection be idle. It reports false if the server is closed.
func (p *place) rest() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate.isClosed() { // from now on its Close sees that this is idle
		return false
	}
	if p.gate.lot.poller.watch(p.socket, p.id, true) != nil {
		return false
	}
	p.guest = nil
	p.state = idle
	if after := p.gate.idleTimeout(); after > 0 {
		p.timer = time.AfterFunc(after, p.expire)
	}
	return true
}

// event is the poller's: the peer is gone, or there is something to read.
func (p *place) event(gone bool) {
	p.mu.Lock()
	before := p.state
	switch before {
	case parked, idle:
		p.state = over
		p.stopTimer()
	case handled, answering, over: // it is watched again when it parks again
	}
	p.mu.Unlock()
	switch {
	case before == parked:
		p.guest.Close()
		p.cut()
	case before == idle && gone:
		p.cut()
	case before == idle:
		p.giveBack(p.conn)
	}
}

// expire ends an idle connection whose time is over.
func (p *place) expire() {
	if p.endsIdle() {
		p.drop()
	}
}

// endIdle ends an idle connection, without waiting.
func (p *place) endIdle() {
	if p.endsIdle() {
		p.cut()
	}
}

// endsIdle reports whether the connection was idle. It is its caller's then.
func (p *place) endsIdle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != idle {
		return false
	}
	p.state = over
	p.stopTimer()
	return true
}

// end is for a Lot that is closed: what waits is cut, what is being answered is
// left little time.
func (p *place) end() {
	p.mu.Lock()
	waits := p.state == parked
	if waits {
		p.state = over
	}
	p.closing = true
	if p.state == answering {
		_ = p.conn.SetWriteDeadline(time.Now().Add(closeLimit)) // fails if it is closed
	}
	p.mu.Unlock()
	if waits {
		p.guest.Close()
		p.cut()
		return
	}
	p.endIdle()
}

func (p *place) stopTimer() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

// giveBack has the server read the next request.
func (p *place) giveBack(conn net.Conn) {
	p.gate.lot.leave(p)
	p.gate.lot.poller.forget(p.socket)
	p.gate.put(conn)
}

// drop closes the connection. Over TLS it says so, and may wait for it.
func (p *place) drop() {
	p.gate.lot.leave(p)
	_ = p.conn.Close() // nobody is left to be told
}

// cut closes the connection, without waiting.
func (p *place) cut() {
	p.gate.lot.leave(p)
	_ = p.socket.Close()
}

// lingerTime is how long a peer may take to close a connection that has ended.
const lingerTime = 500 * time.Millisecond

// halfCloser is a connection of which one direction can be ended.
type halfCloser interface{ CloseWrite() error }

// linger closes the connection once its peer has, or after a while: bytes that
// nobody reads would else cost it the answer.
func (p *place) linger() {
	if half, ok := p.conn.(halfCloser); ok {
		_ = half.CloseWrite()
		_ = p.conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.Copy(io.Discard, p.conn)
	}
	p.drop()
}

// withAhead gives a connection that yields first what was read of it ahead. A
// server still sees of a TLS connection that it is one.
func withAhead(conn net.Conn, ahead []byte) net.Conn {
	if again, ok := conn.(replayed); ok {
		conn = again.whole()
	}
	type secure interface{ ConnectionState() tls.ConnectionState }
	r := &replay{conn, ahead}
	if s, ok := conn.(secure); ok {
		return struct {
			*replay
			secure
		}{r, s}
	}
	return r
}

// replayed is what withAhead gives.
type replayed interface{ whole() net.Conn }

// replay is a connection of which something was read ahead.
type replay struct {
	net.Conn
	ahead []byte
}

// whole is the connection itself: what was read ahead of it is read again before
// a request can be parked.
func (r *replay) whole() net.Conn { return r.Conn }

// Read implements net.Conn.
func (r *replay) Read(b []byte) (int, error) {
	if len(r.ahead) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.ahead)
	r.ahead = r.ahead[n:]
	return n, nil
}

// CloseWrite ends what is sent.
func (r *replay) CloseWrite() error {
	if half, ok := r.Conn.(halfCloser); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
