package enginetest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// quietLink is a WebSocket's link that may rest.
type quietLink struct {
	transport.Link
	t     *testing.T
	p     *peer
	ready chan struct{} // one for each call of Ready
}

// newQuietLink opens a session on a WebSocket and lets it rest.
func newQuietLink(t *testing.T, reg *registry.Registry) *quietLink {
	t.Helper()
	l := &quietLink{t: t, p: newPeer(t, reg), ready: make(chan struct{}, 8)}
	b := l.p.batch(withHello)
	b.Prefer = b.X
	l.Link = reg.Accept(t.Context(), transport.Hello{
		Kind: transport.WS, Session: wire.EncodeSession(l.p.id), Batch: wire.AppendBatch(nil, b),
		Wake: func() { l.ready <- struct{}{} },
	})
	l.p.incarnation = l.next().Incarnation
	l.rests(time.Second)
	return l
}

// next gives the batch that is there to be sent.
func (l *quietLink) next() *wire.Batch {
	l.t.Helper()
	raw, err := next(l.t.Context(), l, 1<<20)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.p.parse(raw)
}

// rests wants Next to let the link rest after that long.
func (l *quietLink) rests(after time.Duration) {
	l.t.Helper()
	began := time.Now()
	if raw, err := next(l.t.Context(), l, 1<<20); !errors.Is(err, transport.ErrIdle) || len(raw) > 0 {
		l.t.Fatalf("%d bytes, %v; want to rest", len(raw), err)
	}
	if took := time.Since(began); took != after {
		l.t.Errorf("rested after %v, want %v", took, after)
	}
}

// sayAll takes batches until the link rests, and counts their frames.
func (l *quietLink) sayAll() int {
	l.t.Helper()
	for frames := 0; ; {
		raw, err := next(l.t.Context(), l, 1<<20)
		if errors.Is(err, transport.ErrIdle) {
			return frames
		}
		if err != nil {
			l.t.Fatal(err)
		}
		frames += len(l.p.parse(raw).Frames)
	}
}

// deliver delivers a batch of the peer.
func (l *quietLink) deliver(edit func(*wire.Batch), frames ...wire.Frame) {
	l.t.Helper()
	b := l.p.batch(edit, frames...)
	b.X, b.Prefer = 1, 1
	if err := l.Deliver(l.t.Context(), wire.AppendBatch(nil, b)); err != nil {
		l.t.Fatal(err)
	}
}

// want wants Ready to be called that often since it was last asked.
func (l *quietLink) want(ready int) {
	l.t.Helper()
	synctest.Wait()
	if r := len(l.ready); r != ready {
		l.t.Errorf("Ready was called %d times, want %d", r, ready)
	}
	for len(l.ready) > 0 {
		<-l.ready
	}
}

// A WebSocket's link rests after a quiet second, and has Next called once when
// there is something to say: frames, the ping of a quiet time, or the end.
func TestRest(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		l := newQuietLink(t, reg)
		defer l.Close()
		<-l.ready // for the ping
		ping := l.next().Ping
		if ping == 0 {
			t.Error("no ping")
		}
		l.rests(0) // it was quiet before
		l.deliver(func(b *wire.Batch) { b.Pong = ping })
		ponged := time.Now()
		<-l.ready // for the next ping, not for the pong
		if quiet := time.Since(ponged); quiet != 15*time.Second {
			t.Errorf("called %v after the pong", quiet)
		}
		ping = l.next().Ping
		l.rests(0)
		l.deliver(func(b *wire.Batch) { b.Pong = ping }, openFrame(1), dataFrame(1, "x"), frameOf(1, wire.TypeHalfClose))
		l.want(1) // for what the RPC says
		if l.sayAll() == 0 {
			t.Error("no frames")
		}
		l.want(0)
		reg.Close()
		l.want(1)
		if b := l.next(); b.Close == nil {
			t.Error("no last words")
		}
	})
}
