package backend

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// assumedLimit is the limit of streams assumed until a backend's SETTINGS arrive:
// the least that RFC 9113 section 6.5.2 recommends.
const assumedLimit = 100

// stateful is the state of a *grpc.ClientConn. Other implementations of
// grpc.ClientConnInterface count as ready.
type stateful interface {
	GetState() connectivity.State
	WaitForStateChange(ctx context.Context, source connectivity.State) bool
	Connect()
}

// channel is one of a Pool's gRPC channels.
type channel struct {
	id   uint64
	cc   grpc.ClientConnInterface
	own  *grpc.ClientConn // nil: not ours to close
	log  *slog.Logger
	stop context.CancelFunc
	done sync.WaitGroup

	state atomic.Uint32 // connectivity.State
	limit atomic.Uint32 // streams

	addresses addresses

	mu        sync.Mutex
	lastError error // of a dial or handshake since the channel was last ready
	pingError bool  // the backend has complained about pings since then

	streams int // guarded by the Pool's mutex
}

// dialChannel returns a new channel to the target.
func (p *Pool) dialChannel() (*channel, error) {
	cfg := p.cfg
	c := newChannel(cfg, p.nextID)
	creds, err := cfg.transportCredentials()
	if err != nil {
		return nil, err
	}
	opts, err := cfg.dialOptions()
	if err != nil {
		return nil, err
	}
	name, resolvers := target(cfg.Target)
	opts = append(opts, resolvers...)
	opts = append(opts,
		grpc.WithTransportCredentials(tap{creds, c.failed, c.setLimit(cfg.MaxStreams), c.addresses.note, &p.receiving}),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := p.dial(ctx, addr)
			if err != nil {
				c.failed(err)
			}
			return conn, err
		}))
	cc, err := grpc.NewClient(name, append(opts, cfg.DialOptions...)...)
	if err != nil {
		return nil, &FieldError{"Target", err}
	}
	p.nextID++
	c.cc, c.own = cc, cc
	c.watch(cc)
	return c, nil
}

// wrapChannel returns a channel on the application's cc.
func wrapChannel(cfg Config, cc grpc.ClientConnInterface) *channel {
	c := newChannel(cfg, 0)
	c.cc = cc
	if s, ok := cc.(stateful); ok {
		c.watch(s)
		return c
	}
	c.state.Store(uint32(connectivity.Ready))
	return c
}

func newChannel(cfg Config, id uint64) *channel {
	c := &channel{id: id, log: cfg.Logger.With("backend", cfg.Name, "channel", id)}
	c.limit.Store(uint32(min(assumedLimit, cfg.MaxStreams)))
	return c
}

func (c *channel) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastError = err
}

func (c *channel) setLimit(most int) func(uint32) {
	return func(stated uint32) { c.limit.Store(max(1, min(stated, uint32(most)))) }
}

func (c *channel) current() connectivity.State { return connectivity.State(c.state.Load()) }

func (c *channel) ready() bool { return c.current() == connectivity.Ready }

// hasRoom reports whether the channel is below 80 % of its limit.
func (c *channel) hasRoom() bool {
	return int64(c.streams)*10 < int64(c.limit.Load())*8
}

// live returns the state at this moment, which watch may not have seen yet.
func (c *channel) live() connectivity.State {
	if s, ok := c.cc.(stateful); ok {
		return s.GetState()
	}
	return c.current()
}

// describe returns why the channel took no RPC: what clients may know, and all of
// it.
func (c *channel) describe() (public, full string) {
	state := c.live()
	if state == connectivity.Ready {
		public = fmt.Sprintf("channel is READY, but all of its %d streams are in use", c.limit.Load())
		return public, public
	}
	full = "channel is " + c.status(state)
	c.mu.Lock()
	defer c.mu.Unlock()
	public = "channel is " + state.String()
	if c.lastError != nil {
		public += ": " + kindOf(c.lastError.Error())
	}
	return public, full
}

// status returns a state with the last error, for people.
func (c *channel) status(state connectivity.State) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lastError == nil {
		return state.String()
	}
	return fmt.Sprintf("%v: %v", state, c.lastError)
}

// tooManyPings is the debug data of the GOAWAY of a server that received keepalive
// pings too often (gRFC A8). gRPC shows it only in the status of the RPCs on the
// connection.
const tooManyPings = "too_many_pings"

// complaint reports whether err, an RPC's, is the first one about too many pings
// on the connection.
func (c *channel) complaint(err error) bool {
	if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.Contains(s.Message(), tooManyPings) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	first := !c.pingError
	c.pingError = true
	return first
}

// watch follows the channel's state until close: it logs each change once, and
// reconnects a channel that has become idle.
func (c *channel) watch(cc stateful) {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	state := cc.GetState()
	c.state.Store(uint32(state))
	c.done.Go(func() {
		for {
			if state == connectivity.Idle {
				cc.Connect()
			}
			if !cc.WaitForStateChange(ctx, state) {
				return
			}
			state = cc.GetState()
			c.changed(state)
		}
	})
}

func (c *channel) changed(state connectivity.State) {
	c.state.Store(uint32(state))
	c.mu.Lock()
	err := c.lastError
	if state == connectivity.Ready {
		c.lastError, c.pingError = nil, false
	}
	c.mu.Unlock()
	switch state {
	case connectivity.Ready:
		c.log.Info("backend channel ready")
	case connectivity.TransientFailure:
		c.log.Warn("backend channel failed", "err", err)
	default:
		c.log.Debug("backend channel changed", "state", state.String())
	}
}

func (c *channel) close() error {
	var err error
	if c.own != nil {
		err = c.own.Close()
	}
	if c.stop != nil {
		c.stop()
	}
	c.done.Wait()
	return err
}
