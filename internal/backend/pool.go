package backend

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/test/bufconn"
)

// inMemory is the size of the pipes to a server in this process.
const inMemory = 256 << 10

// Pool is a backend's channels. Each key, which is a session, is pinned to one
// of them as long as it has room. A channel is full at 80 % of the streams
// that the backend allows on a connection; when all are, another is dialled,
// and the latest is given up when the others suffice at half load.
//
// One channel has one HTTP/2 connection to each of the target's addresses, and
// the limit is that of the address that last connected.
type Pool struct {
	cfg    Config
	dial   dialer
	seed   maphash.Seed
	base   []grpc.CallOption
	server *inProcess // nil unless Config.Server

	mu       sync.Mutex
	channels []*channel
	nextID   uint64
	closed   bool
}

// New makes a Pool with its first channel, which begins to connect. The error
// names what of the Config cannot be used.
func New(cfg Config) (*Pool, error) {
	cfg = cfg.withDefaults()
	p := &Pool{cfg: cfg, dial: dialTCP, seed: maphash.MakeSeed(), base: baseOptions(cfg)}
	switch {
	case cfg.ClientConn != nil:
		p.channels = []*channel{wrapChannel(cfg, cfg.ClientConn)}
		return p, nil
	case cfg.Server != nil:
		p.server = serveInProcess(cfg.Server)
		p.dial = p.server.dial
		p.cfg.Target, p.cfg.TLS = "passthrough:///in-process", nil
	case cfg.Target == "":
		return nil, errors.New("backend: no target")
	}
	first, err := dialChannel(p.cfg, p.nextID, p.dial)
	if err != nil {
		if p.server != nil {
			p.server.close()
		}
		return nil, err
	}
	p.channels = []*channel{first}
	return p, nil
}

// Name is the backend's name.
func (p *Pool) Name() string { return p.cfg.Name }

// Ready tells whether an RPC would find a ready channel.
func (p *Pool) Ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.channels {
		if c.ready() {
			return true
		}
	}
	return false
}

// States counts the channels by state.
func (p *Pool) States() map[connectivity.State]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[connectivity.State]int{}
	for _, c := range p.channels {
		n[c.current()]++
	}
	return n
}

// Close ends every call and channel, and waits for the goroutines.
func (p *Pool) Close() error {
	p.mu.Lock()
	channels := p.channels
	p.channels, p.closed = nil, true
	p.mu.Unlock()
	var errs []error
	for _, c := range channels {
		errs = append(errs, c.close())
	}
	if p.server != nil {
		p.server.close()
	}
	return errors.Join(errs...)
}

var errClosed = errors.New("backend: pool is closed")

// acquire picks the channel for a new stream, and counts it.
func (p *Pool) acquire(key string) (*channel, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	c := p.pick(key)
	c.streams++
	return c, nil
}

// pick prefers, in this order, the key's own among the ready channels with
// room, the least loaded ready one, and the least loaded one.
func (p *Pool) pick(key string) *channel {
	if c := p.channels[0]; len(p.channels) == 1 && p.hasRoom(c) {
		return c
	}
	own := p.pinned(key)
	if own == nil {
		p.grow()
		return p.leastLoaded()
	}
	return own
}

// pinned is, of the ready channels with room, the one that the key hashes
// highest with: a channel that comes or goes moves no other keys than its own.
func (p *Pool) pinned(key string) *channel {
	var best *channel
	var most uint64
	for _, c := range p.channels {
		if !c.ready() || !p.hasRoom(c) {
			continue
		}
		if h := maphash.Comparable(p.seed, pin{key, c.id}); best == nil || h > most {
			best, most = c, h
		}
	}
	return best
}

type pin struct {
	key string
	id  uint64
}

func (p *Pool) leastLoaded() *channel {
	best := p.channels[0]
	for _, c := range p.channels[1:] {
		if c.ready() == best.ready() && c.streams < best.streams || c.ready() && !best.ready() {
			best = c
		}
	}
	return best
}

// hasRoom tells whether a channel is below 80 % of its limit.
func (p *Pool) hasRoom(c *channel) bool {
	return int64(c.streams)*10 < int64(c.limit.Load())*8
}

// grow dials another channel, when all are full but none is on its way.
func (p *Pool) grow() {
	if p.cfg.ClientConn != nil {
		return
	}
	for _, c := range p.channels {
		if !c.ready() {
			return
		}
	}
	p.nextID++
	c, err := dialChannel(p.cfg, p.nextID, p.dial)
	if err != nil {
		p.cfg.Logger.Error("backend channel not added", "backend", p.cfg.Name, "err", err)
		return
	}
	p.channels = append(p.channels, c)
}

// release uncounts a stream, and closes the latest channel when it is idle and
// the others are at most half full.
func (p *Pool) release(c *channel) {
	p.mu.Lock()
	c.streams--
	spare := p.spare()
	p.mu.Unlock()
	if spare != nil {
		_ = spare.close() // idle: nothing is lost
	}
}

func (p *Pool) spare() *channel {
	last := len(p.channels) - 1
	if last < 1 || p.channels[last].streams > 0 || !p.channels[last].ready() {
		return nil
	}
	streams, limit := 0, int64(0)
	for _, c := range p.channels[:last] {
		streams += c.streams
		limit += int64(c.limit.Load())
	}
	if int64(streams)*2 > limit {
		return nil
	}
	c := p.channels[last]
	p.channels = p.channels[:last]
	return c
}

// inProcess serves a grpc.Server over memory.
type inProcess struct {
	listener *bufconn.Listener
	done     sync.WaitGroup
}

func serveInProcess(s *grpc.Server) *inProcess {
	p := &inProcess{listener: bufconn.Listen(inMemory)}
	// Serve returns an error for every end of it; the listener's is ours.
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
