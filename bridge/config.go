package bridge

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/internal/backend"
)

// Config configures a Server. The zero value of each field stands for the
// default that its comment gives; only Backends is required. New copies it:
// changes made later have no effect.
type Config struct {
	// Backends are the gRPC servers behind the bridge. At least one.
	Backends []Backend

	// Prefix is the path that every route of the bridge begins with. It starts
	// with a slash and does not end with one. Default: "/bridge".
	Prefix string
	// AllowOrigins lists the web origins, as "https://app.example" or
	// "http://localhost:5173", whose pages may use the bridge beside those of
	// the bridge's own origin. "https://*.app.example" stands for every name of
	// one or more labels below app.example, not for app.example itself. "*"
	// allows every origin, without credentials. Default: none.
	AllowOrigins []string
	// AllowHosts lists the names and addresses, without port, that Host, or a
	// trusted proxy's X-Forwarded-Host, may bear; "*.app.example" stands for
	// all names below a domain. The hosts of AllowOrigins, and over a loopback
	// connection loopback names, are always among them. It guards against DNS
	// rebinding. Default: every host, but over a loopback connection none but
	// loopback names and the hosts of AllowOrigins.
	AllowHosts []string
	// AllowHeaders lists the request headers, beside Content-Type, that pages
	// of other origins may send to the bridge, as "traceparent", which scripts
	// that monitor pages add to every request. They become no metadata: see
	// ForwardHeaders. Default: none.
	AllowHeaders []string
	// AllowPrivateNetwork answers the preflights by which browsers ask whether
	// a public page may reach a private address. Default: false.
	AllowPrivateNetwork bool
	// TrustedProxies are the networks whose X-Forwarded-For, X-Forwarded-Host
	// and X-Forwarded-Proto are believed, as those of who comes by a Unix
	// socket are. Default: none.
	TrustedProxies []netip.Prefix

	// AllowMethods and DenyMethods say which methods clients may call. A
	// pattern is a method ("pkg.Service/Method"), a service ("pkg.Service"),
	// or a prefix that ends in a star ("pkg.*", "pkg.Service/Get*", "*"). The
	// longest pattern that fits a method decides. Where both lists have it,
	// DenyMethods wins over AllowMethods, which wins over DefaultDenyMethods.
	// Defaults: {"*"} and, when DenyMethods is nil, DefaultDenyMethods.
	AllowMethods []string
	DenyMethods  []string

	// Authenticate, if not nil, admits a client and says who it is, when its
	// session begins and for each token that it refreshes (rule O5); an error
	// about a refreshed token ends new RPCs, not the session. A gRPC
	// status error's message reaches the client; any other error's text is
	// only logged. It may be called by several goroutines at once and must
	// heed ctx. Default: everyone is admitted, and a session's principal is
	// its client's address.
	Authenticate func(ctx context.Context, info AuthInfo) (Principal, error)
	// ForwardHeaders names the HTTP headers of the request that began a
	// session, or brought its latest token, which every RPC of the session takes along as metadata, as
	// "Cookie" or "X-Request-Id". They replace metadata of the same key that
	// the client set, also where the request had no such header. "User-Agent"
	// goes as x-user-agent. Default: none.
	ForwardHeaders []string

	// Check serves the network check: a page at {Prefix}/check, and what the
	// check asks for under {Prefix}/v1/check/. It shows to anyone who may reach
	// the bridge what a network does, and is bounded so that it cannot be used
	// to flood others. Default: false.
	Check bool

	// DrainTimeout bounds how long Shutdown lets open RPCs go on when its
	// context has no deadline of its own. Default: 20 s.
	DrainTimeout time.Duration
	// Logger takes the bridge's log. Default: discard.
	Logger *slog.Logger
	// Registry takes the bridge's metrics, and AdminHandler serves all that is
	// in it. Default: one of the bridge's own.
	Registry *prometheus.Registry

	// Hold is the longest time that a poll is kept waiting. 1 s to 10 min.
	// Default: 18 s, below what is the shortest timeout of a common proxy, 20 s.
	Hold time.Duration
	// ResumeWindow is how long a session with no link is kept (rule E1).
	// Default: 120 s.
	ResumeWindow time.Duration
	// PauseMax is the longest resume window that a client may ask for, as a
	// page does that goes into the background. At least ResumeWindow.
	// Default: 30 min.
	PauseMax time.Duration

	// MaxMessageBytes is the longest message, both ways (rule D4). At most
	// 1 GiB. Default: 16 MiB.
	MaxMessageBytes int
	// MaxMetadataBytes bounds an RPC's metadata: the request's, the response's
	// headers and its trailers each. Keys, values and 32 bytes for each pair
	// count, as in HTTP/2's header lists. Default: 64 KiB.
	MaxMetadataBytes int
	// MaxBatchBytes is the longest batch, envelope included. At least 64 KiB.
	// Default: 1 MiB.
	MaxBatchBytes int
	// MaxStreams is how many RPCs a session may have open. Default: 4,096.
	MaxStreams int
	// MaxSessions is how many sessions the bridge keeps. Default: 100,000.
	MaxSessions int
	// MaxSessionsPerPrincipal is how many of them one principal may have.
	// Default: 10,000.
	MaxSessionsPerPrincipal int
	// MaxBufferedBytes is the budget for frames that wait for an ack, over all
	// sessions (rule D8). At least MaxMessageBytes. Default: 1 GiB.
	MaxBufferedBytes int64
}

