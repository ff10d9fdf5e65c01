package bridge

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/internal/backend"
)

// Config configures a Server. Only Backends is required: the zero value of any
// other field means the default named in its comment. New copies the Config, so
// later changes have no effect.
type Config struct {
	// Backends are the gRPC servers behind the bridge. At least one is required.
	Backends []Backend

	// Prefix is the path prefix of every route. It starts with a slash and does
	// not end with one. Default: "/bridge".
	Prefix string
	// AllowOrigins lists the web origins whose pages may use the bridge, such as
	// "https://app.example", in addition to the bridge's own origin.
	// "https://*.app.example" matches every name of one or more labels below
	// app.example, but not app.example itself. "*" allows every origin, without
	// credentials. Default: none.
	AllowOrigins []string
	// AllowHosts lists the names and addresses, without port, that are accepted
	// in Host, or in a trusted proxy's X-Forwarded-Host, as a guard against DNS
	// rebinding. "*.app.example" matches all names below a domain. The hosts of
	// AllowOrigins are always accepted, and so are loopback names over a loopback
	// connection. Default: every host; over a loopback connection, loopback names
	// and the hosts of AllowOrigins only.
	AllowHosts []string
	// AllowHeaders lists the request headers, besides Content-Type, that pages
	// of other origins may send, such as "traceparent", which monitoring scripts
	// add to every request. They do not become metadata: see ForwardHeaders.
	// Default: none.
	AllowHeaders []string
	// AllowPrivateNetwork answers the preflights with which browsers ask whether
	// a public page may reach a private address. Default: false.
	AllowPrivateNetwork bool
	// TrustedProxies are the networks whose X-Forwarded-For, X-Forwarded-Host
	// and X-Forwarded-Proto are trusted. Peers on a Unix socket always are.
	// Default: none.
	TrustedProxies []netip.Prefix

	// AllowMethods and DenyMethods list the methods that clients may and may not
	// call. A pattern is a method ("pkg.Service/Method"), a service
	// ("pkg.Service"), or a prefix that ends in a star ("pkg.*",
	// "pkg.Service/Get*", "*"). The longest pattern that matches a method
	// decides. If several lists have it, DenyMethods wins over AllowMethods,
	// which wins over DefaultDenyMethods.
	// Defaults: {"*"} and, when DenyMethods is nil, DefaultDenyMethods.
	AllowMethods []string
	DenyMethods  []string

	// Authenticate, if not nil, admits a client and returns its principal. It is
	// called when a session begins, and again for each refreshed token (rule O5);
	// an error about a refreshed token fails new RPCs but does not end the
	// session, and UNAVAILABLE refuses nobody: the client is told to try again. The
	// message of a gRPC status error reaches the client; any other error is only
	// logged. Authenticate may be called by several goroutines at
	// once and must return when ctx ends. Default: everyone is admitted, and the
	// principal is the client's address (IPv6Prefix).
	Authenticate func(ctx context.Context, info AuthInfo) (Principal, error)
	// ForwardHeaders lists HTTP headers, such as "Cookie" or "X-Request-Id", that
	// every RPC carries to the backend as metadata. Their values are those of the
	// request that began the session or brought its latest token. They replace
	// metadata of the same key set by the client, even if the request has no such
	// header. "User-Agent" is forwarded as x-user-agent. Default: none.
	ForwardHeaders []string

	// Check serves the network check: a page at {Prefix}/check and its endpoints
	// under {Prefix}/v1/check/. Anyone who can reach the bridge may use it; its
	// traffic is bounded, so that it cannot be used to flood others.
	// Default: false.
	Check bool

	// RPC also serves clients without a session, at the path of each method, POST
	// /{package.Service}/{Method}: Connect, gRPC-Web in binary and text, gRPC and
	// JSON, with the same backends, rules and limits as sessions. Authenticate is
	// called for each RPC. gRPC, and streams both ways at once, need HTTP/2: see
	// Server.ServeHTTP. Default: false.
	RPC bool
	// Descriptors is a file with a FileDescriptorSet, imports included, of
	// services whose RPCs may be called in JSON, with RPC. It is read again when
	// it changes. Services that it does not have are asked for at their backend,
	// by gRPC server reflection, which clients need not be allowed to call.
	// Default: none.
	Descriptors string

	// Cluster, if not nil, makes the bridge one of several that take each other's
	// requests: those of one ClusterName that are connected to the same NATS. All
	// have the same limits, and the same Authenticate, which is called where the
	// client is; of a Principal, Value does not get to the session's bridge then.
	// The connection stays the caller's, who closes it after Shutdown; it should
	// reconnect for ever (nats.MaxReconnects(-1)). Default: the bridge is on its own.
	Cluster *nats.Conn
	// ClusterName is 1 to 64 letters, digits, "-" and "_". Default: "default".
	ClusterName string

	// DrainTimeout is how long Shutdown lets open RPCs continue if its context
	// has no deadline. Default: 20 s.
	DrainTimeout time.Duration
	// AdminToken is what requests to AdminHandler's API and profiles must have as
	// Authorization: Bearer. 16 characters at least. Default: none; then whoever
	// reaches the handler may look, and nobody may act.
	AdminToken string
	// AdminProfiles has AdminHandler serve net/http/pprof. Default: false.
	AdminProfiles bool
	// OnDrain is called when an operator asks AdminHandler for a drain: the program
	// is to call Shutdown, and to end. It must not wait for that. Default: none;
	// then that cannot be asked for.
	OnDrain func()
	// Logger receives the bridge's log. Default: discard.
	Logger *slog.Logger
	// Registry receives the bridge's metrics; AdminHandler serves everything in
	// it. Default: a registry of the bridge's own.
	Registry *prometheus.Registry
	// AccessLog receives one record for each RPC that ended, at level info.
	// Default: none.
	AccessLog *slog.Logger
	// TracerProvider makes a span for each RPC, below the one that the client
	// names in the metadata traceparent (W3C), and another for each at a backend
	// with a Target or a GRPCServer, which sees that one in its turn. Default: no
	// spans; traceparent passes through.
	TracerProvider trace.TracerProvider

	// Hold is the longest time that a poll is held open. 1 s to 10 min.
	// Default: 18 s, just below the shortest timeout of common proxies, 20 s.
	Hold time.Duration
	// ResumeWindow is how long a session without a link is kept (rule E1).
	// Default: 120 s.
	ResumeWindow time.Duration
	// PauseMax is the longest resume window that a client may request, as pages
	// do when they go into the background. At least ResumeWindow.
	// Default: 30 min, or ResumeWindow if that is longer.
	PauseMax time.Duration

	// MaxMessageBytes is the longest message in either direction (rule D4). At
	// most 1 GiB. Default: 16 MiB.
	MaxMessageBytes int
	// MaxMetadataBytes bounds an RPC's metadata: the request's, the response's
	// headers and its trailers each. Keys, values and 32 bytes for each pair
	// count, as in HTTP/2's header lists. Default: 64 KiB.
	MaxMetadataBytes int
	// MaxBatchBytes is the longest batch, envelope included. At least 64 KiB.
	// Default: 2 MiB.
	MaxBatchBytes int
	// MaxStreams is the most open RPCs of a session. Default: 4,096.
	MaxStreams int
	// MaxSessions is the most sessions of the bridge. Default: 100,000.
	MaxSessions int
	// MaxSessionsPerPrincipal is the most sessions of one principal.
	// Default: 10,000.
	MaxSessionsPerPrincipal int
	// StreamWindow is the most bytes that one RPC may have on the way from a client
	// or unread (rule D3). Windows start at 64 KiB and follow what is consumed.
	// At least 16 KiB. Default: 8 MiB.
	StreamWindow int
	// SessionWindow is the most bytes that a session may have on the way to a
	// client and not acked (rule D2), and by which the windows of all its RPCs
	// together may grow (rule D3). What is used starts at 1 MiB and follows the
	// path. At least 64 KiB. Default: 16 MiB.
	SessionWindow int
	// SessionRate is the most new sessions of one principal per second; ten times
	// as many may come at once. Default: 1,000.
	SessionRate int
	// IPv6Prefix is how many bits of an IPv6 address name a client that is not
	// authenticated: whoever has one address mostly has all of its network. 1 to
	// 128. Default: 64.
	IPv6Prefix int
	// MaxBufferedBytes is the most bytes of unacked frames and unread messages,
	// over all sessions (rule D8); each open RPC counts another 58 KiB. At least
	// MaxMessageBytes. Default: 1 GiB.
	MaxBufferedBytes int64
	// MaxRPCs is the most open RPCs of the bridge, with or without a session.
	// Default: one for each 64 KiB of MaxBufferedBytes, 1,024 at least: 16,384.
	MaxRPCs int
	// MaxRPCsPerPrincipal is the most open RPCs of one principal. Whatever it is, a
	// principal gets at most three times what is left of MaxRPCs. Default: three
	// quarters of MaxRPCs: 12,288.
	MaxRPCsPerPrincipal int
}

