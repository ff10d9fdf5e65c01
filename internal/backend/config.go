package backend

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Config describes one backend. Zero values stand for the defaults.
type Config struct {
	Name string // in logs and messages

	// Exactly one of these three. Target is "host:port", several of them with
	// commas between, or any target that gRPC resolves. ClientConn is not
	// closed by the Pool, and Server not stopped.
	Target     string
	ClientConn grpc.ClientConnInterface
	Server     *grpc.Server

	TLS           *TLS    // nil: plain HTTP/2
	Profile       Profile // default: Safe
	ServiceConfig string  // JSON; round_robin is added where it names no policy

	// ReadyTimeout is how long an RPC waits for a ready channel, unless its
	// CallOptions say otherwise. Default: 10 s.
	ReadyTimeout time.Duration
	// MaxStreams bounds the streams on one channel beside what the backend's
	// SETTINGS say. Default: 1,000.
	MaxStreams int
	MaxMessage int // bytes, both ways; 16 MiB

	// PerSession gives each session channels of its own, which are closed with
	// it. Not with ClientConn.
	PerSession bool

	UserAgent   string
	DialOptions []grpc.DialOption // applied last
	Logger      *slog.Logger      // default: discard
}

func (c Config) withDefaults() Config {
	if c.Profile == "" {
		c.Profile = Safe
	}
	if c.ReadyTimeout == 0 {
		c.ReadyTimeout = 10 * time.Second
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = 1000
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 16 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Profile says how eagerly a channel looks for a backend that went away.
type Profile string

// Profiles. Safe sends no HTTP/2 ping that a default gRPC server could take
// offence at: TCP keepalive and TCP_USER_TIMEOUT find a dead backend in 15 s.
// Balanced and Fast ping every 30 s and 10 s, with or without RPCs, and need a
// backend whose enforcement policy permits that.
const (
	Safe     Profile = "safe"
	Balanced Profile = "balanced"
	Fast     Profile = "fast"
)

func (p Profile) keepalive() (keepalive.ClientParameters, error) {
	switch p {
	case Safe:
		// gRPC sets TCP_USER_TIMEOUT to Timeout as soon as keepalive is on:
		// that is what finds a backend that no longer acks what was written.
		return keepalive.ClientParameters{Time: 310 * time.Second, Timeout: 10 * time.Second}, nil
	case Balanced:
		return keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}, nil
	case Fast:
		return keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}, nil
	}
	return keepalive.ClientParameters{}, fmt.Errorf("backend: profile %q is none of safe, balanced, fast", p)
}

// tcpKeepalive finds a peer that is gone while nothing is being written. Linux
// heeds TCP_USER_TIMEOUT here too, but looks at it only when a probe is due: with
// the second one, after 14 s, and its timers run up to half a second late.
var tcpKeepalive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 4 * time.Second, Count: 2}
