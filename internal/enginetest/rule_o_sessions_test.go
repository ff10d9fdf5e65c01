package enginetest_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// O2: Hello again, with the right key, resumes.
func TestRule_helloAgain(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		again := p.poll(p.batch(func(b *wire.Batch) {
			withHello(b)
			b.Incarnation = 0
		}))
		if again.Welcome == nil || again.Incarnation != p.incarnation {
			t.Errorf("%+v", again)
		}
		if st := reg.Stats(); st.Sessions != 1 || st.SessionsOpened != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// O3: copies of what started an RPC start nothing after lapse or restart.
func TestRule_lateCopies(t *testing.T) {
	var starts atomic.Int64
	handle := func(st *registry.Stream) {
		starts.Add(1)
		echo(st)
	}
	bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		hello := p.batch(withHello)
		p.incarnation = p.poll(hello).Incarnation
		b := p.batch(nil, openFrame(1), frameOf(1, wire.TypeHalfClose))
		p.poll(b)
		for range 5 {
			<-p.park(b)
		}
		time.Sleep(time.Hour)
		if n := reg.Stats().Sessions; n != 0 {
			t.Fatalf("%d sessions after an hour", n)
		}
		restarted := enginetest.NewRegistry(registry.Config{Handle: handle})
		defer restarted.Close()
		for _, at := range []*registry.Registry{reg, restarted} {
			p.acceptor = at
			if a := <-p.park(hello); a.Welcome == nil || a.Incarnation == p.incarnation {
				t.Errorf("a late Hello makes the session anew, in another incarnation: %+v", a)
			}
			if a := <-p.park(b); a.Close == nil || a.Close.Code != wire.CodeUnknown {
				t.Errorf("%+v", a)
			}
		}
		if starts.Load() != 1 {
			t.Errorf("started %d times", starts.Load())
		}
	})
}

// O4: before the Welcome only what is early; and a short life.
func TestRule_early(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		a := p.poll(p.batch(func(b *wire.Batch) {
			withHello(b)
			b.HoldMillis = 1000
		}, earlyFrame(1), dataFrame(1, "x"), frameOf(1, wire.TypeHalfClose)))
		if a.Welcome == nil || len(a.Frames) == 0 {
			t.Errorf("early: %+v", a)
		}
		q := newPeer(t, reg)
		late := <-q.park(q.batch(withHello, openFrame(1)))
		if late.Close == nil || late.Close.Code != wire.CodeProtocolViolation {
			t.Errorf("not early: %+v", late.Close)
		}
		h := newPeer(t, reg)
		h.open()
		before := reg.Stats().Sessions
		time.Sleep(31 * time.Second)
		if got := reg.Stats().Sessions; got != before-1 {
			t.Errorf("%d sessions, %d before", got, before)
		}
	})
}
