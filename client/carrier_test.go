package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/transport"
)

// batch is an envelope around n bytes; its CRC is the engine's to check.
func batch(n int) []byte {
	b := []byte{0xB1, 0xD6, 1, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	return append(b, bytes.Repeat([]byte{7}, n+4)...)
}

func newCarrier(t *testing.T, url string, cfg client.Config) dialer.Carrier {
	t.Helper()
	c, stop, err := client.NewCarrier(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestExchange(t *testing.T) {
	for _, size := range []int{0, 1, 495, 499, 500, 501, 4096, 1 << 20} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if r.Method != "POST" || r.URL.Path != "/bridge/v1/abc/poll" || r.Header.Get("Content-Type") != "application/octet-stream" ||
				r.Header.Get("X-Mine") != "yes" || r.UserAgent() != client.Release || r.Header.Get("Accept-Encoding") != "" || r.Header.Get("Cookie") != "" {
				t.Errorf("request %s %s %v", r.Method, r.URL, r.Header)
			}
			http.SetCookie(w, &http.Cookie{Name: "tracking", Value: "1"})
			w.Write(body)
		})
		c := newCarrier(t, s.URL, client.Config{Header: http.Header{"X-Mine": {"yes"}}})
		for range 2 {
			got, err := c.Exchange(t.Context(), "abc", batch(size))
			if err != nil || !bytes.Equal(got, batch(size)) {
				t.Errorf("size %d: %d bytes, %v", size, len(got), err)
			}
			if slack := cap(got) - len(got); size > 512 && slack > len(got)/4+1 {
				t.Errorf("size %d: %d bytes of slack", size, slack)
			}
		}
	}
}

func TestExchange_linkErrors(t *testing.T) {
	long := strings.Repeat("<html>", 1000)
	tests := []struct {
		name   string
		handle http.HandlerFunc
		want   []string
	}{
		{"status", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(502)
			io.WriteString(w, long)
		}, []string{"status 502", `"text/html"`, `<html><html>`}},
		{"login page", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, long)
		}, []string{"status 200", `"text/html"`, `<html><html>`}},
		{"redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://login.test/", 302) },
			[]string{"status 302", `redirect to "http://login.test/"`}},
		{"empty", func(http.ResponseWriter, *http.Request) {}, []string{"status 200", `body begins ""`}},
		{"cut in the head", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write(batch(10)[:1])
		}, []string{"cut after 1 bytes", "unexpected EOF"}},
		{"cut", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write(batch(10))
		}, []string{"cut after 22 bytes", "unexpected EOF"}},
		{"huge claim", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte{0xB1, 0xD6, 1, 0, 0xFF, 0xFF, 0xFF, 0xFF})
		},
			[]string{"batch of 4294967307 bytes is over the limit of 16777216"}},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for range 40 << 20 >> 16 {
				w.Write(make([]byte, 1<<16))
			}
		}, []string{"response is over the limit of 16777216 bytes"}},
		{"reset", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			conn.Close()
		}, []string{"EOF"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCarrier(t, serve(t, tt.handle).URL, client.Config{})
			got, err := c.Exchange(t.Context(), "abc", batch(3))
			if err == nil {
				t.Fatalf("no error, %d bytes", len(got))
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
			if len(err.Error()) > 800 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
		})
	}
}

// An answer that is longer or shorter than its envelope says, or than an envelope
// is, is the engine's to judge: it is the bridge's, and something changed it.
func TestExchangeHandsDamagedBatchesOn(t *testing.T) {
	for _, sent := range [][]byte{append(batch(700), "tail"...), batch(700)[:600], batch(0)[:5], batch(0)[:1]} {
		c := newCarrier(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(sent) }).URL, client.Config{})
		if got, err := c.Exchange(t.Context(), "abc", batch(0)); err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes: %d bytes, %v", len(sent), len(got), err)
		}
	}
}

func TestExchangeCause(t *testing.T) {
	reason := errors.New("replaced by a later exchange")
	ctx, cancel := context.WithCancelCause(t.Context())
	c := newCarrier(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // the server watches the connection from here on
		cancel(reason)
		<-r.Context().Done()
	}).URL, client.Config{})
	if _, err := c.Exchange(ctx, "abc", batch(0)); !errors.Is(err, reason) {
		t.Errorf("%v", err)
	}
}

// Two exchanges in flight and the socket reuse two connections between them.
func TestExchangeReusesConnections(t *testing.T) {
	tr := client.ExchangeTransport(client.Config{})
	if tr.MaxIdleConnsPerHost < 2 || !tr.DisableCompression || !tr.ForceAttemptHTTP2 {
		t.Errorf("transport %+v", tr)
	}
}

