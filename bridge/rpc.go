package bridge

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/rpc"
	"github.com/pollbridge/pollbridge/internal/schema"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// rpcPattern is the path of every method, at the root.
const rpcPattern = "/{service}/{method}"

func (s *Server) newRPC() (*rpc.Handler, error) {
	if err := s.openTypes(); err != nil {
		return nil, err
	}
	receiving := backend.NewFromClients(s.cfg.MaxBufferedBytes/4, rpc.GRPCStreamWindow, rpc.StallTimeout)
	return rpc.New(rpc.Config{
		Receiving:   receiving.Conn,
		Access:      s.access,
		Serve:       s.handleCall,
		Draining:    s.draining.Load,
		Headers:     s.cfg.Authenticate != nil || len(s.cfg.ForwardHeaders) > 0 || s.observer != nil,
		Answered:    s.metrics.responses.count,
		MaxMessage:  s.cfg.MaxMessageBytes,
		MaxMetadata: s.cfg.MaxMetadataBytes,
		MaxBuffered: s.cfg.MaxBufferedBytes,
	}), nil
}

// handleCall serves one RPC of a client without a session. It is rpc.Config's
// Serve.
func (s *Server) handleCall(ctx context.Context, c rpc.Call) wire.End {
	m := s.metrics.of(c.Protocol())
	m.started.Inc()
	o := s.observer.beginRequest(c.Request(), c.Protocol(), s.access.ClientAddr(c.Request()), c.Began())
	end, to := s.serveCall(o.context(ctx), c, o)
	reported := end
	if reported.Status = c.Code(end); reported.Status != end.Status {
		reported.Reason = "" // it is that of another end
	}
	took := time.Since(c.Began())
	m.completed(to, reported.Status, took, o.traceID())
	o.end(ctx, &reported, took)
	return end
}

// serveCall runs the RPC to its end, and returns the backend that it went to, nil if
// that is none.
func (s *Server) serveCall(ctx context.Context, c rpc.Call, o *observed) (wire.End, *backend.Pool) {
	open, err := c.Open()
	if err != nil {
		return wire.End{}, nil // c reports it to the client
	}
	who, err := s.identify(ctx, c.Request())
	if errors.Is(err, registry.ErrTryLater) {
		return bridgeEnd(codes.Unavailable, engine.ReasonUnauthenticated, "%v", err), nil
	}
	if err != nil {
		return bridgeEnd(codes.Unauthenticated, engine.ReasonUnauthenticated, "%v", err), nil
	}
	if o != nil && who != nil {
		o.who = who.principal.Name
	}
	name := s.registry.Client(s.access.ClientAddr(c.Request()))
	if who != nil {
		name = who.principal.Name
	}
	done, refusal := s.registry.Begin(name)
	if refusal != nil {
		return *refusal, nil
	}
	defer done()
	if c.JSON() {
		if end := s.prepareJSON(ctx, c, open, who); end != nil {
			return *end, nil
		}
	}
	open.SingleRequest = open.SingleRequest || c.OneRequest(ctx)
	return s.serve(ctx, o.watch(callStream{c, s.metrics.of(c.Protocol())}), call{open: open, who: who, cancel: c.Cancel()})
}

// prepareJSON makes messages in JSON pass unchanged to a backend that supports
// JSON, and converted to any other. It returns the RPC's end if that is
// impossible.
func (s *Server) prepareJSON(ctx context.Context, c rpc.Call, open *wire.Open, who *identity) *wire.End {
	pool, refusal := s.route(open.Method, who)
	if refusal != nil {
		return refusal
	}
	types := s.types[pool]
	if types == nil {
		open.ContentSubtype = "json"
		return nil
	}
	method, err := c.Convert(ctx, types)
	if err != nil {
		return &wire.End{} // c reports it to the client
	}
	open.SingleRequest, open.SingleResponse = !method.IsStreamingClient(), !method.IsStreamingServer()
	return nil
}

// openTypes prepares the types of the backends that do not support JSON.
func (s *Server) openTypes() error {
	var file *schema.File
	if s.cfg.Descriptors != "" {
		var err error
		if file, err = schema.OpenFile(s.cfg.Descriptors, s.cfg.Logger); err != nil {
			return &ConfigError{Field: "Descriptors", Problem: err.Error()}
		}
	}
	s.types = make(map[*backend.Pool]*schema.Source)
	for i, b := range s.cfg.Backends {
		if !b.JSON {
			s.types[s.pools[i]] = schema.NewSource(s.pools[i].Conn(), file, s.cfg.Logger.With("backend", b.Name))
		}
	}
	return nil
}

// identify returns who makes a request without a session, nil if clients are not
// authenticated.
func (s *Server) identify(ctx context.Context, r *http.Request) (*identity, error) {
	if s.cfg.Authenticate == nil && len(s.cfg.ForwardHeaders) == 0 {
		return nil, nil
	}
	p, err := s.authenticate(ctx, transport.Hello{
		Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header, TLS: r.TLS, RemoteAddr: s.access.ClientAddr(r),
	}, bearerToken(r))
	if err != nil {
		return nil, err
	}
	who, _ := p.Value.(*identity)
	return who, nil
}

// bearerToken returns the token in a request's Authorization (RFC 6750, section
// 2.1), or "".
func bearerToken(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// callStream adapts an rpc.Call to a stream.
type callStream struct {
	rpc.Call
	metrics *rpcMetrics
}

func (s callStream) Recv(ctx context.Context) (engine.Message, error) {
	pieces, err := s.Call.Recv(ctx)
	m := engine.Message{Pieces: pieces}
	s.metrics.received.Add(uint64(m.Len()))
	return m, err
}

func (s callStream) Send(ctx context.Context, m engine.Message) error {
	s.metrics.sent.Add(uint64(m.Len())) // the call may free it
	return s.Call.Send(ctx, m.Pieces, m.Free)
}