// Backend is one gRPC target. Exactly one of Target, ClientConn and GRPCServer
// is set.
type Backend struct {
	// Name is the backend's name in logs and metrics. Default: Target, or
	// "clientconn" or "in-process".
	Name string
	// Target is the backend's address: "host:port", "dns:///host:port",
	// "unix:path", or several "host:port" separated by commas, which share the
	// load.
	Target string
	// ClientConn is a gRPC channel of the application. The bridge does not close
	// it. Of the other fields, only Name, Services and ReadyTimeout apply to it.
	ClientConn grpc.ClientConnInterface
	// GRPCServer is a server in this process. The bridge serves it in memory and
	// does not stop it. TLS does not apply to it.
	GRPCServer *grpc.Server

	// Services selects the services of this backend by prefixes of their full
	// names, such as "chat." or "shop.v1.Cart". The longest matching prefix of
	// all backends decides. Default: {""}, every service.
	Services []string

	// TLS, if not nil, is used towards the backend. Default: plain HTTP/2.
	TLS *BackendTLS
	// Profile selects how quickly a dead backend is detected: "safe", "balanced"
	// or "fast". The latter two require a backend whose keepalive policy permits
	// a ping every 30 s or 10 s. Default: "safe".
	Profile string
	// ServiceConfig is a gRPC service config in JSON: retry, load balancing,
	// timeouts, health checking. Default: round_robin only.
	ServiceConfig string
	// JSON passes messages in JSON on as they are, with gRPC's content-subtype
	// json, to a backend that understands it, as servers of Connect do. Default:
	// the bridge converts them.
	JSON bool
	// ReadyTimeout is how long an RPC waits for an unreachable backend before it
	// ends with UNAVAILABLE. A wait-for-ready RPC waits until its deadline.
	// Default: 10 s.
	ReadyTimeout time.Duration
	// MaxConcurrentStreams is the most RPCs on one HTTP/2 connection, unless the
	// backend's own limit is lower. Another connection is dialled at 80 % of it.
	// Default: 1,000.
	MaxConcurrentStreams int
	// ChannelPerSession gives each session a gRPC channel of its own, dialled
	// with its first RPC and closed with the session, for backends that keep
	// state per connection. Not allowed with ClientConn. Default: sessions share
	// channels, and each is pinned to one.
	ChannelPerSession bool
	// DialOptions are applied after the bridge's own.
	DialOptions []grpc.DialOption
}

