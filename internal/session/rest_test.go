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

// quietLink is a WebSocket's link that may rest. Who has Next called then is told
// to ready and wrote.
type quietLink struct {
	transport.Link
	t     *testing.T
	p     *peer
	ready chan struct{}
	wrote chan struct{}
}

// newQuietLink opens a session on a WebSocket and lets it rest.
func newQuietLink(t *testing.T, reg *session.Registry) *quietLink {
	t.Helper()
	l := &quietLink{t: t, p: newPeer(t, reg), ready: make(chan struct{}, 8), wrote: make(chan struct{}, 8)}
	b := l.p.batch(withHello)
	b.Prefer = b.X
	l.Link = reg.Accept(t.Context(), transport.Hello{
		Kind: transport.WS, Session: wire.EncodeSession(l.p.id), Batch: wire.AppendBatch(nil, b),
		Ready: func() { l.ready <- struct{}{} },
		Write: func() { l.wrote <- struct{}{} },
	})
	l.p.incarnation = l.next().Incarnation
	l.rests(time.Second)
	return l
}

// next gives the batch that is there to be sent.
func (l *quietLink) next() *wire.Batch {
	l.t.Helper()
	raw, err := l.Next(l.t.Context(), nil, 1<<20)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.p.parse(raw)
}

// rests wants Next to let the link rest after that long.
func (l *quietLink) rests(after time.Duration) {
	l.t.Helper()
	began := time.Now()
	if raw, err := l.Next(l.t.Context(), nil, 1<<20); !errors.Is(err, transport.ErrResting) || len(raw) > 0 {
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
		raw, err := l.Next(l.t.Context(), nil, 1<<20)
		if errors.Is(err, transport.ErrResting) {
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
	if err := l.Deliver(wire.AppendBatch(nil, b)); err != nil {
		l.t.Fatal(err)
	}
}

// want wants Next to be called that often, by ready and by write, since it was
// last asked.
func (l *quietLink) want(ready, wrote int) {
	l.t.Helper()
	synctest.Wait()
	if r, w := len(l.ready), len(l.wrote); r != ready || w != wrote {
		l.t.Errorf("called %d times by ready and %d by write, want %d and %d", r, w, ready, wrote)
	}
	for len(l.ready) > 0 {
		<-l.ready
	}
	for len(l.wrote) > 0 {
		<-l.wrote
	}
}

// A WebSocket's link rests after a quiet second, and has Next called once when
// there is something to say: frames, the ping of a quiet time, or the end.
func TestRest(t *testing.T) {
	bubble(t, session.Config{}, func(t *testing.T, reg *session.Registry) {
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
		l.want(1, 0) // for what the RPC says
		if l.sayAll() == 0 {
			t.Error("no frames")
		}
		l.want(0, 0)
		reg.Close()
		l.want(1, 0)
		if b := l.next(); b.Close == nil {
			t.Error("no last words")
		}
	})
}

// unaryFrames are a unary RPC's.
func unaryFrames(stream uint64) []wire.Frame {
	open := openFrame(stream)
	open.Open.SingleRequest, open.Open.SingleResponse = true, true
	return []wire.Frame{open, dataFrame(stream, "x"), frameOf(stream, wire.TypeHalfClose)}
}

// The answer of the only RPC is written by who ends it, without a wait; what
// comes soon after it, or is there when it was written, has a writer.
func TestRest_answer(t *testing.T) {
	bubble(t, session.Config{}, func(t *testing.T, reg *session.Registry) {
		const answer = 3 // HEADERS, MESSAGE, END
		l := newQuietLink(t, reg)
		defer l.Close()
		l.deliver(nil, unaryFrames(1)...)
		l.want(0, 1)
		if n := len(l.next().Frames); n != answer {
			t.Errorf("%d frames in the answer, want %d", n, answer)
		}
		l.rests(0)

		l.deliver(nil, unaryFrames(2)...)
		l.want(1, 0)
		if n := l.sayAll(); n != answer {
			t.Errorf("%d frames in the second answer, want %d", n, answer)
		}

		l.deliver(nil, unaryFrames(3)...)
		l.want(0, 1)
		l.next()
		l.deliver(func(b *wire.Batch) { b.Ping = 7 })
		l.rests(0)
		l.want(1, 0)
		if b := l.next(); b.Pong != 7 {
			t.Errorf("pong %d, want 7", b.Pong)
		}
		l.rests(time.Second)

		l.deliver(nil, append(unaryFrames(4), unaryFrames(5)...)...)
		l.want(1, 0) // two RPCs
		if n := l.sayAll(); n != 2*answer {
			t.Errorf("%d frames in two answers, want %d", n, 2*answer)
		}
		l.want(0, 0)
	})
}
