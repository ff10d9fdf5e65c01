package config

import (
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
)

// Option is one setting: the flag --Name, the variable EnvName(Name) and the
// key Name of the file.
type Option struct {
	Group   string // heading in help and docs
	Name    string
	Value   string // what stands for the value in help; empty for a Switch
	Default string
	Help    string
	Many    bool // may be given several times; a list in the file
	Switch  bool // true or false; the bare flag means true

	// Words are all possible values; nil: any.
	Words []string

	// secret hides the value where settings are printed.
	secret bool
	// needs is the name of a setting that this one requires.
	needs string
	// mapping reports whether a value may be a mapping of backendKeys: only for
	// --backend.
	mapping bool
	// field is the path of the value in bridge.Config, as in a bridge.ConfigError.
	field string
	// set parses the texts and stores their values. It returns an error for each
	// text, nil for a valid one.
	set func(s *Settings, texts []string) []error
}

// usage returns the flag's help; pflag adds the default.
func (o *Option) usage() string {
	if o.Many {
		return o.Help + " (repeatable)"
	}
	return o.Help
}

// one stores a single value.
func one[S, T any](at func(*S) *T, parse func(string) (T, error)) func(*S, []string) []error {
	return func(s *S, texts []string) []error {
		v, err := parse(texts[0])
		if err == nil {
			*at(s) = v
		}
		return []error{err}
	}
}

// many stores a list, replacing what was there.
func many[S, T any](at func(*S) *[]T, parse func(string) (T, error)) func(*S, []string) []error {
	return func(s *S, texts []string) []error {
		list, errs := make([]T, len(texts)), make([]error, len(texts))
		for i, text := range texts {
			list[i], errs[i] = parse(text)
		}
		*at(s) = list
		return errs
	}
}

// Options returns the table of settings, in the order of help. Settings of
// bridge.Config have bridge.Config's defaults.
func Options() []*Option {
	d := bridge.Config{Backends: []bridge.Backend{{}}}.WithDefaults()
	return slices.Concat(listening(d), backends(d.Backends[0], d.AllowMethods), browsers(), authentication(), clustering(), limits(d), logging(), accessLog())
}

func listening(d bridge.Config) []*Option {
	const group = "Listening"
	return []*Option{
		{
			Group: group, Name: "listen", Value: "ADDR", Default: "127.0.0.1:8080",
			Help: "address to serve clients on; port 0 picks a free one, :8080 means every interface, unix:PATH a Unix socket, systemd the socket of a .socket unit",
			set:  one(func(s *Settings) *string { return &s.Listen }, publicAddress),
		}, {
			Group: group, Name: "tls-cert", Value: "FILE",
			Help: "certificate chain in PEM: serve HTTPS and WSS, over HTTP/2 and HTTP/1.1",
			set:  one(func(s *Settings) *string { return &s.TLSCert }, file),
		}, {
			Group: group, Name: "tls-key", Value: "FILE",
			Help: "private key of --tls-cert in PEM",
			set:  one(func(s *Settings) *string { return &s.TLSKey }, file),
		}, {
			Group: group, Name: "prefix", Value: "PATH", Default: d.Prefix, field: "Prefix",
			Help: "path prefix of the bridge's routes",
			set:  one(func(s *Settings) *string { return &s.Bridge.Prefix }, plain),
		}, {
			Group: group, Name: "rpc", Switch: true,
			Help: "also serve clients without a session at /PACKAGE.SERVICE/METHOD: Connect, gRPC-Web, gRPC and JSON, " +
				"over HTTP/1.1 and HTTP/2, without TLS too",
			set: one(func(s *Settings) *bool { return &s.Bridge.RPC }, boolean),
		}, {
			Group: group, Name: "descriptors", Value: "FILE", field: "Descriptors",
			Help: "types of services for RPCs in JSON, as written by protoc --include_imports --descriptor_set_out=FILE; " +
				"reread when it changes; other services are looked up by server reflection",
			set: one(func(s *Settings) *string { return &s.Bridge.Descriptors }, plain),
		}, {
			Group: group, Name: "check", Switch: true,
			Help: "serve the network check: a page at PREFIX/check, and the endpoints of \"bridge check\"",
			set:  one(func(s *Settings) *bool { return &s.Bridge.Check }, boolean),
		}, {
			Group: group, Name: "admin", Value: "ADDR",
			Help: "address for operators: what the bridge is doing, /healthz, /readyz and /metrics; none without it",
			set:  one(func(s *Settings) *string { return &s.Admin }, listenAddress),
		}, {
			Group: group, Name: "admin-token-file", Value: "FILE", needs: "admin", field: "AdminToken",
			Help: "file with the token that operators need, 16 characters or more; without a token they may look, and not act",
			set:  one(func(s *Settings) *string { return &s.Bridge.AdminToken }, secretFile),
		}, {
			Group: group, Name: "admin-token", Value: "TOKEN", needs: "admin", field: "AdminToken", secret: true,
			Help: "the token itself: for the environment, where others cannot see it",
			set:  one(func(s *Settings) *string { return &s.Bridge.AdminToken }, plain),
		}, {
			Group: group, Name: "admin-pprof", Switch: true, needs: "admin",
			Help: "also serve Go's profiles to operators, at /debug/pprof/",
			set:  one(func(s *Settings) *bool { return &s.Bridge.AdminProfiles }, boolean),
		}, {
			Group: group, Name: "health-path", Value: "PATH",
			Help: "path at which the address for clients answers as /healthz does; none without it",
			set:  one(func(s *Settings) *string { return &s.HealthPath }, healthPath),
		}, {
			Group: group, Name: "drain-timeout", Value: "DURATION", Default: durationText(d.DrainTimeout), field: "DrainTimeout",
			Help: "how long open RPCs may continue after SIGTERM or SIGINT",
			set:  one(func(s *Settings) *time.Duration { return &s.Bridge.DrainTimeout }, duration),
		},
	}
}

