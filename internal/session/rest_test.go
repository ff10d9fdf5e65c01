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
		rest := func() {
			t.Helper()
			began := time.Now()
			if raw, err := link.Next(t.Context(), nil, 1<<20); !errors.Is(err, transport.ErrResting) || len(raw) > 0 {
				t.Fatalf("%d bytes, %v; want to rest", len(raw), err)
			}
			if took := time.Since(began); took != time.Second {
				t.Errorf("rested after %v", took)
			}
		}
		p.incarnation = next().Incarnation
		rest()

		<-ready // for the ping
		if b := next(); b.Ping == 0 {
			t.Error("no ping")
		}
		deliver := p.batch(nil, openFrame(1), dataFrame(1, "x"), frameOf(1, wire.TypeHalfClose))
		deliver.X, deliver.Prefer = 1, 1
		rest()
		if err := link.Deliver(wire.AppendBatch(nil, deliver)); err != nil {
			t.Fatal(err)
		}
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
