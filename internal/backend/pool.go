package backend

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/test/bufconn"
)

// inMemory is the size, in bytes, of the pipes to a server in this process.
const inMemory = 256 << 10

// Pool is a backend's channels. All sessions share them, or each has its own
// (Config.PerSession).
type Pool struct {
	cfg    Config
	dial   dialer
	seed   maphash.Seed
	base   []grpc.CallOption
	server *inProcess // nil unless Config.Server

	complaints atomic.Uint64
	incidents  incidents
	waiting    waiting
	receiving  receiving

	mu     sync.Mutex
	shared *group
	own    map[string]*group // by session, with Config.PerSession
	nextID uint64
	closed bool
	done   chan struct{}  // closed with the Pool
	owners sync.WaitGroup // goroutines that close a session's own group
}

// New returns a Pool with one channel, which begins to connect. The error names
// the part of the Config that is unusable.
func New(cfg Config) (*Pool, error) {
	p := &Pool{cfg: cfg, dial: dialTCP, seed: maphash.MakeSeed(), base: baseOptions(cfg), own: map[string]*group{}, done: make(chan struct{}), waiting: waiting{limit: cfg.ReadyTimeout}, receiving: receiving{limit: cfg.MaxReceiving, window: streamWindow}}
	switch {
	case cfg.ClientConn != nil:
		p.shared = &group{pool: p, channels: []*channel{wrapChannel(cfg, cfg.ClientConn)}}
		return p, nil
	case cfg.Server != nil:
		p.server = serveInProcess(cfg.Server)
		p.dial = p.server.dial
		p.cfg.Target, p.cfg.TLS = "passthrough:///in-process", nil
	case cfg.Target == "":
		return nil, &FieldError{"Target", errors.New("none given")}
	}
	err := tryServiceConfig(cfg.ServiceConfig)
	if err == nil {
		p.shared, err = p.newGroup()
	}
	if err != nil {
		if p.server != nil {
			p.server.close()
		}
		return nil, err
	}
	return p, nil
}

// Name returns Config.Name.
func (p *Pool) Name() string { return p.cfg.Name }

// Ready reports whether an RPC would find a ready channel.
func (p *Pool) Ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.shared.channels, (*channel).ready)
}

// Status returns the state of the channel dialled first, with its last error, for
// people.
func (p *Pool) Status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return connectivity.Shutdown.String()
	}
	c := p.shared.channels[0]
	return c.status(c.current())
}

// Complaints returns the number of connections that the backend closed because of
// too many keepalive pings, as far as an RPC was on them.
func (p *Pool) Complaints() uint64 { return p.complaints.Load() }

// States returns the number of channels in each state.
func (p *Pool) States() map[connectivity.State]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[connectivity.State]int{}
	for _, g := range p.groups() {
		for _, c := range g.channels {
			n[c.current()]++
		}
	}
	return n
}

// Close ends every call and channel, and waits for the goroutines.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	close(p.done)
	p.mu.Unlock()
	p.owners.Wait()
	err := p.shared.close()
	if p.server != nil {
		p.server.close()
	}
	return err
}

var errClosed = errors.New("backend: pool is closed")

// acquire picks the channel for a new stream and counts the stream.
func (p *Pool) acquire(o CallOptions) (*group, *channel, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	g := p.shared
	if p.cfg.PerSession {
		var err error
		if g, err = p.groupOf(o); err != nil {
			return nil, nil, err
		}
	}
	c := g.pick(o.Session)
	c.streams++
	return g, c, nil
}

// groupOf returns a session's own group, which lives as long as the session. p.mu
// is held.
func (p *Pool) groupOf(o CallOptions) (*group, error) {
	if g := p.own[o.Session]; g != nil {
		return g, nil
	}
	g, err := p.newGroup()
	if err != nil {
		return nil, err
	}
	p.own[o.Session] = g
	p.owners.Go(func() {
		select {
		case <-o.SessionDone:
		case <-p.done:
		}
		p.mu.Lock()
		delete(p.own, o.Session)
		p.mu.Unlock()
		_ = g.close() // closing a channel of ours cannot fail
	})
	return g, nil
}

// release uncounts a stream, and closes a channel that is no longer needed.
func (p *Pool) release(g *group, c *channel) {
	p.mu.Lock()
	c.streams--
	spare := g.spare()
	p.mu.Unlock()
	if spare != nil {
		_ = spare.close() // idle: nothing is lost
	}
}

// groups returns the shared group and those of sessions. p.mu is held.
func (p *Pool) groups() []*group {
	return append(slices.Collect(maps.Values(p.own)), p.shared)
}

// newGroup dials the first channel of a group. p.mu is held, or p is new.
func (p *Pool) newGroup() (*group, error) {
	first, err := p.dialChannel()
	if err != nil {
		return nil, err
	}
	return &group{pool: p, channels: []*channel{first}}, nil
}

// inProcess serves a grpc.Server over memory.
type inProcess struct {
	listener *bufconn.Listener
	done     sync.WaitGroup
}

func serveInProcess(s *grpc.Server) *inProcess {
	p := &inProcess{listener: bufconn.Listen(inMemory)}
	// Serve always returns an error; here it is that of the closed listener.
	p.done.Go(func() { _ = s.Serve(p.listener) })
	return p
}

func (p *inProcess) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := p.listener.DialContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("in-process server: %w", err)
	}
	return conn, nil
}

func (p *inProcess) close() {
	p.listener.Close()
	p.done.Wait()
}