func backends(d bridge.Backend, methods []string) []*Option {
	const group = "Backends"
	list := []*Option{{
		Group: group, Name: "backend", Value: "[PREFIX=]HOST:PORT", Many: true, mapping: true, field: "Backends",
		Help: "gRPC server to bridge to; with PREFIX only for services whose full name begins with it; several for the same services share their RPCs; " +
			"or {target: HOST:PORT, KEY: VALUE, …} with settings of this one only, such as {target: a:443, services: [chat.], tls: true}",
	}}
	for _, k := range sharedKeys(d) {
		list = append(list, k.option(group))
	}
	return append(list, []*Option{
		{
			Group: group, Name: "allow-method", Value: "PATTERN", Default: strings.Join(methods, ","), Many: true, field: "AllowMethods",
			Help: "methods that clients may call: pkg.Service/Method, pkg.Service, or a prefix with a star such as pkg.*",
			set:  many(func(s *Settings) *[]string { return &s.Bridge.AllowMethods }, plain),
		}, {
			Group: group, Name: "deny-method", Value: "PATTERN", Many: true, field: "DenyMethods",
			Help: "methods that clients may not call; the longest matching pattern decides; without it " +
				strings.Join(bridge.DefaultDenyMethods(), ", ") + " are denied unless --allow-method has them",
			set: many(func(s *Settings) *[]string { return &s.Bridge.DenyMethods }, plain),
		},
	}...)
}

