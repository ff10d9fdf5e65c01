package backend

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Config describes one backend. It has no defaults of its own: package bridge's
// are the only ones, and every field without "optional" must be set.
type Config struct {
	Name string // in logs and messages

	// Exactly one of Target, ClientConn and Server is set. Target is
	// "host:port", several of them separated by commas, or any target that gRPC
	// resolves. The Pool neither closes ClientConn nor stops Server.
	Target     string
	ClientConn grpc.ClientConnInterface
	Server     *grpc.Server

	TLS           *TLS // optional; nil: plain HTTP/2
	Profile       Profile
	ServiceConfig string // optional; JSON. round_robin is added where it names no policy

	// ReadyTimeout is how long an RPC waits for a ready channel unless its
	// CallOptions say otherwise.
	ReadyTimeout time.Duration
	// MaxStreams bounds the streams on one channel, beside the limit in the
	// backend's SETTINGS.
	MaxStreams int
	MaxMessage int // bytes, in each direction
	// MaxReceiving bounds, in bytes, the messages longer than a stream's window
	// (256 KiB) that are received at a time; one always is. Not with ClientConn.
	MaxReceiving int64

	// PerSession gives each session its own channels, which are closed with the
	// session. Not with ClientConn.
	PerSession bool

	UserAgent   string
	DialOptions []grpc.DialOption // optional; applied last
	Logger      *slog.Logger
}

// publicName returns the backend's name for clients, unless that is its address.
func (c Config) publicName() string {
	if c.Name == "" || c.Name == c.Target {
		return "backend"
	}
	return fmt.Sprintf("backend %q", c.Name)
}

// FieldError says what of a Config cannot be used.
type FieldError struct {
	Field string // of the Config, as "TLS.CAFile"
	Err   error
}

func (e *FieldError) Error() string { return "backend: " + e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// Profile is how quickly a channel detects a dead backend.
type Profile string

// Profiles. Safe sends fewer HTTP/2 pings than any gRPC server allows by default;
// TCP keepalive and TCP_USER_TIMEOUT detect a dead backend within 15 s. Balanced
// and Fast ping every 30 s and 10 s, with or without RPCs, and require a backend
// whose enforcement policy permits that.
const (
	Safe     Profile = "safe"
	Balanced Profile = "balanced"
	Fast     Profile = "fast"
)

func (p Profile) keepalive() (keepalive.ClientParameters, error) {
	switch p {
	case Safe:
		// With keepalive on, gRPC sets TCP_USER_TIMEOUT to Timeout, which detects a
		// backend that no longer acks what was written.
		return keepalive.ClientParameters{Time: 310 * time.Second, Timeout: 10 * time.Second}, nil
	case Balanced:
		return keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true}, nil
	case Fast:
		return keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 3 * time.Second, PermitWithoutStream: true}, nil
	}
	return keepalive.ClientParameters{}, &FieldError{"Profile", fmt.Errorf("%q is none of safe, balanced, fast", p)}
}

// tcpKeepalive detects a dead peer while nothing is being written. Linux applies
// TCP_USER_TIMEOUT here too, but checks it only when a probe is due: with the
// second one, after 14 s, and its timers run up to half a second late.
var tcpKeepalive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 4 * time.Second, Count: 2}
