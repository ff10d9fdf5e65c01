package ws_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/transporttest/fake"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/ws"
)

// inBubble serves a handler over pipes in a synctest bubble and hands the test
// a peer that has the 101 and does nothing of its own.
func inBubble(t *testing.T, test func(t *testing.T, h *ws.Handler, acceptor *fake.Acceptor, peer net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		acceptor := fake.New(1)
		h := handler(t, acceptor)
		server := &http.Server{Handler: mounted(h)}
		listener := fake.Listen()
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.Serve(listener)
		}()
		peer, err := listener.Dial()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(peer, "GET /bridge/v1/c2lk/ws HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: pollbridge.v1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := http.ReadResponse(bufio.NewReaderSize(peer, 16), nil); err != nil {
			t.Fatal(err)
		}
		test(t, h, acceptor, peer)
		peer.Close()
		server.Close()
		<-served
	})
}

// send writes what is a binary message, or the beginning of one.
func send(t *testing.T, peer net.Conn, frame string) {
	t.Helper()
	if _, err := io.WriteString(peer, frame); err != nil {
		t.Fatal(err)
	}
}

func TestFirstBatchTimeout(t *testing.T) {
	for name, begin := range map[string]string{
		"nothing":      "",
		"half a head":  "\x82",
		"half a batch": "\x82\x84\x00\x00\x00\x00xy",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, _ *ws.Handler, acceptor *fake.Acceptor, peer net.Conn) {
				send(t, peer, begin)
				start := time.Now()
				frame := make([]byte, 4)
				if _, err := io.ReadFull(peer, frame); err != nil {
					t.Fatal(err)
				}
				if got := time.Since(start); got != 10*time.Second {
					t.Errorf("closed after %s, want 10s", got)
				}
				if code := int(frame[2])<<8 | int(frame[3]); frame[0] != 0x88 || code != 3408 {
					t.Errorf("frame %x, want close 3408", frame)
				}
				io.Copy(io.Discard, peer) // to the end: the handler must not wait for ever
				if len(acceptor.Links) != 0 {
					t.Error("a link without a batch")
				}
			})
		})
	}
}

// TestMutePeer: however the peer stops taking part, the handler ends.
func TestMutePeer(t *testing.T) {
	tests := []struct {
		name string
		act  func(t *testing.T, h *ws.Handler, link *fake.Link, peer net.Conn)
		want time.Duration // until the link is closed
	}{
		{"reads nothing", func(_ *testing.T, _ *ws.Handler, link *fake.Link, _ net.Conn) {
			link.Say <- []byte("batch")
		}, 60 * time.Second},
		{"reads nothing, link done", func(_ *testing.T, _ *ws.Handler, link *fake.Link, _ net.Conn) {
			link.End <- transport.ErrReplaced
		}, 10 * time.Second},
		{"answers no close", func(_ *testing.T, _ *ws.Handler, link *fake.Link, peer net.Conn) {
			go io.Copy(io.Discard, peer)
			link.End <- transport.ErrReplaced
		}, 10 * time.Second},
		{"text, then nothing", func(t *testing.T, _ *ws.Handler, _ *fake.Link, peer net.Conn) {
			go io.Copy(io.Discard, peer)
			send(t, peer, "\x81\x81\x00\x00\x00\x00x")
		}, 10 * time.Second},
		{"text of 2^40 bytes", func(t *testing.T, _ *ws.Handler, _ *fake.Link, peer net.Conn) {
			go io.Copy(io.Discard, peer)
			send(t, peer, "\x81\xff\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00x")
		}, 10 * time.Second},
		{"protocol violation, and the engine says nothing", func(t *testing.T, _ *ws.Handler, link *fake.Link, peer net.Conn) {
			go io.Copy(io.Discard, peer)
			violation := errors.New("protocol violation")
			link.Failure.Store(&violation)
			send(t, peer, maskedFrame([]byte("second")))
		}, 10 * time.Second},
		{"reads nothing, handler closed", func(_ *testing.T, h *ws.Handler, link *fake.Link, _ net.Conn) {
			link.Say <- []byte("batch")
			synctest.Wait()
			h.Close()
		}, 10 * time.Second},
		{"answers no close, handler closed", func(_ *testing.T, h *ws.Handler, link *fake.Link, peer net.Conn) {
			go io.Copy(io.Discard, peer)
			link.End <- transport.ErrIdle
			synctest.Wait()
			h.Close()
		}, 10 * time.Second},
		{"handler closed while Deliver waits", func(t *testing.T, h *ws.Handler, link *fake.Link, peer net.Conn) {
			go io.Copy(io.Discard, peer)
			link.Busy.Store(true)
			send(t, peer, maskedFrame([]byte("second")))
			<-link.Delivered
			h.Close()
		}, 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *ws.Handler, acceptor *fake.Acceptor, peer net.Conn) {
				send(t, peer, maskedFrame([]byte("first")))
				link := <-acceptor.Links
				start := time.Now()
				tt.act(t, h, link, peer)
				<-link.Closed
				if got := time.Since(start); got != tt.want {
					t.Errorf("link closed after %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// TestQuietSocketLives: no deadline of the first batch or of a write is left
// behind.
func TestQuietSocketLives(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *ws.Handler, acceptor *fake.Acceptor, peer net.Conn) {
		send(t, peer, maskedFrame([]byte("first")))
		link := <-acceptor.Links
		for range 3 {
			link.Say <- []byte("down")
			frame := make([]byte, 6)
			if _, err := io.ReadFull(peer, frame); err != nil || string(frame[2:]) != "down" {
				t.Fatalf("%q, %v", frame, err)
			}
			time.Sleep(time.Hour)
			send(t, peer, maskedFrame([]byte("up")))
			if got := <-link.Delivered; string(got) != "up" {
				t.Fatalf("delivered %q", got)
			}
			send(t, peer, "\x89\x80\x00\x00\x00\x00") // ping
			if _, err := io.ReadFull(peer, frame[:2]); err != nil || frame[0] != 0x8a {
				t.Fatalf("%x, %v; want a pong", frame[:2], err)
			}
		}
	})
}
