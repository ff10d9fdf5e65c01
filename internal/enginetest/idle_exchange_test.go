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

// restingPoll is an exchange whose link may rest.
type restingPoll struct {
	transport.Link
	ready chan struct{}
}

func restingPollOf(t *testing.T, p *peer, reg *registry.Registry, b *wire.Batch) *restingPoll {
	t.Helper()
	ready := make(chan struct{}, 8)
	return &restingPoll{reg.Accept(t.Context(), transport.Hello{
		Kind: transport.Longpoll, Session: wire.EncodeSession(p.id), Batch: wire.AppendBatch(nil, b),
		Wake: func() { ready <- struct{}{} },
	}), ready}
}

// rests checks that Next gives up after a second.
func (l *restingPoll) rests(t *testing.T) {
	t.Helper()
	began := time.Now()
	if raw, err := next(t.Context(), l, 1<<20); !errors.Is(err, transport.ErrIdle) || len(raw) > 0 {
		t.Fatalf("%d bytes, %v; want to rest", len(raw), err)
	}
	if took := time.Since(began); took != time.Second {
		t.Errorf("rested after %v", took)
	}
}

// wakes waits for Ready and gives the answer.
func (l *restingPoll) wakes(t *testing.T, p *peer) *wire.Batch {
	t.Helper()
	<-l.ready
	raw, err := next(t.Context(), l, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	synctest.Wait()
	if n := len(l.ready); n > 0 {
		t.Errorf("called %d times for nothing", n)
	}
	return p.parse(raw)
}

// A held exchange rests after a quiet second too, and has Next called once: at
// its hold's end, for frames, for a higher exchange, or at the session's end. All
// its copies do, and get the same answer.
func TestRestingPoll(t *testing.T) {
	var speak chan string // of the bubble
	handle := func(st *registry.Stream) {
		for text := range speak {
			if err := st.Send(st.Context(), message([]byte(text))); err != nil {
				t.Error(err)
			}
		}
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
		speak = make(chan string)
		p := newPeer(t, reg)
		p.open()
		rest := func(b *wire.Batch) *restingPoll {
			t.Helper()
			l := restingPollOf(t, p, reg, b)
			l.rests(t)
			return l
		}
		held := holding(15 * time.Second)

		began := time.Now()
		l := rest(p.batch(held))
		if b := l.wakes(t, p); len(b.Frames) > 0 || time.Since(began) != 15*time.Second {
			t.Errorf("%d frames after %v", len(b.Frames), time.Since(began))
		}

		p.poll(p.batch(nil, openFrame(1)))
		l = rest(p.batch(held))
		speak <- "x"
		if b := l.wakes(t, p); len(b.Frames) != 1 || string(b.Frames[0].Data) != "x" {
			t.Errorf("frames %+v", b.Frames)
		} else {
			p.take(b)
		}

		same := p.batch(held)
		l, copied := rest(same), rest(same)
		speak <- "y"
		if b, c := l.wakes(t, p), copied.wakes(t, p); len(b.Frames) != 1 || len(c.Frames) != 1 || b.Frames[0].Seq != c.Frames[0].Seq {
			t.Errorf("frames %+v and %+v", b.Frames, c.Frames)
		} else {
			p.take(b)
		}

		l = rest(p.batch(held))
		higher := p.park(p.batch(held))
		if b := l.wakes(t, p); len(b.Frames) > 0 || b.Parked != p.x {
			t.Errorf("%d frames, parked %d", len(b.Frames), b.Parked)
		}

		l = rest(p.batch(held))
		l.Close() // its peer left
		<-higher
		synctest.Wait()
		if n := len(l.ready); n > 0 {
			t.Errorf("called %d times after the end", n)
		}

		l = rest(p.batch(held))
		close(speak)
		if b := l.wakes(t, p); len(b.Frames) != 1 || b.Frames[0].Type != wire.TypeEnd {
			t.Errorf("frames %+v", b.Frames)
		} else {
			p.take(b)
		}

		l = rest(p.batch(held))
		reg.Close()
		if b := l.wakes(t, p); b.Close == nil {
			t.Error("no last words")
		}
	})
}
