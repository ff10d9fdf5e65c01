package bridge

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/cluster"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/park"
	"github.com/pollbridge/pollbridge/internal/ratelog"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/rpc"
	"github.com/pollbridge/pollbridge/internal/schema"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/access"
	"github.com/pollbridge/pollbridge/transport/longpoll"
	"github.com/pollbridge/pollbridge/transport/ws"
)

// Server is a bridge. It is an http.Handler.
type Server struct {
	cfg    Config
	rules  atomic.Pointer[methodRules]
	routes []backendRoute
	access *access.Policy

	unauthenticated *ratelog.Line
	pools           []*backend.Pool
	registry        *registry.Registry
	cluster         *cluster.Cluster // nil: the bridge is on its own
	sockets         *ws.Handler
	parker          *park.Parker
	check           *check // nil: switched off
	metrics         *metrics
	observer        *observer
	rpc             *rpc.Handler                     // nil: switched off
	types           map[*backend.Pool]*schema.Source // of backends that do not speak JSON; with rpc
	handler         http.Handler

	started  time.Time
	over     chan struct{} // closed at the end of the first Shutdown
	draining atomic.Bool
	shutdown func(context.Context) error
}

// New returns a Server that is ready to serve. It dials its backends but does
// not wait for them. The error is Config.Validate's, or names the file, target
// or service config that is unusable.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg.WithDefaults(), parker: park.New(), started: time.Now(), over: make(chan struct{})}
	s.observer = newObserver(s.cfg)
	s.unauthenticated = ratelog.New(s.cfg.Logger, slog.LevelInfo, "client not authenticated")
	rules := newMethodRules(s.cfg)
	s.rules.Store(&rules)
	var err error
	if s.access, err = access.New(s.cfg.access()); err != nil {
		return nil, err
	}
	if err := s.dial(); err != nil {
		return nil, err
	}
	s.routes = newRoutes(s.cfg, s.pools)
	s.registry = registry.New(s.sessionConfig())
	if s.cfg.Check {
		if s.check, err = newCheck(s.cfg, s.access); err != nil {
			return nil, errors.Join(err, s.closePools())
		}
	}
	if s.metrics, err = newMetrics(s); err != nil {
		return nil, errors.Join(err, s.closePools())
	}
	if s.cfg.RPC {
		if s.rpc, err = s.newRPC(); err != nil {
			return nil, errors.Join(err, s.closePools())
		}
	}
	if s.cfg.Cluster != nil {
		if err := s.joinCluster(); err != nil {
			return nil, errors.Join(err, s.closePools())
		}
	}
	s.handler = s.metrics.responses.counted(s.newMux())
	s.shutdown = onceWith(s.end)
	return s, nil
}

// Reload applies AllowOrigins, AllowHosts, AllowHeaders, AllowPrivateNetwork,
// TrustedProxies, AllowMethods and DenyMethods of cfg to requests and RPCs from now
// on. The rest of cfg has no effect, but must be valid: the error is
// Config.Validate's, and then nothing has changed.
func (s *Server) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.WithDefaults()
	rules := newMethodRules(cfg)
	s.rules.Store(&rules)
	return s.access.Set(cfg.access())
}

func (c Config) access() access.Config {
	return access.Config{
		AllowOrigins:   c.AllowOrigins,
		AllowHosts:     c.AllowHosts,
		AllowHeaders:   c.AllowHeaders,
		TrustedProxies: c.TrustedProxies,
		PrivateNetwork: c.AllowPrivateNetwork,
		Logger:         c.Logger,
	}
}

// dial creates the backends' pools: all of them, or none.
func (s *Server) dial() error {
	for i, b := range s.cfg.Backends {
		pool, err := backend.New(b.pool(s.cfg))
		if err != nil {
			return errors.Join(problemOf(i, err), s.closePools())
		}
		s.pools = append(s.pools, pool)
	}
	return nil
}

