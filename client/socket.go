package client

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/httpclient"
	"github.com/pollbridge/pollbridge/internal/wsframe"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	subprotocol = "pollbridge.v1"

	// closeDraining is the close code of a bridge that takes no new sessions.
	closeDraining websocket.StatusCode = 3503

	// A link is dead if a write takes longer than writeLimit plus the time for its
	// bytes at slowestRate.
	writeLimit  = 10 * time.Second
	slowestRate = 4 << 10 // bytes per second
)

// socket is one WebSocket. The library starts a timer and a goroutine for each
// read or write whose context can end, so it gets none: the end of a context
// closes the socket instead, as the library would.
type socket struct {
	conn   *websocket.Conn
	frames *wsframe.MaskedWriter
	stop   *time.Timer // closes the socket when a write is overdue

	mu      sync.Mutex
	watched context.Context
	unwatch func() bool
}

var _ dialer.Conn = (*socket)(nil)

// Dial implements dialer.Carrier.
func (c *carrier) Dial(ctx context.Context, session string) (dialer.Conn, error) {
	client := *c.socks
	framing := &framing{handshakes: cmp.Or(client.Transport, http.DefaultTransport)}
	client.Transport = framing
	conn, resp, err := websocket.Dial(ctx, c.url(session, "ws"), &websocket.DialOptions{
		HTTPClient:   &client,
		HTTPHeader:   c.header,
		Host:         c.host,
		Subprotocols: []string{subprotocol},
	})
	if err != nil {
		return nil, handshakeError(ctx, resp, err)
	}
	if conn.Subprotocol() != subprotocol {
		conn.CloseNow()
		return nil, fmt.Errorf("client: WebSocket without subprotocol %q: the peer is not a bridge", subprotocol)
	}
	conn.SetReadLimit(maxAnswer)
	s := &socket{conn: conn, frames: framing.frames}
	s.stop = time.AfterFunc(writeLimit, s.Close)
	s.stop.Stop()
	return s, nil
}

func handshakeError(ctx context.Context, resp *http.Response, err error) error {
	if resp == nil || resp.StatusCode == http.StatusSwitchingProtocols || resp.Body == nil {
		return linkError(ctx, err)
	}
	// The library keeps at most 1 KiB of the body.
	excerpt := make([]byte, httpclient.MaxExcerpt)
	n, _ := resp.Body.Read(excerpt)
	return foreign(resp, excerpt[:n])
}

// Read implements dialer.Conn.
func (s *socket) Read(ctx context.Context) ([]byte, error) {
	s.watch(ctx)
	kind, r, err := s.conn.Reader(context.Background())
	if websocket.CloseStatus(err) == closeDraining {
		return nil, meaning{linkError(ctx, err), dialer.ErrDraining}
	}
	if err != nil {
		return nil, linkError(ctx, err)
	}
	batch, err := readBatch(r)
	if err != nil {
		return nil, linkError(ctx, err)
	}
	if kind != websocket.MessageBinary {
		return nil, fmt.Errorf("client: got a text message on the WebSocket, want binary; it begins %q", batch[:min(len(batch), httpclient.MaxExcerpt)])
	}
	return batch, nil
}

// Write implements dialer.Conn.
func (s *socket) Write(ctx context.Context, batch transport.Batch) error {
	if ctx.Err() != nil {
		return linkError(ctx, ctx.Err())
	}
	s.stop.Reset(writeLimit + time.Duration(batch.Len())*time.Second/slowestRate)
	err := s.frames.WriteMessage(batch)
	if !s.stop.Stop() && err != nil {
		return fmt.Errorf("client: WebSocket write timed out: %w", err)
	}
	if err != nil {
		return linkError(ctx, err)
	}
	return nil
}

// watch closes the socket when ctx ends. Callers read with the same ctx each time,
// which costs nothing from the second time on.
func (s *socket) watch(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx == s.watched {
		return
	}
	if s.unwatch != nil {
		s.unwatch()
	}
	s.watched, s.unwatch = ctx, context.AfterFunc(ctx, s.Close)
}

// Close implements dialer.Conn.
func (s *socket) Close() {
	s.conn.CloseNow()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwatch != nil {
		s.unwatch()
	}
}

// framing is a RoundTripper for one handshake, which puts a MaskedWriter over the
// connection that it leaves open.
type framing struct {
	handshakes http.RoundTripper
	frames     *wsframe.MaskedWriter // nil: no handshake was successful
}

// framed is an open connection that is written to in whole frames.
type framed struct {
	io.ReadWriteCloser
	frames *wsframe.MaskedWriter
}

// Write implements io.Writer for the library.
func (f framed) Write(p []byte) (int, error) { return f.frames.Write(p) }

// RoundTrip implements http.RoundTripper.
func (f *framing) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f.handshakes.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	if open, ok := resp.Body.(io.ReadWriteCloser); ok {
		f.frames = wsframe.NewMaskedWriter(open)
		resp.Body = framed{open, f.frames}
	}
	return resp, nil
}