func browsers() []*Option {
	const group = "Browsers and proxies"
	return []*Option{
		{
			Group: group, Name: "allow-origin", Value: "ORIGIN", Many: true, field: "AllowOrigins",
			Help: "web origin such as https://app.example.com whose pages may use the bridge, https://*.example.com for all names below a domain, or * for all without credentials; without it only pages of the bridge's own origin",
			set:  many(func(s *Settings) *[]string { return &s.Bridge.AllowOrigins }, plain),
		}, {
			Group: group, Name: "allow-host", Value: "NAME", Many: true, field: "AllowHosts",
			Help: "host name, or *.example.com, accepted in Host in addition to those of --allow-origin; " +
				"without it any, but only loopback names over a loopback connection",
			set: many(func(s *Settings) *[]string { return &s.Bridge.AllowHosts }, plain),
		}, {
			Group: group, Name: "allow-header", Value: "NAME", Many: true, field: "AllowHeaders",
			Help: "request header, such as traceparent, that pages of other origins may send",
			set:  many(func(s *Settings) *[]string { return &s.Bridge.AllowHeaders }, plain),
		}, {
			Group: group, Name: "allow-private-network", Switch: true,
			Help: "let public pages reach this bridge on a private address",
			set:  one(func(s *Settings) *bool { return &s.Bridge.AllowPrivateNetwork }, boolean),
		}, {
			Group: group, Name: "trusted-proxy", Value: "CIDR", Many: true, field: "TrustedProxies",
			Help: "network of proxies whose X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Proto are trusted",
			set:  many(func(s *Settings) *[]netip.Prefix { return &s.Bridge.TrustedProxies }, network),
		}, {
			Group: group, Name: "forward-header", Value: "NAME", Many: true, field: "ForwardHeaders",
			Help: "HTTP header, such as Cookie, that RPCs carry to the backend as metadata",
			set:  many(func(s *Settings) *[]string { return &s.Bridge.ForwardHeaders }, plain),
		},
	}
}

func limits(d bridge.Config) []*Option {
	const group = "Sessions and limits"
	return []*Option{
		{
			Group: group, Name: "hold", Value: "DURATION", Default: durationText(d.Hold), field: "Hold",
			Help: "longest time that a poll is held open",
			set:  one(func(s *Settings) *time.Duration { return &s.Bridge.Hold }, duration),
		}, {
			Group: group, Name: "resume-window", Value: "DURATION", Default: durationText(d.ResumeWindow), field: "ResumeWindow",
			Help: "how long a session without a connection is kept",
			set:  one(func(s *Settings) *time.Duration { return &s.Bridge.ResumeWindow }, duration),
		}, {
			Group: group, Name: "pause-max", Value: "DURATION", field: "PauseMax",
			Help: "longest resume window that a client may request; without it " + durationText(d.PauseMax) + ", or resume-window if that is longer",
			set:  one(func(s *Settings) *time.Duration { return &s.Bridge.PauseMax }, duration),
		}, {
			Group: group, Name: "max-message", Value: "SIZE", Default: sizeText(d.MaxMessageBytes), field: "MaxMessageBytes",
			Help: "longest message in either direction",
			set:  one(func(s *Settings) *int { return &s.Bridge.MaxMessageBytes }, sizeInt),
		}, {
			Group: group, Name: "max-metadata", Value: "SIZE", Default: sizeText(d.MaxMetadataBytes), field: "MaxMetadataBytes",
			Help: "most metadata of an RPC in each direction: keys, values and 32 bytes per pair",
			set:  one(func(s *Settings) *int { return &s.Bridge.MaxMetadataBytes }, sizeInt),
		}, {
			Group: group, Name: "max-batch", Value: "SIZE", Default: sizeText(d.MaxBatchBytes), field: "MaxBatchBytes",
			Help: "most bytes of one request or response of long-polling, or WebSocket message",
			set:  one(func(s *Settings) *int { return &s.Bridge.MaxBatchBytes }, sizeInt),
		}, {
			Group: group, Name: "max-streams", Value: "N", Default: strconv.Itoa(d.MaxStreams), field: "MaxStreams",
			Help: "most open RPCs of a session",
			set:  one(func(s *Settings) *int { return &s.Bridge.MaxStreams }, count),
		}, {
			Group: group, Name: "max-sessions", Value: "N", Default: strconv.Itoa(d.MaxSessions), field: "MaxSessions",
			Help: "most sessions of the bridge",
			set:  one(func(s *Settings) *int { return &s.Bridge.MaxSessions }, count),
		}, {
			Group: group, Name: "max-sessions-per-client", Value: "N", Default: strconv.Itoa(d.MaxSessionsPerPrincipal), field: "MaxSessionsPerPrincipal",
			Help: "most sessions from one client address",
			set:  one(func(s *Settings) *int { return &s.Bridge.MaxSessionsPerPrincipal }, count),
		}, {
			Group: group, Name: "stream-window", Value: "SIZE", Default: sizeText(d.StreamWindow), field: "StreamWindow",
			Help: "most bytes that one RPC may have on the way from a client or unread; less is used where less fills the path",
			set:  one(func(s *Settings) *int { return &s.Bridge.StreamWindow }, sizeInt),
		}, {
			Group: group, Name: "session-window", Value: "SIZE", Default: sizeText(d.SessionWindow), field: "SessionWindow",
			Help: "most bytes that a session may have on the way to a client and not acked; less is used where less fills the path",
			set:  one(func(s *Settings) *int { return &s.Bridge.SessionWindow }, sizeInt),
		}, {
			Group: group, Name: "session-rate", Value: "N", Default: strconv.Itoa(d.SessionRate), field: "SessionRate",
			Help: "most new sessions from one client address per second; ten times as many at once",
			set:  one(func(s *Settings) *int { return &s.Bridge.SessionRate }, count),
		}, {
			Group: group, Name: "ipv6-prefix", Value: "BITS", Default: strconv.Itoa(d.IPv6Prefix), field: "IPv6Prefix",
			Help: "bits of an IPv6 address that count as one client address",
			set:  one(func(s *Settings) *int { return &s.Bridge.IPv6Prefix }, count),
		}, {
			Group: group, Name: "max-buffered", Value: "SIZE", Default: sizeText(d.MaxBufferedBytes), field: "MaxBufferedBytes",
			Help: "most bytes that wait for clients or backends, over all sessions",
			set:  one(func(s *Settings) *int64 { return &s.Bridge.MaxBufferedBytes }, size),
		}, {
			Group: group, Name: "max-rpcs", Value: "N", field: "MaxRPCs",
			Help: "most open RPCs of the bridge; without it one for each 64KiB of max-buffered",
			set:  one(func(s *Settings) *int { return &s.Bridge.MaxRPCs }, count),
		}, {
			Group: group, Name: "max-rpcs-per-client", Value: "N", field: "MaxRPCsPerPrincipal",
			Help: "most open RPCs from one client address; without it three quarters of max-rpcs",
			set:  one(func(s *Settings) *int { return &s.Bridge.MaxRPCsPerPrincipal }, count),
		},
	}
}

