package middlebox

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Config configures a Proxy. The zero value is a forward proxy that does
// nothing wrong.
type Config struct {
	// Upstream, if not empty, makes a reverse proxy: the URL, http or https,
	// that requests with a path alone go to. Only scheme and host count.
	Upstream string
	// CA, if not nil, makes the proxy look into CONNECT tunnels: it answers TLS
	// there with certificates of this CA, and applies the profile to the
	// requests inside, with TLS or without.
	CA *CA
	// Profile is what the proxy begins with.
	Profile Profile
	// Seed decides everything that is random.
	Seed uint64
	// Dial connects to upstreams. Default: net.Dialer's.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is used towards https upstreams. Default: the system's roots.
	TLS *tls.Config
}

// Proxy is a middlebox. Its methods may be called by several goroutines at
// once.
type Proxy struct {
	counters
	cfg      Config
	upstream *url.URL
	pool     *http.Transport
	profile  atomic.Pointer[Profile]
	ctx      context.Context
	cancel   context.CancelCauseFunc
	tasks    sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]struct{}
	random    *rand.Rand
	requests  int             // that came, for "every Nth"
	bodies    int             // answers, tunnels and upgrades that began, for KillEvery
	held      []chan struct{} // requests that wait for a later one
	inFlight  int
	freed     chan struct{} // closed when an exchange ends
	memory    map[string]memory
}

var errClosed = errors.New("middlebox: closed")

// New makes a Proxy.
func New(cfg Config) (*Proxy, error) {
	p := &Proxy{
		cfg:       cfg,
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[net.Conn]struct{}),
		random:    rand.New(rand.NewPCG(cfg.Seed, 0)), //nolint:gosec // repeatable by intent
		freed:     make(chan struct{}),
		memory:    make(map[string]memory),
	}
	if cfg.Upstream != "" {
		u, err := url.Parse(cfg.Upstream)
		if err != nil {
			return nil, fmt.Errorf("middlebox: upstream: %w", err)
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("middlebox: upstream %q is no URL like http://host:port", cfg.Upstream)
		}
		p.upstream = u
	}
	if p.cfg.Dial == nil {
		p.cfg.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	p.pool = &http.Transport{
		DialContext:         p.cfg.Dial,
		TLSClientConfig:     cfg.TLS.Clone(),
		DisableCompression:  true,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     idleTimeout,
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.Set(cfg.Profile)
	return p, nil
}

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 30 * time.Second
)

// Set changes the profile. What concerns bytes and lives of connections
// changes at once, the rest with the next request.
func (p *Proxy) Set(f Profile) {
	f.CutWith = cmp.Or(f.CutWith, Status504)
	f.KillEvery = cmp.Or(f.KillEvery, 1)
	f.Late = cmp.Or(f.Late, 3*time.Second)
	p.profile.Store(&f)
}

// Profile is the one in force.
func (p *Proxy) Profile() Profile { return *p.profile.Load() }

// Serve accepts connections until Close, or until l fails. It returns nil
// after Close.
func (p *Proxy) Serve(l net.Listener) error { return p.serve(l, nil) }

// ServeTLS is Serve for a listener on which clients speak TLS: a reverse proxy
// with TLS, or a forward proxy with an https URL. It needs a CA; host is whose
// certificate a client gets that names none.
func (p *Proxy) ServeTLS(l net.Listener, host string) error {
	if p.cfg.CA == nil {
		return errors.New("middlebox: ServeTLS without Config.CA")
	}
	return p.serve(l, p.cfg.CA.config(host))
}

func (p *Proxy) serve(l net.Listener, secure *tls.Config) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		l.Close()
		return nil
	}
	p.listeners[l] = struct{}{}
	p.mu.Unlock()
	for {
		raw, err := l.Accept()
		if err != nil && p.ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("middlebox: %w", err)
		}
		p.accept(raw, secure)
	}
}

func (p *Proxy) accept(raw net.Conn, secure *tls.Config) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		raw.Close()
		return
	}
	p.conns[raw] = struct{}{}
	p.add(func(n *Counts) { n.Connections++ })
	l := newLine(p, raw)
	p.tasks.Go(func() {
		defer l.Close()
		c := newConn(p, l, l)
		if secure != nil {
			c = newConn(p, l, tls.Server(l, secure))
			c.secure = true
		}
		c.serve()
	})
}

// forget is called when a connection is closed.
func (p *Proxy) forget(raw net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, raw)
}

// Close closes the listeners and every connection, and waits until nothing of
// the Proxy runs any more.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.cancel(errClosed)
	for l := range p.listeners {
		l.Close()
	}
	for raw := range p.conns {
		raw.Close()
	}
	p.mu.Unlock()
	p.tasks.Wait()
	p.pool.CloseIdleConnections()
}

// sleep waits, but not beyond ctx.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// upTo is a random number from 1 to n.
func (p *Proxy) upTo(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return 1 + p.random.IntN(n)
}

// every reports whether number, counted from 1, is an nth one; n 0 is never.
func every(number, n int) bool { return n > 0 && number%n == 0 }