// BackendTLS is TLS towards a backend.
type BackendTLS = backend.TLS

// AuthInfo is the input of Config.Authenticate.
type AuthInfo struct {
	// Request is the head of the HTTP request that began the session or brought
	// the token, or of the handshake of the WebSocket that did: method, URL, host,
	// header and TLS state. Its RemoteAddr is the one below, its body empty. It
	// must be neither kept nor changed.
	Request *http.Request
	// Token is the client's credential; empty: none.
	Token string
	// RemoteAddr is the client's IP address, after trusted proxies.
	RemoteAddr string
}

// Principal is the owner of a session. Principals are equal if their Names are,
// and a session is only ever resumed by its own principal.
type Principal struct {
	Name string
	// Value is the application's; the bridge does not use it.
	Value any
	// Metadata, with keys in lower case, is sent with every RPC. It replaces
	// metadata of the same key set by the client, even if a key has no values
	// here, so that a page cannot forge it.
	Metadata metadata.MD
	// AllowMethods restricts the principal to some of the methods allowed by
	// Config, with patterns as in Config.AllowMethods; other RPCs end with
	// PERMISSION_DENIED. Nil: no restriction.
	AllowMethods []string
	// Expires is when the credential expires; zero: never. From then on new RPCs
	// end with UNAUTHENTICATED and open ones continue; the client asks its
	// application for a new token and sends it over the same session.
	Expires time.Time
}

