// Package client calls gRPC services through a Pollbridge bridge: over
// WebSocket where the network lets one through, over plain HTTP requests where
// it does not. A Channel is a grpc.ClientConnInterface, so every generated stub
// works on it.
//
//	ch, err := client.New("https://example.org", client.Config{})
//	if err != nil { … }
//	defer ch.Close()
//	reply, err := pb.NewGreeterClient(ch).SayHello(ctx, &pb.HelloRequest{Name: "you"})
package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/internal/httpclient"
	"github.com/pollbridge/pollbridge/transport"
)

// release is what the client calls itself in Hello and User-Agent.
const release = "pollbridge-go/0.1.0"

// Config configures a Channel. The zero value of each field stands for the
// default that its comment gives. It is read once, by New.
type Config struct {
	// Transports is the choice of transports, "ws" and "longpoll". One alone
	// is forced; both, the default, let the session choose and switch.
	Transports []string

	// Lazy leaves the session unopened until the first RPC. By default it is
	// opened by New, because an RPC that is not idempotent waits for the
	// session's first answer (rule O4).
	Lazy bool

	// CallOptions precede the options of every RPC, for example
	// grpc.WaitForReady(true) or grpc.MaxCallRecvMsgSize(16 << 20).
	CallOptions []grpc.CallOption

	// ResendIdempotent sends unary and server-streaming RPCs again whose method
	// is declared NO_SIDE_EFFECTS or IDEMPOTENT (in a descriptor that is linked
	// in), when their session was lost before anything of the answer came. They
	// may then run twice. Default: they end UNAVAILABLE, as all others do; those
	// with the call option Idempotent are sent again in any case (rule E2).
	ResendIdempotent bool

	// Token, if not nil, gives the credential that the bridge's Authenticate
	// hook asks for (rule O5). It travels in a batch, never in a URL. It is
	// called when a session opens, and again when the bridge refused an RPC,
	// UNAUTHENTICATED, because the token had expired: the fresh one goes over
	// the same session, and RPCs opened meanwhile wait for it.
	Token func(ctx context.Context) (string, error)

	// UserAgent precedes the client's own words in its user agent, which the
	// backend sees as the metadata x-user-agent, as with gRPC-Web: in gRPC the
	// user-agent proper is the channel's, here the bridge's. An RPC that sets
	// x-user-agent itself keeps its own.
	UserAgent string

	// Header is added to every HTTP request, WebSocket handshakes among them.
	Header http.Header

	// TLS is used for https and wss URLs. Default: the system's roots.
	TLS *tls.Config

	// Proxy chooses the forward proxy for a request: http, https or socks5.
	// WebSockets go through an HTTP proxy by CONNECT, as a browser's do, also
	// to ws URLs. Default: http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)

	// Dial opens network connections, to the bridge or the proxy. Default: a
	// net.Dialer that gives up after 10 s.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// HTTPClient, if not nil, makes all requests in place of the Channel's own
	// clients; TLS, Proxy and Dial must then be nil. Its cookie jar, timeout and
	// redirect policy are not used.
	HTTPClient *http.Client

	// Hold is the longest that a poll may be held. Default 25 s; the bridge's
	// own limit applies if shorter.
	Hold time.Duration

	// Pause asks the bridge to keep the session for longer than its resume
	// window when every link is gone (rule E1), 30 min at most. Default: the
	// bridge's window.
	Pause time.Duration

	// MaxMessage is the longest message in bytes that a session takes,
	// whatever an RPC's MaxCallRecvMsgSize allows (which is 4 MiB unless set,
	// as in grpc-go). Default 16 MiB.
	MaxMessage int

	// OnState, if not nil, is called after each change of the state. It must
	// not block for long, and may call the Channel.
	OnState func(State)

	// Logger gets what a person may want to know. Default: nothing is logged.
	Logger *slog.Logger
}

func parseTransports(names []string) ([]transport.Kind, error) {
	var kinds []transport.Kind
	for _, name := range names {
		kind := transport.Longpoll
		switch name {
		case transport.Longpoll.String():
		case transport.WS.String():
			kind = transport.WS
		default:
			return nil, fmt.Errorf("client: Config.Transports: %q is none of %q and %q", name, transport.WS, transport.Longpoll)
		}
		if slices.Contains(kinds, kind) {
			return nil, fmt.Errorf("client: Config.Transports: %q stands there twice", name)
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// reach is the part of the Config that says how to reach the bridge.
func (c *Config) reach() httpclient.Config {
	return httpclient.Config{TLS: c.TLS, Proxy: c.Proxy, Dial: c.Dial}
}

func (c *Config) check() error {
	if c.HTTPClient != nil && (c.TLS != nil || c.Proxy != nil || c.Dial != nil) {
		return fmt.Errorf("client: Config.HTTPClient excludes TLS, Proxy and Dial")
	}
	for _, limit := range []struct {
		name  string
		value int64
	}{{"Hold", int64(c.Hold)}, {"Pause", int64(c.Pause)}, {"MaxMessage", int64(c.MaxMessage)}} {
		if limit.value < 0 {
			return fmt.Errorf("client: Config.%s is negative", limit.name)
		}
	}
	return nil
}