var (
	levels  = []string{"debug", "info", "warn", "error"}
	formats = []string{"text", "json"}
)

func accessLog() []*Option {
	const group = "Access log"
	return []*Option{
		{
			Group: group, Name: "access-log", Value: "FILE",
			Help: "file to which a line is appended for each RPC that ended; or stdout or stderr; none without it",
			set:  one(func(s *Settings) *string { return &s.AccessLog.To }, plain),
		}, {
			Group: group, Name: "access-log-format", Value: "FORMAT", Default: "json", Words: formats, needs: "access-log",
			Help: "text or json",
			set:  one(func(s *Settings) *string { return &s.AccessLog.Format }, oneOf(formats...)),
		}, {
			Group: group, Name: "access-log-sample", Value: "SHARE", Default: "1", needs: "access-log",
			Help: "share of the RPCs that ended with OK of which there is a line: 0.01 is one of a hundred",
			set:  one(func(s *Settings) *float64 { return &s.AccessLog.Sample }, share),
		}, {
			Group: group, Name: "access-log-code", Value: "CODE", Many: true, needs: "access-log",
			Help: "status codes, such as UNAVAILABLE, of which there are lines; without it all",
			set:  many(func(s *Settings) *[]string { return &s.AccessLog.Codes }, statusCode),
		},
	}
}

func logging() []*Option {
	const group = "Log, on standard error"
	return []*Option{
		{
			Group: group, Name: "log-level", Value: "LEVEL", Default: "info", Words: levels,
			Help: "least level that is logged: debug, info, warn or error",
			set:  one(func(s *Settings) *slog.Level { return &s.LogLevel }, level),
		}, {
			Group: group, Name: "log-format", Value: "FORMAT", Default: "text", Words: formats,
			Help: "text or json",
			set:  one(func(s *Settings) *string { return &s.LogFormat }, oneOf(formats...)),
		},
	}
}
