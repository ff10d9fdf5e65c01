package backend

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	_ "google.golang.org/grpc/balancer/leastrequest" // for service configs; so is ringhash
	_ "google.golang.org/grpc/balancer/ringhash"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // client-side health checking, when the service config asks for it
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// Windows are fixed: gRPC's own tuning lets one slow reader pin 16 MiB.
const (
	streamWindow = 256 << 10
	connWindow   = 4 << 20
	// retryBuffer is how many bytes of an RPC gRPC keeps for retries.
	retryBuffer = 64 << 10
)

const minConnectTimeout = 5 * time.Second

// gRPC's own backoff goes up to 120 s, which is too long for a waiting user.
var reconnectBackoff = backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second}

type dialer func(ctx context.Context, addr string) (net.Conn, error)

// dialTCP dials an address that gRPC resolved: "host:port", "unix:path" or
// "unix:///path". It ignores HTTPS_PROXY: backends are near.
func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", strings.TrimPrefix(path, "//")
	} else if strings.HasPrefix(addr, "\x00") {
		network, addr = "unix", "@"+addr[1:]
	}
	d := net.Dialer{KeepAliveConfig: tcpKeepalive}
	return d.DialContext(ctx, network, addr)
}

// transportCredentials returns the Config's credentials, without a tap.
func (c Config) transportCredentials() (credentials.TransportCredentials, error) {
	if c.TLS == nil {
		return insecure.NewCredentials(), nil
	}
	return newFileCredentials(*c.TLS)
}

// dialOptions returns the options that all channels of a backend share.
func (c Config) dialOptions() ([]grpc.DialOption, error) {
	keepalive, err := c.Profile.keepalive()
	if err != nil {
		return nil, err
	}
	service, err := serviceConfig(c.ServiceConfig)
	if err != nil {
		return nil, err
	}
	return []grpc.DialOption{
		grpc.WithKeepaliveParams(keepalive),
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnectBackoff, MinConnectTimeout: minConnectTimeout}),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDefaultServiceConfig(service),
		grpc.WithDisableServiceConfig(),
		grpc.WithUserAgent(c.UserAgent),
	}, nil
}

// serviceConfig adds round_robin if user names no policy: after a loss pick_first
// stays idle until the next RPC, round_robin reconnects by itself.
func serviceConfig(user string) (string, error) {
	fields := map[string]json.RawMessage{}
	if user != "" {
		if err := json.Unmarshal([]byte(user), &fields); err != nil {
			return "", &FieldError{"ServiceConfig", err}
		}
	}
	merged := map[string]json.RawMessage{"loadBalancingConfig": json.RawMessage(`[{"round_robin":{}}]`)}
	if _, named := fields["loadBalancingPolicy"]; named {
		clear(merged)
	}
	maps.Copy(merged, fields)
	out, err := json.Marshal(merged)
	return string(out), err
}

// tryServiceConfig has gRPC look at a service config, which it does nowhere else
// than in a new channel. This one never connects.
func tryServiceConfig(user string) error {
	text, err := serviceConfig(user)
	if err != nil {
		return err
	}
	cc, err := grpc.NewClient("passthrough:///", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(text))
	if err != nil {
		return &FieldError{"ServiceConfig", err}
	}
	return cc.Close()
}

// target returns the target for grpc.NewClient, with a resolver if t is a list of
// addresses. A resolver serves one channel only.
func target(t string) (string, []grpc.DialOption) {
	if !strings.Contains(t, ",") || strings.Contains(t, "://") {
		return t, nil
	}
	const scheme = "static"
	var state resolver.State
	for a := range strings.SplitSeq(t, ",") {
		a = strings.TrimSpace(a)
		host, _, err := net.SplitHostPort(a)
		if err != nil {
			host = a
		}
		addr := resolver.Address{Addr: a, ServerName: host}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{addr}})
	}
	list := manual.NewBuilderWithScheme(scheme)
	list.InitialState(state)
	return scheme + ":///" + t, []grpc.DialOption{grpc.WithResolvers(list)}
}
