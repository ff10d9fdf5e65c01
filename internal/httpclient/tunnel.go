package httpclient

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// tunnel dials the bridge for a WebSocket. Through an HTTP proxy it uses CONNECT,
// even to a ws URL: browsers do, and a proxy that gets the Upgrade itself drops it
// or, worse, passes the 101 and then no data.
type tunnel struct {
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	proxy func(*http.Request) (*url.URL, error)
	tls   *tls.Config
	base  string
}

func (t tunnel) dialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.base, nil)
	if err != nil {
		return nil, err
	}
	via, err := t.proxy(req)
	if err != nil {
		return nil, fmt.Errorf("choosing a proxy: %w", err)
	}
	if via == nil {
		return t.dial(ctx, network, addr)
	}
	switch via.Scheme {
	case "http", "https":
		return t.connect(ctx, via, addr)
	case "socks5", "socks5h":
		return t.socks(ctx, via, addr)
	}
	return nil, fmt.Errorf("proxy scheme %q is none of http, https and socks5", via.Scheme)
}

func (t tunnel) connect(ctx context.Context, via *url.URL, addr string) (net.Conn, error) {
	conn, err := t.dial(ctx, "tcp", hostPort(via))
	if err != nil {
		return nil, fmt.Errorf("dialling proxy %s: %w", via.Host, err)
	}
	// The handshake ends with ctx or after dialTimeout, whichever is first.
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	unwatch := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	opened, err := t.handshake(ctx, conn, via, addr)
	if !unwatch() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("proxy %s: CONNECT %s: %w", via.Host, addr, err)
	}
	return opened, nil
}

func (t tunnel) handshake(ctx context.Context, conn net.Conn, via *url.URL, addr string) (net.Conn, error) {
	if via.Scheme == "https" {
		cfg := t.tls.Clone()
		if cfg == nil {
			cfg = &tls.Config{}
		}
		cfg.ServerName = via.Hostname()
		cfg.NextProtos = nil
		secured := tls.Client(conn, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secured
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	req.Header.Set("User-Agent", "pollbridge-go")
	if user := via.User; user != nil {
		password, _ := user.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	// The server may send nothing before we do, so bytes buffered after the
	// response are a violation.
	br := bufio.NewReaderSize(conn, socketBuffer)
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		excerpt, _ := io.ReadAll(io.LimitReader(resp.Body, MaxExcerpt))
		return nil, Foreign(resp, excerpt)
	}
	if br.Buffered() > 0 {
		return nil, fmt.Errorf("got %d bytes after the proxy's response, want none", br.Buffered())
	}
	return conn, nil
}

func (t tunnel) socks(ctx context.Context, via *url.URL, addr string) (net.Conn, error) {
	var auth *proxy.Auth
	if user := via.User; user != nil {
		password, _ := user.Password()
		auth = &proxy.Auth{User: user.Username(), Password: password}
	}
	dialer, err := proxy.SOCKS5("tcp", hostPort(via), auth, forward(t.dial))
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", via.Host, err)
	}
	return dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", addr)
}

// forward adapts a dial function to the SOCKS package's dialers.
type forward func(ctx context.Context, network, addr string) (net.Conn, error)

func (f forward) Dial(network, addr string) (net.Conn, error) {
	return f(context.Background(), network, addr)
}

func (f forward) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	return f(ctx, network, addr)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
