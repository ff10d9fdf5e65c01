package admin_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"testing"
	"time"
)

func withLocal(r *http.Request, local net.Addr) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, local)
}

// server is an http.Server on pipes in memory, for synctest.
type server struct {
	began  time.Time
	client *http.Client
}

// listen serves h until the test's end.
func listen(t *testing.T, h http.Handler) *server {
	conns := pipes{make(chan net.Conn), make(chan struct{})}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go srv.Serve(conns)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case conns.accepted <- far:
			return near, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		srv.Close()
	})
	return &server{time.Now(), client}
}

func (s *server) get(t *testing.T, path, accept string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := s.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func (s *server) events(t *testing.T, path string) *events {
	t.Helper()
	response := s.get(t, path, "text/event-stream")
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s, %v", path, response.Status, response.Header)
	}
	return &events{response.Body, bufio.NewScanner(response.Body)}
}

// pipes is a net.Listener of net.Pipes.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accepted:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	close(p.closed)
	return nil
}

func (pipes) Addr() net.Addr { return &net.UnixAddr{} }
