package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/httpclient"
	"github.com/pollbridge/pollbridge/internal/wire"
)

const (
	// closeLimit is how long the orderly close of a session may take.
	closeLimit = 3 * time.Second

	// A session that ended before shortLife delays the next one: by 100 ms × 1.6
	// for each in a row, 5 s at most, with full jitter.
	shortLife  = 10 * time.Second
	firstDelay = 100 * time.Millisecond
	lastDelay  = 5 * time.Second
	delayRatio = 1.6

	// maxMoves is how often an RPC without WaitForReady, of which nothing was sent,
	// moves to the next session.
	maxMoves = 3
)

// Channel is a virtual connection to the gRPC services behind a bridge. It has a
// session, and opens the next one when that is lost or going away. It is safe for
// concurrent use. Close it when done.
type Channel struct {
	target     httpclient.Target
	userAgent  string
	options    []grpc.CallOption
	carrier    *carrier
	sessions   dialer.Config
	onState    func(State)
	logger     *slog.Logger
	idempotent idempotency
	resend     bool // RPCs of methods declared idempotent

	closing chan struct{} // closed by Close
	ending  sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	current   *held
	live      map[*held]struct{} // not closed yet: current, and retired ones
	shorts    int                // short-lived sessions in a row
	notBefore time.Time          // when the next session may be opened
}

// held is a session and the number of its RPCs.
type held struct {
	*dialer.Session
	born    time.Time
	rpcs    int
	retired bool // no new RPCs; closed when the last one ends
}

// State is the state of a Channel's session.
type State struct {
	// Phase is "idle" (no session), "connecting", "open", "retrying" or
	// "closed".
	Phase string
	// Transport is the preferred transport, "ws" or "longpoll"; "" while unknown.
	Transport string
	// RTT is the smoothed round-trip time; 0 until one was measured.
	RTT time.Duration
	// LastError is the latest error of a link; nil: none. It did not end the
	// session.
	LastError error
	// Network is what the session has learnt about the network; zero when idle.
	Network Network
}

// Network is what a Channel has learnt about the network between it and its
// bridge. Each session passes it on to the next one, except for the fields about
// WebSockets. It is forgotten after 4 hours.
type Network = dialer.Network

var _ grpc.ClientConnInterface = (*Channel)(nil)

// New returns a Channel to the bridge at url: scheme http, https, ws or wss (which
// selects TLS, not the transport), and the bridge's prefix as path, "/bridge" if
// there is none. It returns without waiting for the network; the error is about
// url or cfg.
func New(url string, cfg Config) (*Channel, error) {
	to, err := httpclient.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	kinds, err := parseTransports(cfg.Transports)
	if err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	carrier := newCarrier(to.Base, &cfg)
	c := &Channel{
		target:    to,
		userAgent: userAgent(cfg.UserAgent),
		options:   cfg.CallOptions,
		resend:    cfg.ResendIdempotent,
		carrier:   carrier,
		onState:   cfg.OnState,
		logger:    logger,
		closing:   make(chan struct{}),
		live:      make(map[*held]struct{}),
		sessions: dialer.Config{
			Carrier:     carrier,
			Multiplexed: carrier.multiplexed.Load,
			Bridge:      "the bridge at " + to.Base,
			Transports:  kinds,
			Logger:      logger,
			Release:     release,
			Token:       cfg.Token,
			Hold:        cfg.Hold,
			Pause:       cfg.Pause,
			MaxMessage:  cfg.MaxMessage,
		},
	}
	if !cfg.Lazy {
		c.mu.Lock()
		c.start()
		c.mu.Unlock()
	}
	return c, nil
}

// Invoke implements grpc.ClientConnInterface. Errors are gRPC statuses.
func (c *Channel) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	s, err := c.newStream(ctx, &grpc.StreamDesc{}, method, opts)
	if err != nil {
		return err
	}
	if err := s.SendMsg(args); err != nil {
		return err
	}
	return s.RecvMsg(reply)
}

// NewStream implements grpc.ClientConnInterface. As with grpc-go, a stream's
// resources are released when ctx ends, when RecvMsg returns an error, or when
// the Channel is closed.
func (c *Channel) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.newStream(ctx, desc, method, opts)
	if err != nil {
		return nil, err
	}
	s.watch()
	return s, nil
}

func (c *Channel) newStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts []grpc.CallOption) (*clientStream, error) {
	options, err := parseOptions(c.options, opts)
	if _, _, ok := wire.SplitMethod(method); err == nil && !ok {
		err = status.Errorf(codes.Unimplemented, "client: malformed method name %.256q: want /package.Service/Method", method)
	}
	if err == nil && options.idempotent && desc.ClientStreams {
		err = status.Errorf(codes.Internal, "client: Idempotent on %s, which streams requests", method)
	}
	var md []wire.Metadatum
	if err == nil {
		md, err = c.outgoing(ctx, method, &options)
	}
	if err != nil {
		options.finish(err)
		return nil, err
	}
	declared := !desc.ClientStreams && c.idempotent.declared(method)
	options.idempotent = options.idempotent || declared && c.resend
	s := &clientStream{
		ctx:     ctx,
		desc:    desc,
		options: options,
		channel: c,
		open: wire.Open{
			Method:         method,
			Metadata:       md,
			Compression:    options.compressor,
			Early:          options.idempotent || declared,
			ContentSubtype: options.contentSubtype,
			WaitForReady:   options.waitForReady,
			SingleRequest:  !desc.ClientStreams,
			SingleResponse: !desc.ServerStreams,
		},
	}
	if err := s.begin(); err != nil {
		options.finish(err)
		return nil, err
	}
	return s, nil
}

