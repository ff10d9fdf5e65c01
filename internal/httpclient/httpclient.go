// Package httpclient makes the two http.Clients that reach a bridge: one for
// requests, and one for WebSocket handshakes, which goes through HTTP proxies by
// CONNECT as a browser does.
package httpclient

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	// socketBuffer is the size of each buffer of a WebSocket's connection, in
	// bytes. It lives as long as the socket.
	socketBuffer = 1 << 10
)

// Config says how to reach a bridge. The fields and their defaults are those of
// client.Config.
type Config struct {
	TLS   *tls.Config
	Proxy func(*http.Request) (*url.URL, error)
	Dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

// WithDefaults returns the Config with the defaults of Proxy and Dial.
func (c Config) WithDefaults() Config {
	if c.Proxy == nil {
		c.Proxy = http.ProxyFromEnvironment
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return c
}

// Requests returns a client for requests.
func Requests(cfg Config) *http.Client {
	cfg = cfg.WithDefaults()
	return Plain(&http.Transport{
		Proxy:               cfg.Proxy,
		DialContext:         cfg.Dial,
		TLSClientConfig:     cfg.TLS.Clone(),
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     idleTimeout,

		OnProxyConnectResponse: refusedTunnel,
	})
}

// Handshakes returns a client for WebSocket handshakes with the bridge at base,
// a URL. It speaks HTTP/1.1 only, and no handshake reuses a connection that a
// refused one left idle: a middlebox may have forgotten it.
func Handshakes(base string, cfg Config) *http.Client {
	cfg = cfg.WithDefaults()
	return Plain(&http.Transport{
		DialContext:         tunnel{dial: cfg.Dial, proxy: cfg.Proxy, tls: cfg.TLS, base: base}.dialContext,
		TLSClientConfig:     cfg.TLS.Clone(),
		TLSHandshakeTimeout: dialTimeout,
		DisableCompression:  true,
		DisableKeepAlives:   true,
		ReadBufferSize:      socketBuffer,
		WriteBufferSize:     socketBuffer,
	})
}

// Plain returns a client on rt that neither keeps cookies nor follows redirects:
// a redirect comes from a middlebox, not from the bridge.
func Plain(rt http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refusedTunnel reports a proxy's answer to CONNECT; net/http itself keeps only
// the reason phrase.
func refusedTunnel(_ context.Context, via *url.URL, req *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("proxy %s: CONNECT %s: %w", via.Host, req.Host, Foreign(resp, nil))
}
