package bridge

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"github.com/pollbridge/pollbridge/internal/front"
	"github.com/pollbridge/pollbridge/internal/rpc"
)

// Serve serves l by server, whose Handler the bridge is or contains, until server is
// shut down or closed: as its Serve does, or, with a TLSConfig, its ServeTLS without
// files. The error is theirs.
//
// With Config.RPC, and HTTP/2 switched on in server.Protocols with and without TLS,
// connections of native gRPC clients are gRPC's own server's: their RPCs cost about
// half of what they do by net/http. These are connections of which the first request
// is certainly made by one of gRPC's libraries, and that come neither from
// Config.TrustedProxies nor by a Unix socket; server's Handler does not see their
// requests, nor do its ConnContext and ConnState. Its IdleTimeout, ReadHeaderTimeout,
// MaxHeaderBytes and pings hold for them. Shutdown ends them; server's own Shutdown
// and Close do not. Serve sets server's Handler and ConnContext, and calls those that
// were there.
func (s *Server) Serve(server *http.Server, l net.Listener) error {
	if p := server.Protocols; s.rpc == nil || p == nil || !p.HTTP2() || !p.UnencryptedHTTP2() {
		if server.TLSConfig != nil {
			return server.ServeTLS(l, "", "")
		}
		return server.Serve(l)
	}
	if server.TLSConfig != nil {
		restoreTLS(server)
	}
	f := front.New(l, front.Config{
		TLS:              server.TLSConfig,
		HandshakeTimeout: server.ReadHeaderTimeout,
		IdleTimeout:      server.IdleTimeout,
		MaxStreams:       rpc.MaxStreams,
		Passes:           s.access.FromProxy,
	})
	var serving sync.WaitGroup
	serving.Go(func() {
		cfg := rpc.GRPCConfig{IdleTimeout: server.IdleTimeout, MaxHeaderBytes: server.MaxHeaderBytes}
		if server.HTTP2 != nil {
			cfg.PingAfter, cfg.PingTimeout = server.HTTP2.SendPingTimeout, server.HTTP2.PingTimeout
		}
		if err := s.rpc.ServeGRPC(f.GRPC(), cfg); err != nil {
			s.cfg.Logger.Error("gRPC connections are not served any more", "err", err)
		}
	})
	err := server.Serve(f.HTTP())
	serving.Wait()
	return err
}

type tlsKey struct{}

// restoreTLS has a server's requests say what TLS negotiated where net/http does not
// know of it: the front looked into their connections.
func restoreTLS(server *http.Server) {
	before, handler := server.ConnContext, server.Handler
	if handler == nil {
		handler = http.DefaultServeMux
	}
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, conn)
		}
		if state := front.TLSState(conn); state != nil {
			ctx = context.WithValue(ctx, tlsKey{}, state)
		}
		return ctx
	}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if state, ok := r.Context().Value(tlsKey{}).(*tls.ConnectionState); ok {
			r.TLS = state
		}
		handler.ServeHTTP(w, r)
	})
}
