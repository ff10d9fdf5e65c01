package session_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/session"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// A WebSocket's link rests after a quiet second, and has Next called once when
// there is something to say: frames, the ping of a quiet time, or the end.
func TestRest(t *testing.T) {
	bubble(t, session.Config{}, func(t *testing.T, reg *session.Registry) {
		p := newPeer(t, reg)
		ready := make(chan struct{}, 8)
		b := p.batch(withHello)
		b.Prefer = b.X
		link := reg.Accept(t.Context(), transport.Hello{
			Kind: transport.WS, Session: wire.EncodeSession(p.id), Batch: wire.AppendBatch(nil, b),
			Ready: func() { ready <- struct{}{} },
		})
		defer link.Close()
		next := func() *wire.Batch {
			t.Helper()
			raw, err := link.Next(t.Context(), nil, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			return p.parse(raw)
		}
		rest := func(after time.Duration) {
			t.Helper()
			began := time.Now()
			if raw, err := link.Next(t.Context(), nil, 1<<20); !errors.Is(err, transport.ErrResting) || len(raw) > 0 {
				t.Fatalf("%d bytes, %v; want to rest", len(raw), err)
			}
			if took := time.Since(began); took != after {
				t.Errorf("rested after %v, want %v", took, after)
			}
		}
		p.incarnation = next().Incarnation
		rest(time.Second)

		<-ready // for the ping
		deliver := func(edit func(*wire.Batch), frames ...wire.Frame) {
			t.Helper()
			b := p.batch(edit, frames...)
			b.X, b.Prefer = 1, 1
			if err := link.Deliver(wire.AppendBatch(nil, b)); err != nil {
				t.Fatal(err)
			}
		}
		ping := next().Ping
		if ping == 0 {
			t.Error("no ping")
		}
		rest(0) // it was quiet before
		deliver(func(b *wire.Batch) { b.Pong = ping })
		ponged := time.Now()
		<-ready // for the next ping, not for the pong
		if quiet := time.Since(ponged); quiet != 15*time.Second {
			t.Errorf("called %v after the pong", quiet)
		}
		ping = next().Ping
		rest(0)
		deliver(func(b *wire.Batch) { b.Pong = ping }, openFrame(1), dataFrame(1, "x"), frameOf(1, wire.TypeHalfClose))
		<-ready // for what the call says
		synctest.Wait()
		if b := next(); len(b.Frames) == 0 {
			t.Error("no frames")
		}
		for quiet := false; !quiet; { // what else there was to say, acks among it
			_, err := link.Next(t.Context(), nil, 1<<20)
			quiet = errors.Is(err, transport.ErrResting)
		}
		synctest.Wait()
		if n := len(ready); n > 0 {
			t.Errorf("called %d times for nothing", n)
		}
		reg.Close()
		<-ready
		if b := next(); b.Close == nil {
			t.Error("no last words")
		}
	})
}