// State returns the current state.
func (c *Channel) State() State {
	c.mu.Lock()
	h, closed := c.current, c.closed
	c.mu.Unlock()
	switch {
	case closed:
		return State{Phase: "closed"}
	case h == nil:
		return State{Phase: "idle"}
	}
	return publicState(h.State())
}

func publicState(s dialer.State) State {
	out := State{Phase: string(s.Phase), RTT: s.RTT, LastError: s.LastError, Network: s.Network}
	if s.Phase == dialer.Closed {
		out.Phase = "idle" // the Channel itself continues with the next session
	}
	if s.Transport != 0 {
		out.Transport = s.Transport.String()
	}
	return out
}

// Close closes the Channel: RPCs in flight and later ones end with CANCELLED. It
// waits up to 3 s for what was sent to be delivered. The error is always nil. It
// may be called more than once.
func (c *Channel) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.current = nil
	close(c.closing)
	for h := range c.live {
		c.end(h)
	}
	c.mu.Unlock()

	c.ending.Wait()
	c.carrier.close()
	if c.onState != nil {
		c.onState(State{Phase: "closed"})
	}
	return nil
}

// end starts the orderly close of a session, within closeLimit. c.mu is held.
func (c *Channel) end(h *held) {
	delete(c.live, h)
	c.ending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			c.logger.Debug("session close did not complete", "session", h.ID(), "err", err)
		}
	})
}

// call opens an RPC on the current session, or on the next one if that is lost or
// going away. The returned function must be called when the RPC ends.
func (c *Channel) call(ctx context.Context, open wire.Open) (rpc, func(), error) {
	for moves := 0; ; moves++ {
		h, err := c.hold(ctx)
		if err != nil {
			return nil, nil, err
		}
		stream, err := h.Open(ctx, open)
		if err == nil {
			return stream, func() { c.release(h) }, nil
		}
		lost, ok := errors.AsType[*engine.Error](err)
		if !ok {
			c.release(h)
			return nil, nil, status.Error(codes.Internal, err.Error())
		}
		c.retire(h, lost)
		c.release(h)
		if !movable(lost.Reason, open.WaitForReady) || moves == maxMoves && !open.WaitForReady {
			return nil, nil, lostError(lost.Reason, lost.Message)
		}
	}
}

// hold returns the current session, or a new one once notBefore has passed, and
// counts an RPC on it.
func (c *Channel) hold(ctx context.Context) (*held, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, errClosing()
		}
		wait := time.Until(c.notBefore)
		if c.current != nil || wait <= 0 {
			h := c.start()
			h.rpcs++
			c.mu.Unlock()
			return h, nil
		}
		c.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.closing:
		case <-ctx.Done():
			timer.Stop()
			return nil, contextError(ctx)
		}
		timer.Stop()
	}
}

// start returns the current session, and opens one if there is none. c.mu is
// held.
func (c *Channel) start() *held {
	if c.current != nil {
		return c.current
	}
	h := &held{born: time.Now()}
	cfg := c.sessions
	if c.onState != nil {
		cfg.OnState = func(s dialer.State) {
			c.mu.Lock()
			shown := c.current == h
			c.mu.Unlock()
			if shown {
				c.onState(publicState(s))
			}
		}
	}
	h.Session = dialer.Start(cfg)
	c.current = h
	c.live[h] = struct{}{}
	return h
}

// retire opens no further RPCs on a session.
func (c *Channel) retire(h *held, why *engine.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != h {
		return
	}
	c.current = nil
	h.retired = true
	c.sessions.Learnt = h.State().Network
	c.sessions.Known = c.sessions.Known || h.Welcomed()
	c.logger.Info("session retired", "session", h.ID(), "reason", why.Reason, "message", why.Message)
	if spread, ok := h.GoingAway(); ok {
		// The clients of a draining bridge must not all arrive elsewhere at once.
		c.notBefore = time.Now().Add(rand.N(spread + 1)) //nolint:gosec // spreads load, hides nothing
		return
	}
	if time.Since(h.born) >= shortLife {
		c.shorts, c.notBefore = 0, time.Time{}
		return
	}
	// The first replacement is not delayed: usually the bridge was restarted and
	// does not know the session.
	if c.shorts > 0 {
		limit := float64(firstDelay) * math.Pow(delayRatio, float64(c.shorts-1))
		c.notBefore = time.Now().Add(rand.N(time.Duration(min(limit, float64(lastDelay))))) //nolint:gosec // spreads load, hides nothing
	}
	c.shorts++
}

// release uncounts an RPC of the session, and closes a retired session after the
// last one.
func (c *Channel) release(h *held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.rpcs--
	if h.retired && h.rpcs == 0 && !c.closed {
		c.end(h)
	}
}

func (c *Channel) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// lostError returns the status of an RPC that ended with its session.
func lostError(reason, message string) error {
	code := codes.Unavailable
	if reason == engine.ReasonUnauthenticated {
		code = codes.Unauthenticated
	}
	return madeHere(code, reason, "pollbridge: "+reason+": "+message, false)
}

// movable reports whether another session may succeed after one was lost for the
// given reason. A bridge that never answered is tried again only for RPCs that
// wait for ready.
func movable(reason string, waitForReady bool) bool {
	switch reason {
	case engine.ReasonExpired, engine.ReasonUnknown, engine.ReasonRestarted, engine.ReasonDrained:
		return true
	case engine.ReasonUnreachable:
		return waitForReady
	}
	return false
}

func (c *Channel) peer() peer.Peer {
	return peer.Peer{Addr: bridgeAddr(c.target.Host), AuthInfo: c.authInfo()}
}