func socketServer(t *testing.T, serveSocket func(*websocket.Conn)) *httptest.Server {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/bridge/v1/abc/ws" {
			t.Errorf("path %s", r.URL.Path)
		}
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"pollbridge.v1"}})
		if err != nil {
			t.Error(err)
			return
		}
		conn.SetReadLimit(-1)
		defer conn.CloseNow()
		serveSocket(conn)
	})
}

func echo(conn *websocket.Conn) {
	for {
		kind, b, err := conn.Read(context.Background())
		if err != nil || conn.Write(context.Background(), kind, b) != nil {
			return
		}
	}
}

func TestSocket(t *testing.T) {
	c := newCarrier(t, socketServer(t, echo).URL, client.Config{})
	s, err := c.Dial(t.Context(), "abc")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, size := range []int{0, 1, 499, 500, 501, 100_000, 1 << 20} {
		if err := s.Write(t.Context(), transport.Batch{batch(size)}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Read(t.Context())
		if err != nil || !bytes.Equal(got, batch(size)) {
			t.Errorf("size %d: %d bytes, %v", size, len(got), err)
		}
	}
}

func TestSocketReadEndsWithContext(t *testing.T) {
	c := newCarrier(t, socketServer(t, echo).URL, client.Config{})
	s, err := c.Dial(t.Context(), "abc")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	reason := errors.New("demoted")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(reason) })
	if _, err := s.Read(ctx); !errors.Is(err, reason) {
		t.Errorf("%v", err)
	}
	if err := s.Write(t.Context(), transport.Batch{batch(0)}); err == nil {
		t.Error("the socket outlived its context")
	}
}

func TestSocketCloseWakesReader(t *testing.T) {
	c := newCarrier(t, socketServer(t, echo).URL, client.Config{})
	s, err := c.Dial(t.Context(), "abc")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, s.Close)
	if _, err := s.Read(t.Context()); err == nil {
		t.Error("no error")
	}
}

func TestSocketText(t *testing.T) {
	c := newCarrier(t, socketServer(t, func(conn *websocket.Conn) {
		conn.Write(context.Background(), websocket.MessageText, []byte("hello"))
		conn.Read(context.Background())
	}).URL, client.Config{})
	s, err := c.Dial(t.Context(), "abc")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Read(t.Context()); err == nil || !strings.Contains(err.Error(), `it begins "hello"`) {
		t.Errorf("%v", err)
	}
}

// What a bridge that drains, and a balancer that reaches none, say is told apart
// from other failures.
func TestCarrier_away(t *testing.T) {
	c := newCarrier(t, socketServer(t, func(conn *websocket.Conn) {
		conn.Close(3503, "the bridge is draining")
	}).URL, client.Config{})
	s, err := c.Dial(t.Context(), "abc")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Read(t.Context()); !errors.Is(err, dialer.ErrDraining) || !strings.Contains(err.Error(), "the bridge is draining") {
		t.Errorf("a WebSocket closed with 3503: %v", err)
	}
	for status, away := range map[int]bool{502: true, 503: true, 504: false, 500: false} {
		c := newCarrier(t, serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }).URL, client.Config{})
		_, err := c.Exchange(t.Context(), "abc", batch(0))
		_, dialErr := c.Dial(t.Context(), "abc")
		for _, err := range []error{err, dialErr} {
			if errors.Is(err, dialer.ErrUnavailable) != away || !strings.Contains(err.Error(), fmt.Sprint(status)) {
				t.Errorf("status %d: %v", status, err)
			}
		}
	}
}

func TestDial_linkErrors(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err == nil {
			conn.CloseNow()
		}
	})
	page := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(403)
		io.WriteString(w, "<h1>blocked by policy</h1>")
	})
	away := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://login.test/", 302) })
	for _, tt := range []struct {
		name, url string
		want      []string
	}{
		{"no subprotocol", plain.URL, []string{`without subprotocol "pollbridge.v1"`}},
		{"status", page.URL, []string{"status 403", "blocked by policy"}},
		{"redirect", away.URL, []string{"status 302", "login.test"}},
		{"refused", "http://127.0.0.1:1", []string{"connection refused"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newCarrier(t, tt.url, client.Config{}).Dial(t.Context(), "abc")
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for want, cfg := range map[string]client.Config{
		`"h3" is none of "ws" and "longpoll"`: {Transports: []string{"ws", "h3"}},
		`"ws" is listed twice`:                {Transports: []string{"ws", "ws"}},
		"Hold is negative":                    {Hold: -1},
		"MaxMessage is negative":              {MaxMessage: -1},
		"HTTPClient excludes TLS":             {HTTPClient: &http.Client{}, Proxy: http.ProxyFromEnvironment},
	} {
		if _, err := client.New("http://h", cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
