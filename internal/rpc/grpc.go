package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // the compression that connect-go has
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// GRPCConfig configures how connections of native gRPC are kept. Its fields are
// those of the http.Server beside them; 0 is gRPC's own default.
type GRPCConfig struct {
	IdleTimeout    time.Duration // of a connection without RPCs
	PingAfter      time.Duration // that a connection is quiet
	PingTimeout    time.Duration
	MaxHeaderBytes int
}

// MaxStreams is the most RPCs of one connection: net/http's.
const MaxStreams = 250

const (
	// GRPCStreamWindow is how much a client may send of an RPC that is not read
	// yet: as much as the limit of RPCs counts for each (MaxRPCs).
	GRPCStreamWindow = 64 << 10
	// grpcConnWindow bounds what is under way of all RPCs of a connection.
	grpcConnWindow = 1 << 20
	// minPingInterval is how often clients may ping: those of gRPC do every 10 s at
	// the most.
	minPingInterval = 5 * time.Second
	// lastStatuses is how long clients may take to read how their last RPCs ended.
	lastStatuses = 2 * time.Second
)

// ServeGRPC serves connections of native gRPC clients by gRPC's own transport,
// which costs about half of net/http's. RPCs are the same Calls. It returns when l
// is closed; Drain closes the connections.
func (h *Handler) ServeGRPC(l net.Listener, cfg GRPCConfig) error {
	server := h.newGRPC(cfg)
	if !h.grpc.add(server) {
		return l.Close()
	}
	err := server.Serve(l)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (h *Handler) newGRPC(cfg GRPCConfig) *grpc.Server {
	options := []grpc.ServerOption{
		grpc.Creds(handedOver{h.cfg.Receiving}),
		grpc.UnknownServiceHandler(h.handleGRPC),
		grpc.ForceServerCodecV2(grpcCodec{}),
		grpc.InTapHandle(h.beginGRPC),
		grpc.MaxRecvMsgSize(h.cfg.MaxMessage),
		grpc.MaxConcurrentStreams(MaxStreams),
		grpc.StaticStreamWindowSize(GRPCStreamWindow),
		grpc.StaticConnWindowSize(grpcConnWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: cfg.IdleTimeout, Time: cfg.PingAfter, Timeout: cfg.PingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
	}
	if n := cfg.MaxHeaderBytes; n > 0 {
		options = append(options, grpc.MaxHeaderListSize(uint32(min(n, math.MaxInt32)))) //nolint:gosec // it fits
	}
	return grpc.NewServer(options...)
}

// grpcServers are those that serve.
type grpcServers struct {
	mu       sync.Mutex
	all      []*grpc.Server
	draining bool
}

// add reports whether a server may begin.
func (s *grpcServers) add(server *grpc.Server) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.draining {
		s.all = append(s.all, server)
	}
	return !s.draining
}

// drain has clients open their next RPCs elsewhere. It returns what ends the
// connections: those whose clients do not read how their RPCs ended in a while. It is
// called when all RPCs are about to end.
func (s *grpcServers) drain() (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	var stopping sync.WaitGroup
	for _, server := range s.all {
		stopping.Go(server.GracefulStop)
	}
	return func() {
		cut := time.AfterFunc(lastStatuses, s.stop)
		defer cut.Stop()
		stopping.Wait()
	}
}

func (s *grpcServers) stop() {
	for _, server := range s.all {
		server.Stop()
	}
}

// grpcConn is what is known of a connection of native gRPC. It is the AuthInfo of
// its RPCs.
type grpcConn struct {
	credentials.CommonAuthInfo
	request *http.Request // what all of the connection's have in common
}

// AuthType implements credentials.AuthInfo.
func (*grpcConn) AuthType() string { return "handed over" }

// handedOver are the credentials of connections that come after TLS's handshake.
type handedOver struct{ receiving func(net.Conn) net.Conn }

// ServerHandshake implements credentials.TransportCredentials.
func (h handedOver) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	r := &http.Request{
		Method: http.MethodPost, Proto: "HTTP/2.0", ProtoMajor: 2,
		RemoteAddr: conn.RemoteAddr().String(), ContentLength: -1, Body: http.NoBody,
	}
	if secured, ok := conn.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := secured.ConnectionState()
		r.TLS = &state
	}
	ctx := context.WithValue(context.Background(), http.LocalAddrContextKey, conn.LocalAddr())
	if h.receiving != nil {
		conn = h.receiving(conn)
	}
	return conn, &grpcConn{request: r.WithContext(ctx)}, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (handedOver) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("rpc: not a client's credentials")
}

// Info implements credentials.TransportCredentials.
func (handedOver) Info() credentials.ProtocolInfo { return credentials.ProtocolInfo{} }

// Clone implements credentials.TransportCredentials.
func (h handedOver) Clone() credentials.TransportCredentials { return h }

// OverrideServerName implements credentials.TransportCredentials.
func (handedOver) OverrideServerName(string) error { return nil }

// handleGRPC serves one RPC of native gRPC.
func (h *Handler) handleGRPC(_ any, stream grpc.ServerStream) error {
	c, ok := stream.Context().Value(grpcCallKey{}).(*grpcCall)
	if !ok {
		return status.Error(codes.Internal, "rpc: not one of this package's RPCs")
	}
	if why := h.cfg.Access.Refusal(c.Request()); why != "" {
		h.cfg.Answered(http.StatusForbidden)
		return status.Error(codes.PermissionDenied, why)
	}
	h.cfg.Answered(http.StatusOK)
	return c.serve(stream)
}
