package transporttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/transporttest/fake"
	"github.com/pollbridge/pollbridge/transport"
)

// Network is where a transport listens and how it is reached.
type Network struct {
	Listener net.Listener
	Dial     func(ctx context.Context) (net.Conn, error)
}

// Pipes is a network in memory, for bubbles.
func Pipes(t *testing.T) Network {
	l := fake.Listen()
	t.Cleanup(func() { l.Close() })
	return Network{Listener: l, Dial: func(context.Context) (net.Conn, error) { return l.Dial() }}
}

// TCP is the loopback network.
func TCP(t *testing.T) Network {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return Network{Listener: l, Dial: func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", l.Addr().String())
	}}
}

// Serve serves a bridge's routes over HTTP and returns a carrier that uses
// them: an exchange posts to /v1/{sid}/poll, a WebSocket is dialled at
// /v1/{sid}/ws.
func Serve(t *testing.T, network Network, handler http.Handler) dialer.Carrier {
	var served sync.WaitGroup
	server := &http.Server{Handler: handler, ConnState: func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			served.Add(1)
		case http.StateClosed, http.StateHijacked:
			served.Done()
		}
	}}
	served.Go(func() { server.Serve(network.Listener) })
	pool := &http.Transport{
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return network.Dial(ctx) },
		MaxConnsPerHost: 6, // as browsers have it
	}
	t.Cleanup(func() {
		pool.CloseIdleConnections()
		server.Close()
		served.Wait()
	})
	return &carrier{http.Client{Transport: pool}}
}

// carrier is a plain dialer.Carrier over HTTP.
type carrier struct{ http http.Client }

func (c *carrier) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/v1/"+sid+"/poll", bytes.NewReader(batch))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}

func (c *carrier) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	conn, _, err := websocket.Dial(ctx, "ws://127.0.0.1/v1/"+sid+"/ws", &websocket.DialOptions{
		HTTPClient:   &c.http,
		Subprotocols: []string{"pollbridge.v1"},
	})
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	return &socket{conn}, nil
}

// socket is a plain dialer.Conn.
type socket struct{ conn *websocket.Conn }

func (s *socket) Read(ctx context.Context) ([]byte, error) {
	_, batch, err := s.conn.Read(ctx)
	return batch, err
}

func (s *socket) Write(ctx context.Context, batch transport.Batch) error {
	return s.conn.Write(ctx, websocket.MessageBinary, batch.AppendTo(nil))
}

func (s *socket) Close() { s.conn.CloseNow() }
