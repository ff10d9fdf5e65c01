package ws_test

import (
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/internal/transporttest/fake"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/ws"
)

// TestClose: a closed handler ends its sockets without their sessions' ending.
// What is ready is sent before, and the end of a session has its own code.
func TestClose(t *testing.T) {
	const goingAway = "the bridge is closing its WebSockets"
	tests := []struct {
		name   string
		before func(*fake.Link)
		want   []string // batches
		code   websocket.StatusCode
		reason string
	}{
		{"waiting", func(*fake.Link) {}, nil, ws.CloseGoingAway, goingAway},
		{"idle", func(l *fake.Link) { l.End <- transport.ErrIdle }, nil, ws.CloseGoingAway, goingAway},
		{"something to say", func(l *fake.Link) { l.Say <- []byte("last") }, []string{"last"}, ws.CloseGoingAway, goingAway},
		{"session over", func(l *fake.Link) {
			l.Say <- []byte("last")
			l.End <- transport.ErrSessionOver
		}, []string{"last"}, ws.CloseSession, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			acceptor := fake.New(2)
			h := handler(t, acceptor)
			s := httptest.NewServer(mounted(h))
			defer s.Close()
			c := dial(t, s)
			write(t, c, []byte("first"))
			link := <-acceptor.Links
			link.Say <- []byte("runs")
			expect(t, c, []byte("runs")) // a link that Close finds earlier says nothing
			tt.before(link)
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				h.Close()
			}()
			for _, batch := range tt.want {
				expect(t, c, []byte(batch))
			}
			expectClose(t, c, tt.code, tt.reason)
			<-closed
			<-link.Closed
			h.Close() // a second one has nothing to do

			late := dial(t, s)
			write(t, late, []byte("first"))
			expectClose(t, late, ws.CloseGoingAway, goingAway)
			<-(<-acceptor.Links).Closed
		})
	}
}

// TestClose_busy: a link that never falls silent does not keep the handler.
func TestClose_busy(t *testing.T) {
	acceptor := fake.New(1)
	h := handler(t, acceptor)
	s := httptest.NewServer(mounted(h))
	defer s.Close()
	c := dial(t, s)
	write(t, c, []byte("first"))
	link := <-acceptor.Links
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case link.Say <- []byte("more"):
			case <-link.Closed:
				return
			}
		}
	}()
	expect(t, c, []byte("more"))
	go h.Close()
	for {
		if _, _, err := c.Read(t.Context()); err != nil {
			if websocket.CloseStatus(err) != ws.CloseGoingAway {
				t.Error(err)
			}
			break
		}
	}
	h.Close()
	<-done
}
