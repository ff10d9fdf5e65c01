// Package park keeps the HTTP/1.1 connections of long requests without a
// goroutine each: it takes a connection from its http.Server, waits for its
// answer and watches for its peer's leaving with one goroutine for all, writes
// the answer, and gives the connection back to the same server as soon as the
// next request comes on it.
//
// It works on Linux, on TCP and on TLS over it. What else there is stays with its
// handler: a Lot then has no place for it.
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

	"github.com/pollbridge/pollbridge/transport"
)

// closeLimit is how long Close lets the last answers be written.
const closeLimit = 2 * time.Second

// Lot holds parked connections. It implements transport.Parking.
type Lot struct {
	running sync.WaitGroup // the loop, servers' second Serves, and places that answer

	mu     sync.Mutex
	poller *poller // nil: nothing was parked yet
	failed bool    // there is no poller to be had
	closed bool
	places map[uint64]*place // parked or idle, or about to be
	last   uint64
	gates  []*gate
}

// New returns an empty Lot. It starts its goroutine when first it is used.
func New() *Lot { return &Lot{places: make(map[uint64]*place)} }

// Attach lets connections of server be parked. It is called before the server
// serves, and sets its ConnContext, calling the one that was there.
func (l *Lot) Attach(server *http.Server) {
	g := &gate{lot: l, server: server, conns: make(chan net.Conn), closed: make(chan struct{})}
	l.mu.Lock()
	l.gates = append(l.gates, g)
	l.mu.Unlock()
	before := server.ConnContext
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, conn)
		}
		if socket := socketOf(conn); socket != nil {
			ctx = context.WithValue(ctx, berthKey{}, &berth{g, socket})
		}
		return ctx
	}
}

// berth is what a connection's context tells of it.
type berth struct {
	gate   *gate
	socket *net.TCPConn
}

type berthKey struct{}

// socketOf gives the socket that is to be watched for a connection, nil if it is
// not known that watching it is enough.
func socketOf(conn net.Conn) *net.TCPConn {
	switch conn := conn.(type) {
	case *net.TCPConn:
		return conn
	case *tls.Conn:
		return socketOf(conn.NetConn())
	case replayed:
		return socketOf(conn.whole())
	}
	return nil
}

// Place implements transport.Parking.
func (l *Lot) Place(r *http.Request) transport.Place {
	b, _ := r.Context().Value(berthKey{}).(*berth)
	if b == nil || b.gate.lot != l || r.ProtoMajor != 1 {
		return nil
	}
	if r.ProtoMinor == 0 { // few keep connections, and those need not be kept
		return &place{gate: b.gate, socket: b.socket, proto: "HTTP/1.0", last: true}
	}
	return &place{gate: b.gate, socket: b.socket, proto: "HTTP/1.1", last: r.Close}
}

// Close cuts what is still parked, closes what is idle, waits for answers that
// are being written, and has no place from now on.
func (l *Lot) Close() {
	l.mu.Lock()
	l.closed = true
	gates, all := l.gates, slices.Collect(maps.Values(l.places))
	l.mu.Unlock()
	for _, g := range gates {
		_ = g.Close() // never fails
	}
	for _, p := range all {
		p.end()
	}
	l.mu.Lock()
	if l.poller != nil {
		l.poller.close()
	}
	l.mu.Unlock()
	l.running.Wait()
}

// enter gives a place its number, and starts what serves it. It reports false if
// nothing can be parked; else the caller is to tell running when it is done.
func (l *Lot) enter(p *place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.failed {
		return false
	}
	if l.poller == nil {
		poller, err := newPoller()
		if err != nil {
			l.failed = true
			return false
		}
		l.poller = poller
		l.running.Go(l.loop)
	}
	l.running.Add(1)
	p.gate.start()
	l.last++
	p.id = l.last
	l.places[p.id] = p
	return true
}

func (l *Lot) leave(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.places, p.id)
}

// loop hands the poller's events to their places until it is closed.
func (l *Lot) loop() {
	for l.poller.wait(func(id uint64, gone bool) {
		l.mu.Lock()
		p := l.places[id]
		l.mu.Unlock()
		if p != nil { // else it left meanwhile
			p.event(gone)
		}
	}) {
	}
}

// gate is the way back to one server: a listener that yields connections whose
// next request has come.
type gate struct {
	lot    *Lot
	server *http.Server
	conns  chan net.Conn
	open   sync.Once
	shut   sync.Once
	closed chan struct{}
}

// start has the server serve what is given back.
func (g *gate) start() {
	g.open.Do(func() {
		g.lot.running.Go(func() {
			_ = g.server.Serve(g) // returns because the gate or the server is closed
			_ = g.Close()
		})
	})
}

// idleTimeout is how long the server keeps an idle connection; 0: for ever.
func (g *gate) idleTimeout() time.Duration {
	return cmp.Or(g.server.IdleTimeout, g.server.ReadTimeout)
}

// isClosed tells that nothing can be given back.
func (g *gate) isClosed() bool {
	select {
	case <-g.closed:
		return true
	default:
		return false
	}
}

// put gives a connection back.
func (g *gate) put(conn net.Conn) {
	select {
	case g.conns <- conn:
	case <-g.closed:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	select {
	case conn := <-g.conns:
		return conn, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: the server calls it when it is shut down or
// closed. Idle connections are closed with it; what is parked gets its answer,
// and is closed then.
func (g *gate) Close() error {
	g.shut.Do(func() {
		close(g.closed)
		g.lot.mu.Lock()
		all := slices.Collect(maps.Values(g.lot.places))
		g.lot.mu.Unlock()
		for _, p := range all {
			if p.gate == g {
				p.endIdle()
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (g *gate) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "tcp" }
func (address) String() string  { return "parked" }