func (s *Server) closePools() error {
	var errs []error
	if s.check != nil {
		errs = append(errs, s.check.close())
	}
	for _, p := range s.pools {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// rpcBytes is what an open RPC holds beside its messages: goroutines, and what gRPC
// and the engine keep of it. It is measured by TestHostile_openRPCs, as what the
// process has more in RAM for each: 40 to 41 KiB with 300 idle ones; with -hostile,
// where 8,000 are open of 100,000 that were tried, and the collector has not yet
// taken what those left, 51.3 KiB over WebSockets and 57.8 KiB over long-polling.
const rpcBytes = 58 << 10

// firstStreamWindow is the first window of an RPC's messages.
const firstStreamWindow = 64 << 10

func (s *Server) sessionConfig() registry.Config {
	c := s.cfg
	cfg := registry.Config{
		Handle:           s.handle,
		Refused:          s.refused,
		IgnoresTokens:    c.Authenticate == nil,
		Logger:           c.Logger,
		Release:          "pollbridge/" + Version(),
		Hold:             c.Hold,
		ResumeWindow:     c.ResumeWindow,
		PauseMax:         c.PauseMax,
		StreamWindow:     min(firstStreamWindow, c.StreamWindow),
		MaxStreamWindow:  c.StreamWindow,
		SessionWindow:    c.SessionWindow,
		MaxMessage:       c.MaxMessageBytes,
		MaxMetadata:      c.MaxMetadataBytes,
		MaxBatch:         c.MaxBatchBytes,
		MaxStreams:       c.MaxStreams,
		MaxSessions:      c.MaxSessions,
		MaxPerPrincipal:  c.MaxSessionsPerPrincipal,
		MaxBufferedBytes: c.MaxBufferedBytes,

		SessionRate:         c.SessionRate,
		IPv6Prefix:          c.IPv6Prefix,
		MaxRPCs:             c.MaxRPCs,
		MaxRPCsPerPrincipal: c.MaxRPCsPerPrincipal,
		RPCBytes:            rpcBytes,
	}
	if c.Authenticate != nil || len(c.ForwardHeaders) > 0 {
		cfg.Authenticate = s.authenticate
	}
	return cfg
}

func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	prefix := s.cfg.Prefix
	polls := longpoll.Config{Access: s.access, MaxBatch: s.cfg.MaxBatchBytes}
	mux.Handle(prefix+"/v1/{sid}/poll", longpoll.New(s, polls))
	mux.Handle(prefix+"/v1/{group}/bundle", longpoll.NewBundleHandler(s, polls))
	s.sockets = ws.New(s, ws.Config{Access: s.access, MaxBatch: s.cfg.MaxBatchBytes})
	mux.Handle(prefix+"/v1/{sid}/ws", s.sockets)
	handleScripts(mux, prefix)
	if s.check != nil {
		s.check.mount(mux, prefix)
	}
	if s.rpc != nil {
		mux.Handle(rpcPattern, s.rpc)
	}
	mux.HandleFunc("/", s.access.NotFound)
	return mux
}

// ServeHTTP serves every route under Config.Prefix, with Config.RPC also
// /{package.Service}/{Method}, and 404 elsewhere. Servers and middleware in
// front of it must not buffer, compress or time out responses.
//
// With Config.RPC, a router in front of it passes on POST and OPTIONS for paths
// of two segments, unchanged, and the http.Server has HTTP/2 switched on: for
// gRPC, and for streams both ways at once. Without TLS that is
// http.Protocols.SetUnencryptedHTTP2.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Accept implements transport.Acceptor: handlers of package transport/longpoll and
// transport/ws that the caller mounts at paths of its own carry the bridge's
// sessions too. Shutdown ends those sessions; close handlers of WebSockets after
// it.
func (s *Server) Accept(ctx context.Context, hello transport.Hello) transport.Link {
	if s.cluster != nil {
		return s.cluster.Accept(ctx, hello)
	}
	return s.registry.Accept(ctx, hello)
}

// ParkPolls lets polls that have been quiet for a second be parked: server then
// keeps neither goroutines nor buffers for them. Quiet WebSockets keep no goroutine
// either. It is called before server serves this bridge, whatever else it serves,
// and wraps its ConnContext.
//
// A handler around the bridge sees such a poll end, with its connection hijacked,
// when it is parked. The server's ConnState and ConnContext see the connection
// again when it brings its next request, and its BaseContext is called once more,
// with a listener of the bridge's. Polls at paths of the caller's own (Accept) are
// parked as well. Server.Close leaves parked polls to Shutdown,
// or to the end of their hold; SetKeepAlivesEnabled does not reach them. Only
// plain TCP connections and TLS on them are parked, only HTTP/1, and only on
// Linux; all else is as without.
func (s *Server) ParkPolls(server *http.Server) { s.parker.Attach(server) }

// Shutdown drains the bridge: /readyz turns 503, clients are told to open new
// RPCs elsewhere, parked polls are answered, and open RPCs continue until ctx
// ends, or for Config.DrainTimeout if ctx has no deadline. Then it closes every
// session and the backends' channels. It returns the cause of ctx if RPCs had to
// be cut. Later calls wait for the first and return its result. Shut down an
// http.Server after its bridge: it would wait for parked polls, and does not
// know about WebSockets.
func (s *Server) Shutdown(ctx context.Context) error { return s.shutdown(ctx) }

func (s *Server) end(ctx context.Context) error {
	defer close(s.over)
	s.draining.Store(true)
	if s.cluster != nil {
		s.cluster.Drain()
	}
	if _, bounded := ctx.Deadline(); !bounded {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.cfg.DrainTimeout)
		defer cancel()
	}
	err := s.drain(ctx)
	s.sockets.Close() // after Drain: they still had to report the ends of their sessions
	s.parker.Close()  // and so had polls
	if s.cluster != nil {
		s.cluster.Close()
	}
	return errors.Join(err, s.closePools())
}

// drain waits for RPCs to end, and ends those that are open when ctx does.
func (s *Server) drain(ctx context.Context) error {
	if s.rpc == nil {
		return s.registry.Drain(ctx)
	}
	var calls error
	var done sync.WaitGroup
	done.Go(func() {
		calls = s.rpc.Drain(ctx, &engine.Error{Reason: engine.ReasonDrained, Message: "the bridge is shutting down"})
	})
	err := s.registry.Drain(ctx)
	done.Wait()
	for _, types := range s.types {
		types.Close()
	}
	return cmp.Or(err, calls)
}

// onceWith is sync.OnceValue for a function of a context. The first context
// counts.
func onceWith(f func(context.Context) error) func(context.Context) error {
	var once sync.Once
	var err error
	return func(ctx context.Context) error {
		once.Do(func() { err = f(ctx) })
		return err
	}
}
