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
const release = "pollbridge-go/0.2.0"

// Config configures a Channel. The zero value of each field means the default
// named in its comment. New reads it once.
type Config struct {
	// Transports lists the transports to use, "ws" and "longpoll". A single one is
	// forced; with both, the default, the session chooses and switches.
	Transports []string

	// Lazy opens the session with the first RPC. By default New opens it, because
	// an RPC that is not idempotent waits for the session's Welcome (rule O4).
	Lazy bool

	// CallOptions precede the options of every RPC, such as
	// grpc.WaitForReady(true) or grpc.MaxCallRecvMsgSize(16 << 20).
	CallOptions []grpc.CallOption

	// ResendIdempotent retries unary and server-streaming RPCs whose method is
	// declared NO_SIDE_EFFECTS or IDEMPOTENT, in a descriptor linked into the
	// program, if their session is lost before any part of the response arrived.
	// They may then run twice. Default: they end with UNAVAILABLE, as all others
	// do; RPCs with the call option Idempotent are always retried (rule E2).
	ResendIdempotent bool

	// Token, if not nil, returns the credential for the bridge's Authenticate hook
	// (rule O5). It is sent in a batch, never in a URL. It is called when a session
	// opens, and again when the bridge refuses an RPC with UNAUTHENTICATED because
	// the token has expired: the new token is sent over the same session, and RPCs
	// opened meanwhile wait for it.
	Token func(ctx context.Context) (string, error)

	// UserAgent is prepended to the client's user agent, which the backend sees as
	// the metadata x-user-agent, as with gRPC-Web: user-agent itself is that of the
	// gRPC channel, here the bridge's. An RPC may set x-user-agent itself.
	UserAgent string

	// Header is added to every HTTP request, including WebSocket handshakes. Host
	// in it replaces the URL's there, not for TLS.
	Header http.Header

	// TLS is the configuration for https and wss URLs. Default: the system's roots.
	TLS *tls.Config

	// Proxy returns the forward proxy for a request: http, https or socks5, nil for
	// none. WebSockets go through an HTTP proxy by CONNECT, even to ws URLs, as a
	// browser's do. Default: http.ProxyFromEnvironment.
	Proxy func(*http.Request) (*url.URL, error)

	// Dial opens network connections to the bridge or the proxy. Default: that of a
	// net.Dialer with a timeout of 10 s.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)

	// HTTPClient, if not nil, makes all requests instead of the Channel's own
	// clients; TLS, Proxy and Dial must then be nil. Only its Transport is used,
	// not its cookie jar, timeout or redirect policy.
	HTTPClient *http.Client

	// Hold is the longest time that a poll may be held. The bridge's own limit
	// applies if it is shorter. Default: 25 s.
	Hold time.Duration

	// Pause is how long the bridge is asked to keep a session without a link (rule
	// E1), 30 min at most unless the bridge allows more. Default: the bridge's
	// resume window.
	Pause time.Duration

	// MaxMessage is the longest message that a session receives, in bytes, even if
	// an RPC's MaxCallRecvMsgSize (4 MiB by default, as in grpc-go) allows more.
	// Default: 16 MiB.
	MaxMessage int

	// OnState, if not nil, is called after each change of the State. It must not
	// block for long, and may call the Channel.
	OnState func(State)

	// Logger receives the Channel's log. Default: discard.
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
			return nil, fmt.Errorf("client: Config.Transports: %q is listed twice", name)
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// reach returns the part of the Config about how to reach the bridge.
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
