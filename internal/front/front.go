// Package front tells the connections of native gRPC clients from all others, by
// what their clients send first, and gives either kind to a listener of its own.
package front

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/pollbridge/pollbridge/internal/replay"
)

// Config configures a Front. Timeouts of 0 are none.
type Config struct {
	// TLS, if not nil, is what clients need. HTTP/2 and HTTP/1.1 are negotiated
	// whatever its NextProtos are.
	TLS *tls.Config
	// HandshakeTimeout bounds TLS's handshake, and HTTP/2's: what comes before the
	// first request.
	HandshakeTimeout time.Duration
	// IdleTimeout is how long a connection may be quiet between HTTP/2's handshake
	// and the first request.
	IdleTimeout time.Duration
	// MaxStreams is what clients are told that wait for it before their first
	// request.
	MaxStreams uint32
	// Passes says of which connections nothing is read: they are not gRPC's,
	// whoever their client is. Nil: of none.
	Passes func(conn net.Conn) bool
}

// Front is the listener behind two others. Connections of which the first request
// is a native gRPC client's are GRPC's, all others HTTP's. It owns the listener
// that it was made with.
type Front struct {
	inner net.Listener
	cfg   Config
	http  *queue
	grpc  *queue

	running sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	waiting map[net.Conn]*client // connections that belong to neither yet
}

// client is what a connection's TLS told of its client.
type client struct{ onlyHTTP2 bool }

// New returns a Front that accepts at once, until HTTP's listener is closed.
func New(inner net.Listener, cfg Config) *Front {
	f := &Front{inner: inner, cfg: cfg, waiting: make(map[net.Conn]*client)}
	f.http = newQueue(inner.Addr(), f.close)
	f.grpc = newQueue(inner.Addr(), func() error { return nil })
	if cfg.TLS != nil {
		f.cfg.TLS = f.watched(cfg.TLS)
	}
	f.running.Go(f.accept)
	return f
}

// HTTP returns the listener of all connections but gRPC's. Those that negotiated
// HTTP/2 by TLS and were looked into are none of crypto/tls any more, and begin
// with HTTP/2's preface: TLSState has what was negotiated. To close it closes the
// Front, and waits for what that has started.
func (f *Front) HTTP() net.Listener { return f.http }

// GRPC returns the listener of native gRPC clients' connections. Once it is closed
// they are HTTP's.
func (f *Front) GRPC() net.Listener { return f.grpc }

// watched returns a copy of a configuration that notes which clients want nothing
// but HTTP/2, as those of gRPC do, and no browser.
func (f *Front) watched(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	for _, proto := range []string{"h2", "http/1.1"} {
		if !slices.Contains(cfg.NextProtos, proto) {
			cfg.NextProtos = append(slices.Clip(cfg.NextProtos), proto)
		}
	}
	before := cfg.GetConfigForClient
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		f.mu.Lock()
		if c := f.waiting[hello.Conn]; c != nil {
			c.onlyHTTP2 = len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == "h2"
		}
		f.mu.Unlock()
		if before == nil {
			return nil, nil //nolint:nilnil // it means this very configuration
		}
		return before(hello)
	}
	return cfg
}

func (f *Front) accept() {
	for {
		conn, err := f.inner.Accept()
		if err != nil {
			// HTTP's server decides what to do, and takes the next when it has.
			if !f.http.put(accepted{nil, err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !f.enter(conn) {
			conn.Close()
			return
		}
		f.running.Go(func() { f.place(conn) })
	}
}

// enter notes a connection that belongs to neither listener yet.
func (f *Front) enter(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.waiting[conn] = new(client)
	}
	return !f.closed
}

// leave is enter's end.
func (f *Front) leave(conn net.Conn) {
	f.mu.Lock()
	delete(f.waiting, conn)
	f.mu.Unlock()
}

// place gives a connection to one of the listeners.
func (f *Front) place(conn net.Conn) {
	defer f.leave(conn)
	to, whose := f.sort(conn)
	switch {
	case whose == native && f.grpc.put(accepted{to, nil}):
	case whose == idle || !f.http.put(accepted{to, nil}):
		to.Close()
	}
}

// sort returns a connection, as its server gets it, and whose it is.
func (f *Front) sort(conn net.Conn) (net.Conn, kind) {
	passes := f.grpc.isClosed() || f.cfg.Passes != nil && f.cfg.Passes(conn)
	if f.cfg.TLS == nil {
		if passes {
			return conn, other
		}
		return f.look(conn)
	}
	secured := tls.Server(conn, f.cfg.TLS)
	f.bound(conn, f.cfg.HandshakeTimeout)
	err := secured.HandshakeContext(context.Background())
	f.bound(conn, 0)
	f.mu.Lock()
	onlyHTTP2 := f.waiting[conn].onlyHTTP2
	f.mu.Unlock()
	if err != nil || passes || !onlyHTTP2 || secured.ConnectionState().NegotiatedProtocol != "h2" {
		return secured, other // whose server gets the same error, and reports it
	}
	return f.look(secured)
}

// bound has what is read and written fail after the timeout. An error comes again
// when something is.
func (f *Front) bound(conn net.Conn, timeout time.Duration) {
	var at time.Time
	if timeout > 0 {
		at = time.Now().Add(timeout)
	}
	_ = conn.SetDeadline(at)
}

// look reads as much of a connection as tells whose it is.
func (f *Front) look(conn net.Conn) (net.Conn, kind) {
	f.bound(conn, f.cfg.HandshakeTimeout)
	o := &opening{conn: conn, maxStreams: f.cfg.MaxStreams, greeted: func() { f.bound(conn, f.cfg.IdleTimeout) }}
	whose := o.kind()
	if whose == idle {
		f.bound(conn, f.cfg.HandshakeTimeout)
		_ = http2.NewFramer(conn, nil).WriteGoAway(0, http2.ErrCodeNo, nil) // it is closed in any case
		return conn, idle
	}
	f.bound(conn, 0)
	to := conn
	if secured, ok := conn.(*tls.Conn); ok && whose == other {
		to = &decrypted{conn, secured.ConnectionState()}
	}
	if len(o.ahead) > 0 {
		to = replay.New(to, o.ahead)
	}
	return to, whose
}

// decrypted is a TLS connection of which net/http does not know that it is one: it
// would have read HTTP/2's preface by itself.
type decrypted struct {
	net.Conn
	state tls.ConnectionState
}

// TLSState returns what TLS negotiated on a connection that a Front looked into,
// nil for any other.
func TLSState(conn net.Conn) *tls.ConnectionState {
	if d, ok := replay.Under(conn).(*decrypted); ok {
		return &d.state
	}
	return nil
}

// close ends the Front.
func (f *Front) close() error {
	err := f.inner.Close()
	f.mu.Lock()
	f.closed = true
	for conn := range f.waiting {
		conn.Close()
	}
	f.mu.Unlock()
	_ = f.grpc.Close() // never fails
	f.running.Wait()
	return err
}
