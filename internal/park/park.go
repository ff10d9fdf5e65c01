// Package park keeps quiet connections without a goroutine each, and watches all
// with one. It takes the HTTP/1.1 connection of a long request (Conn) from its
// http.Server, waits for the response and for its peer's leaving, writes the
// response, and gives the connection back to the same server as soon as the next
// request arrives on it. Of a connection that others have taken from a server (Watch)
// it tells when there is something to read.
//
// It works on Linux, on TCP and on TLS over it. Other connections stay with their
// handlers: they cannot be parked.
package park

import (
	"cmp"
	"context"
	"crypto/tls"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/replay"
	"github.com/pollbridge/pollbridge/transport"
)

// closeLimit is how long Close lets the last responses be written.
const closeLimit = 2 * time.Second

// PendingResponse is the response that a parked connection waits for.
type PendingResponse interface {
	// Next is called after Conn.Wake, in some goroutine. It returns the
	// response's body, or transport.ErrIdle to stay parked; any other error has
	// the connection cut. ctx ends by transport.ErrAnswerNow when the Parker is
	// closed.
	Next(ctx context.Context) ([]byte, error)
	// Close is called once: after Next has returned what ends the wait, or when
	// the peer is gone. It must not wait.
	Close()
}

// Parker holds parked connections, and watches others.
type Parker struct {
	open    context.Context // ends when the Parker is closed
	shut    context.CancelCauseFunc
	running sync.WaitGroup // the loop, servers' second Serves, and connections that answer

	mu      sync.Mutex
	poller  *poller            // nil: nothing was parked yet
	failed  bool               // a poller cannot be had
	watched map[uint64]watched // Conns that are parked or idle, or about to be; Watches
	last    uint64
	servers []*server
}

// watched is what a Parker's poller knows by a number.
type watched interface {
	event(gone bool) // the poller's: the peer is gone, or there is something to read
	closing()        // the Parker is closed
}

// New returns an empty Parker. It starts its goroutine when it is first used.
func New() *Parker {
	p := &Parker{watched: make(map[uint64]watched)}
	p.open, p.shut = context.WithCancelCause(context.Background())
	return p
}

// Attach lets connections of an http.Server be parked. It is called before that
// serves, and sets its ConnContext, calling the one that was there.
func (p *Parker) Attach(s *http.Server) {
	attached := &server{parker: p, http: s, conns: make(chan net.Conn), closed: make(chan struct{})}
	p.mu.Lock()
	p.servers = append(p.servers, attached)
	p.mu.Unlock()
	before := s.ConnContext
	s.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, conn)
		}
		if socket := socketOf(conn); socket != nil {
			ctx = context.WithValue(ctx, connKey{}, &origin{attached, socket})
		}
		return ctx
	}
}

// origin is what a connection's context has of it.
type origin struct {
	server *server
	socket *net.TCPConn
}

type connKey struct{}

// socketOf returns the socket to watch for a connection, nil if watching it is
// not known to be enough.
func socketOf(conn net.Conn) *net.TCPConn {
	switch conn := conn.(type) {
	case *net.TCPConn:
		return conn
	case *tls.Conn:
		return socketOf(conn.NetConn())
	}
	if under := replay.Under(conn); under != conn {
		return socketOf(under)
	}
	return nil
}

// Of returns a request's connection, nil if it cannot be parked: its server is
// not attached to a Parker, or the connection is not HTTP/1 over TCP or TLS.
func Of(r *http.Request) *Conn {
	from, _ := r.Context().Value(connKey{}).(*origin)
	if from == nil || r.ProtoMajor != 1 {
		return nil
	}
	if r.ProtoMinor == 0 { // few keep connections, and those need not be kept
		return &Conn{server: from.server, socket: from.socket, proto: "HTTP/1.0", last: true}
	}
	return &Conn{server: from.server, socket: from.socket, proto: "HTTP/1.1", last: r.Close}
}

// Close has what is parked answered now, closes what is idle, waits until that is
// written, for 2 s at most, and parks nothing from then on.
func (p *Parker) Close() {
	p.mu.Lock()
	p.shut(transport.ErrAnswerNow)
	servers, all := p.servers, slices.Collect(maps.Values(p.watched))
	p.mu.Unlock()
	for _, s := range servers {
		_ = s.Close() // never fails
	}
	for _, w := range all {
		w.closing()
	}
	p.mu.Lock()
	if p.poller != nil {
		p.poller.close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

// enter returns the number of a connection that is to be watched. It reports
// whether it can be; if so, the caller calls running.Done when that is done.
func (p *Parker) enter(w watched) (uint64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open.Err() != nil || p.failed {
		return 0, false
	}
	if p.poller == nil {
		poller, err := newPoller()
		if err != nil {
			p.failed = true
			return 0, false
		}
		p.poller = poller
		p.running.Go(p.loop)
	}
	p.running.Add(1)
	p.last++
	p.watched[p.last] = w
	return p.last, true
}

func (p *Parker) leave(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watched, id)
}

// loop hands the poller's events to their connections until it is closed.
func (p *Parker) loop() {
	for p.poller.wait(func(id uint64, gone bool) {
		p.mu.Lock()
		w := p.watched[id]
		p.mu.Unlock()
		if w != nil { // else it left meanwhile
			w.event(gone)
		}
	}) {
	}
}

// server is the way back to one http.Server: a listener that yields connections
// whose next request has arrived.
type server struct {
	parker *Parker
	http   *http.Server
	conns  chan net.Conn
	open   sync.Once
	shut   sync.Once
	closed chan struct{}
}

// start has the http.Server serve what is given back.
func (s *server) start() {
	s.open.Do(func() {
		s.parker.running.Go(func() {
			_ = s.http.Serve(s) // returns because one of both is closed
			_ = s.Close()
		})
	})
}

// idleTimeout returns how long the http.Server keeps an idle connection; 0: for
// ever.
func (s *server) idleTimeout() time.Duration {
	return cmp.Or(s.http.IdleTimeout, s.http.ReadTimeout)
}

// isClosed reports whether nothing can be given back.
func (s *server) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// put gives a connection back.
func (s *server) put(conn net.Conn) {
	select {
	case s.conns <- conn:
	case <-s.closed:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (s *server) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: the http.Server calls it when it is shut down or
// closed. Idle connections are closed with it; parked ones get their responses,
// and are closed then.
func (s *server) Close() error {
	s.shut.Do(func() {
		close(s.closed)
		s.parker.mu.Lock()
		all := slices.Collect(maps.Values(s.parker.watched))
		s.parker.mu.Unlock()
		for _, w := range all {
			if c, ok := w.(*Conn); ok && c.server == s {
				c.closeIdle()
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (s *server) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "tcp" }
func (address) String() string  { return "parked" }
