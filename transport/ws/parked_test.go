//go:build linux

package ws_test

import (
	"bytes"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/internal/park"
	"github.com/pollbridge/pollbridge/internal/transporttest/fake"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/ws"
)

// parked is a WebSocket that is idle, at a server that parks.
type parked struct {
	handler *ws.Handler
	parker  *park.Parker
	link    *fake.Link
	peer    *websocket.Conn
}

// inBoth runs a test over TCP and over TLS.
func inBoth(t *testing.T, test func(t *testing.T, p *parked)) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "TCP", true: "TLS"}[secure], func(t *testing.T) {
			acceptor := fake.New(1)
			p := &parked{handler: handler(t, acceptor), parker: park.New()}
			s := httptest.NewUnstartedServer(mounted(p.handler))
			p.parker.Attach(s.Config)
			if secure {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			defer p.parker.Close()
			defer p.handler.Close()
			p.peer = dial(t, s)
			write(t, p.peer, []byte("first"))
			p.link = <-acceptor.Links
			p.idle(t)
			test(t, p)
			p.peer.CloseNow() // else it has a while for its last words
		})
	}
}

// idle has the link be idle, and waits until the socket has neither a reader nor a
// writer.
func (p *parked) idle(t *testing.T) {
	t.Helper()
	p.link.End <- transport.ErrIdle
	stacks := make([]byte, 1<<20)
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		n := runtime.Stack(stacks, true)
		if !bytes.Contains(stacks[:n], []byte("ws.(*socket)")) {
			return
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not parked after 30 s:\n%s", stacks[:n])
		}
	}
}

func (p *parked) delivers(t *testing.T, batches ...[]byte) {
	t.Helper()
	for _, batch := range batches {
		write(t, p.peer, batch)
	}
	for i, want := range batches {
		if got := <-p.link.Delivered; !bytes.Equal(got, want) {
			t.Fatalf("batch %d has %d bytes, want %d", i+1, len(got), len(want))
		}
	}
}

// TestParked: an idle WebSocket has no goroutine, and batches go both ways as ever,
// also those that a peer sends in one go, longer than any buffer.
func TestParked(t *testing.T) {
	inBoth(t, func(t *testing.T, p *parked) {
		long := bytes.Repeat([]byte{0xb1}, maxBatch)
		for range 3 {
			p.delivers(t, []byte("pong")) // is parked again without the link's having been awake
			p.link.Hello.Wake()
			p.link.Say <- []byte("hello")
			expect(t, p.peer, []byte("hello"))
			p.delivers(t, []byte("short"), long, nil, long, []byte("last"))
			p.idle(t)
		}
	})
}

// TestParked_ends: however a parked WebSocket ends, its link is closed.
func TestParked_ends(t *testing.T) {
	tests := []struct {
		name string
		end  func(t *testing.T, p *parked)
	}{
		{"peer closes", func(t *testing.T, p *parked) {
			if err := p.peer.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Error(err)
			}
		}},
		{"peer is gone", func(_ *testing.T, p *parked) { p.peer.CloseNow() }},
		{"link is done", func(t *testing.T, p *parked) {
			p.link.End <- transport.ErrMute
			p.link.Hello.Wake()
			expectClose(t, p.peer, ws.CloseMute, "")
		}},
		{"text message", func(t *testing.T, p *parked) {
			if err := p.peer.Write(t.Context(), websocket.MessageText, []byte("text")); err != nil {
				t.Error(err)
			}
			expectClose(t, p.peer, ws.CloseText, "text message")
		}},
		{"handler is closed", func(t *testing.T, p *parked) {
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				p.handler.Close()
			}()
			expectClose(t, p.peer, ws.CloseGoingAway, "")
			<-closed
		}},
		{"parker is closed before", func(t *testing.T, p *parked) {
			p.parker.Close()
			p.delivers(t, []byte("without a parker"))
			p.peer.CloseNow()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, p *parked) {
				tt.end(t, p)
				<-p.link.Closed
			})
		})
	}
}