// DefaultDenyMethods returns the patterns of the methods that clients may not
// call unless allowed: services that describe or administer a server.
func DefaultDenyMethods() []string {
	return []string{"grpc.reflection.*", "grpc.channelz.*", "envoy.*"}
}

// WithDefaults returns the Config with the default in place of each zero value
// that has one. New does so itself.
func (c Config) WithDefaults() Config {
	c.Prefix = cmp.Or(c.Prefix, "/bridge")
	if len(c.AllowMethods) == 0 {
		c.AllowMethods = []string{"*"}
	}
	c.ClusterName = cmp.Or(c.ClusterName, "default")
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 20*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Hold = cmp.Or(c.Hold, 18*time.Second)
	c.ResumeWindow = cmp.Or(c.ResumeWindow, 120*time.Second)
	c.PauseMax = cmp.Or(c.PauseMax, max(30*time.Minute, c.ResumeWindow))
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, 16<<20)
	c.MaxMetadataBytes = cmp.Or(c.MaxMetadataBytes, 64<<10)
	c.MaxBatchBytes = cmp.Or(c.MaxBatchBytes, 2<<20)
	c.MaxStreams = cmp.Or(c.MaxStreams, 4096)
	c.MaxSessions = cmp.Or(c.MaxSessions, 100_000)
	c.MaxSessionsPerPrincipal = cmp.Or(c.MaxSessionsPerPrincipal, 10_000)
	c.StreamWindow = cmp.Or(c.StreamWindow, 8<<20)
	c.SessionWindow = cmp.Or(c.SessionWindow, 16<<20)
	c.SessionRate = cmp.Or(c.SessionRate, 1000)
	c.IPv6Prefix = cmp.Or(c.IPv6Prefix, 64)
	c.MaxBufferedBytes = cmp.Or(c.MaxBufferedBytes, max(1<<30, int64(c.MaxMessageBytes)))
	c.MaxRPCs = cmp.Or(c.MaxRPCs, int(min(max(1024, c.MaxBufferedBytes>>16), 1<<24)))
	c.MaxRPCsPerPrincipal = cmp.Or(c.MaxRPCsPerPrincipal, max(1, c.MaxRPCs-c.MaxRPCs/4))

	backends := make([]Backend, len(c.Backends))
	for i, b := range c.Backends {
		backends[i] = b.WithDefaults()
	}
	c.Backends = backends
	return c
}

// WithDefaults returns the Backend with the default in place of each zero value
// that has one.
func (b Backend) WithDefaults() Backend {
	switch {
	case b.Name != "":
	case b.GRPCServer != nil:
		b.Name = "in-process"
	case b.ClientConn != nil:
		b.Name = "clientconn"
	default:
		b.Name = b.Target
	}
	if len(b.Services) == 0 {
		b.Services = []string{""}
	}
	b.Profile = cmp.Or(b.Profile, "safe")
	b.ReadyTimeout = cmp.Or(b.ReadyTimeout, 10*time.Second)
	b.MaxConcurrentStreams = cmp.Or(b.MaxConcurrentStreams, 1000)
	return b
}
