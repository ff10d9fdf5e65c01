package middlebox_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

// lab is an origin, a middlebox before it, and a client; all in memory.
type lab struct {
	*middlebox.Proxy
	client *http.Client
	dial   func() (net.Conn, error) // to the middlebox

	mu   sync.Mutex
	seen []string // "METHOD path", as the origin got them
}

// mode is how a lab's client reaches the origin.
type mode int

const (
	reverse mode = iota
	forward
	inspected // https, by CONNECT, and the middlebox looks inside
	secure    // a reverse proxy with TLS
)

func newLab(t *testing.T, how mode, profile string) *lab {
	t.Helper()
	f, err := middlebox.Parse(profile)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{}
	origin, front := transporttest.Pipes(t), transporttest.Pipes(t)
	cfg := middlebox.Config{
		Profile: f, Seed: 1,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return origin.Dial(ctx) },
	}
	ca, err := middlebox.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: l}
	pool := &http.Transport{
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{RootCAs: ca.Pool()},
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return front.Dial(ctx) },
	}
	scheme := "http"
	switch how {
	case reverse:
		cfg.Upstream = "http://origin.test"
	case secure:
		cfg.Upstream, cfg.CA, scheme = "http://origin.test", ca, "https"
	case forward, inspected:
		pool.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.test"})
	}
	var served sync.WaitGroup
	if how == inspected {
		cfg.CA, scheme = ca, "https"
		cfg.TLS = &tls.Config{RootCAs: ca.Pool()}
		cert, err := ca.For("origin.test")
		if err != nil {
			t.Fatal(err)
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
		served.Go(func() { server.ServeTLS(origin.Listener, "", "") })
	} else {
		served.Go(func() { server.Serve(origin.Listener) })
	}
	l.Proxy, err = middlebox.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	served.Go(func() {
		serve := l.Serve
		if how == secure {
			serve = func(nl net.Listener) error { return l.ServeTLS(nl, "origin.test") }
		}
		if err := serve(front.Listener); err != nil {
			t.Error(err)
		}
	})
	l.client = &http.Client{Transport: prefixed{pool, scheme}}
	l.dial = func() (net.Conn, error) { return front.Dial(context.Background()) }
	t.Cleanup(func() {
		pool.CloseIdleConnections()
		l.Close()
		server.Close()
		served.Wait()
	})
	return l
}

// prefixed sends requests for a path alone to the origin.
type prefixed struct {
	*http.Transport
	scheme string
}

func (p prefixed) RoundTrip(req *http.Request) (*http.Response, error) {
	req.URL.Scheme, req.URL.Host, req.Host = p.scheme, "origin.test", "origin.test"
	return p.Transport.RoundTrip(req)
}

// inLab runs a test in a bubble with a lab.
func inLab(t *testing.T, how mode, profile string, test func(*testing.T, *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newLab(t, how, profile)) })
}

// ServeHTTP is the origin: /stream sends 5 pieces, one each 200 ms; /hold
// answers after 10 s; /echo upgrades; everything else answers with the method,
// the path and the body.
func (l *lab) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	l.note(r.Method + " " + r.URL.Path)
	w.Header().Set("Marker", "1")
	switch r.URL.Path {
	case "/stream":
		for n := range 5 {
			if n > 0 && !pause(r.Context()) {
				return
			}
			fmt.Fprintf(w, "piece %d\n", n)
			http.NewResponseController(w).Flush()
		}
	case "/hold":
		select {
		case <-time.After(10 * time.Second):
			io.WriteString(w, "held")
		case <-r.Context().Done():
			l.note("gone")
		}
	case "/missing":
		w.WriteHeader(http.StatusNotFound)
	case "/echo":
		if r.Header.Get("Upgrade") == "" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(conn, rw)
	default:
		fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.Path, body)
	}
}

// pause reports false when the client has gone.
func pause(ctx context.Context) bool {
	select {
	case <-time.After(200 * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

func (l *lab) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, what)
}

// saw returns how often the origin noted something.
func (l *lab) saw(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.seen {
		if s == what {
			n++
		}
	}
	return n
}

// reply is what came of a request: "status body", or "status body!" when the
// body broke off, or "error"; and after how long it was complete.
func (l *lab) reply(method, path, body string, header ...string) (string, time.Duration) {
	start := time.Now()
	req, err := http.NewRequest(method, path, strings.NewReader(body))
	if err != nil {
		return err.Error(), 0
	}
	for _, field := range header {
		if name, value, ok := strings.Cut(field, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	resp, err := l.client.Do(req.WithContext(ctx))
	if errors.Is(err, context.DeadlineExceeded) {
		return "silence", time.Since(start)
	}
	if err != nil {
		return "error", time.Since(start)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	s := fmt.Sprintf("%d %s", resp.StatusCode, got)
	if strings.Contains(s, "<title>") {
		s = fmt.Sprintf("%d page", resp.StatusCode)
	}
	if err != nil {
		s += "!"
	}
	return s, time.Since(start)
}

// upgraded opens a connection that echoes. The reader has what follows the
// answer's head; the status is 0 when there was none.
func (l *lab) upgraded(t *testing.T) (net.Conn, *bufio.Reader, int) {
	t.Helper()
	conn, err := l.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(conn, "GET /echo HTTP/1.1\r\nHost: origin.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return conn, br, 0
	}
	return conn, br, resp.StatusCode
}

// echoed sends text and tells what comes back of it within 5 s.
func echoed(conn net.Conn, br *bufio.Reader, text string) string {
	io.WriteString(conn, text)
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, len(text))
	n, err := io.ReadFull(br, got)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return string(got[:n]) + "…"
	}
	return string(got[:n])
}