// Backend is one gRPC target. Exactly one of Target, ClientConn and GRPCServer
// is set.
type Backend struct {
	// Name stands for the backend in logs and metrics. Default: Target, else
	// "clientconn" or "in-process".
	Name string
	// Target is where the backend is: "host:port", "dns:///host:port",
	// "unix:path", or several "host:port" with commas between them, which
	// share the load.
	Target string
	// ClientConn is a gRPC channel of the application's own. The bridge does
	// not close it. With it only Name, Services and ReadyTimeout count.
	ClientConn grpc.ClientConnInterface
	// GRPCServer is a server in this process. The bridge serves it over memory
	// and does not stop it. With it TLS is not used.
	GRPCServer *grpc.Server

	// Services are the services that go to this backend: each entry is a
	// prefix of a service's full name, as "chat." or "shop.v1.Cart", and the
	// longest over all backends wins. Default: {""}, every service.
	Services []string

	// TLS, if not nil, is used towards the backend. Default: plain HTTP/2.
	TLS *BackendTLS
	// Profile says how eagerly a dead backend is looked for: "safe",
	// "balanced" or "fast". The latter two need a backend whose keepalive
	// policy permits a ping every 30 s or 10 s. Default: "safe".
	Profile string
	// ServiceConfig is a gRPC service config in JSON: retry, load balancing,
	// timeouts, health checking. Default: round_robin and nothing else.
	ServiceConfig string
	// ReadyTimeout is how long an RPC waits for a backend that cannot be
	// reached, before it ends with UNAVAILABLE. One whose caller asked to wait
	// for ready waits until its deadline. Default: 10 s.
	ReadyTimeout time.Duration
	// MaxConcurrentStreams bounds the RPCs on one HTTP/2 connection, beside
	// what the backend itself states. Another one is dialled at 80 % of it.
	// Default: 1,000.
	MaxConcurrentStreams int
	// ChannelPerSession gives each session a gRPC channel of its own, dialled
	// with its first RPC and closed with the session, for backends that keep
	// state by connection. Not with ClientConn. Default: sessions share
	// channels, each pinned to one.
	ChannelPerSession bool
	// DialOptions are applied after the bridge's own.
	DialOptions []grpc.DialOption
}

// BackendTLS is TLS towards a backend.
type BackendTLS = backend.TLS

// AuthInfo is what Authenticate decides on.
type AuthInfo struct {
	// Request is the head of the HTTP request that began the session or brought
	// the token, or of the handshake of the WebSocket that did: method, URL, host,
	// header and TLS state. Its RemoteAddr is the one below, its body empty. It
	// must be neither kept nor changed.
	Request *http.Request
	// Token is the credential that the client gave; empty when it gave none.
	Token string
	// RemoteAddr is the client's IP address, after trusted proxies.
	RemoteAddr string
}

// Principal says who a session belongs to. Two with the same Name are the same
// one: a session is only ever resumed by its own.
type Principal struct {
	Name string
	// Value is the application's own and is left alone.
	Value any
	// Metadata goes along with every RPC, in lower-case keys. It takes the place
	// of what the client set under the same key, also where a key has no values
	// here: a page cannot forge it.
	Metadata metadata.MD
	// AllowMethods are the methods that the principal may call, of those that
	// Config allows, in patterns as Config.AllowMethods has them; others end
	// with PERMISSION_DENIED. Nil: all of them.
	AllowMethods []string
	// Expires is when the credential does. From then on new RPCs end with
	// UNAUTHENTICATED while those that run go on; the client asks its
	// application for another token and sends it over the same session. Zero:
	// never.
	Expires time.Time
}

// DefaultDenyMethods are the methods that clients may not call unless allowed:
// services by which a server tells about itself or is administered.
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
	c.DrainTimeout = cmp.Or(c.DrainTimeout, 20*time.Second)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Hold = cmp.Or(c.Hold, 18*time.Second)
	c.ResumeWindow = cmp.Or(c.ResumeWindow, 120*time.Second)
	c.PauseMax = cmp.Or(c.PauseMax, max(30*time.Minute, c.ResumeWindow))
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, 16<<20)
	c.MaxMetadataBytes = cmp.Or(c.MaxMetadataBytes, 64<<10)
	c.MaxBatchBytes = cmp.Or(c.MaxBatchBytes, 1<<20)
	c.MaxStreams = cmp.Or(c.MaxStreams, 4096)
	c.MaxSessions = cmp.Or(c.MaxSessions, 100_000)
	c.MaxSessionsPerPrincipal = cmp.Or(c.MaxSessionsPerPrincipal, 10_000)
	c.MaxBufferedBytes = cmp.Or(c.MaxBufferedBytes, max(1<<30, int64(c.MaxMessageBytes)))

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
