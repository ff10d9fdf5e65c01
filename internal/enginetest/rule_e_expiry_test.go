package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// nap is one case of TestRule_sleep.
type nap struct {
	choice string
	frozen bool // the client stands still; else its machine sleeps and its links die
	pause  time.Duration
	length time.Duration
}

// window is the session's resume window.
func (n nap) window() time.Duration {
	if n.pause > 0 {
		return n.pause
	}
	return 120 * time.Second
}

// resumes tells whether the session outlives the nap: the client counts on 0.8 of
// the window.
func (n nap) resumes() bool { return n.length < n.window()*8/10 }

// cancelled notes how the bridge's ends of RPCs ended.
type cancelled struct {
	mu     sync.Mutex
	starts int
	at     []time.Time
}

// handle echoes.
func (c *cancelled) handle(st *registry.Stream) {
	c.mu.Lock()
	c.starts++
	c.mu.Unlock()
	echo(st)
	why, ok := errors.AsType[*engine.Error](context.Cause(st.Context()))
	if ok && why.Reason == engine.ReasonExpired {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.at = append(c.at, time.Now())
	}
}

// one sends a message on an RPC and waits for its echo.
func one(t *testing.T, st call, word string) {
	t.Helper()
	if err := st.Send(t.Context(), message([]byte(word))); err != nil {
		t.Errorf("%s: %v", word, err)
		return
	}
	if m, err := st.Recv(t.Context()); err != nil || string(m.Bytes()) != word {
		t.Errorf("%s: %q, %v, %+v", word, m.Bytes(), err, st.Status())
	}
}

func (n nap) run(t *testing.T) {
	c := &cancelled{}
	reg := enginetest.NewRegistry(registry.Config{Handle: c.handle})
	net := simnet.New(1, simnet.Profile{RTT: 20 * time.Millisecond})
	carrier := enginetest.NewCarrier(net, reg)
	s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()[n.choice], Pause: n.pause})
	time.Sleep(5 * time.Second)
	var open []*dialer.Stream
	for _, k := range fourKinds {
		st, err := s.Open(t.Context(), wire.Open{Method: "/test/" + k.name})
		if err != nil {
			t.Fatal(err)
		}
		one(t, st, "before")
		open = append(open, st)
	}
	time.Sleep(time.Minute) // quiet
	began, sleep, wake := time.Now(), net.Down, net.Up
	if n.frozen {
		sleep, wake = net.Freeze, net.Thaw
	}
	sleep()
	time.Sleep(n.length)
	wake()
	for _, st := range open {
		if n.resumes() {
			n.goesOn(t, st)
		} else {
			n.isOver(t, st)
		}
	}
	if !n.resumes() {
		n.wasCancelled(t, c, began)
		pause := time.Until(began.Add(n.length + time.Hour))
		time.Sleep(pause)
		checkIdle(t, reg)
	}
	_ = s.Close(t.Context())
	carrier.Close()
	synctest.Wait()
	checkIdle(t, reg)
	reg.Close()
	equal(t, "RPCs started", c.starts, len(fourKinds))
	if n.resumes() {
		equal(t, "RPCs cancelled", len(c.at), 0)
	}
}

func (n nap) goesOn(t *testing.T, st *dialer.Stream) {
	one(t, st, "after")
	_ = st.CloseSend()
	if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if end := st.Status(); end.Status != 0 || end.Message != "2" {
		t.Errorf("%+v", end)
	}
}

// isOver holds that an RPC ended with one UNAVAILABLE that says why.
func (n nap) isOver(t *testing.T, st *dialer.Stream) {
	for range 2 {
		if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if end := st.Status(); end.Status != 14 || end.Reason != engine.ReasonExpired || end.Origin != wire.OriginBridge {
			t.Errorf("%+v", end)
		}
	}
}

// wasCancelled holds that the bridge cancelled its ends within 1 s of the lapse.
// Links of a client that stands still are seen to be gone later: a poll at its
// hold's end, a WebSocket when it owes a pong.
func (n nap) wasCancelled(t *testing.T, c *cancelled, began time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	equal(t, "RPCs cancelled", len(c.at), len(fourKinds))
	least, most := n.window()-time.Second, n.window()+time.Second
	if n.frozen {
		most += 18 * time.Second
	}
	for _, at := range c.at {
		if after := at.Sub(began); after < least || after > most {
			t.Errorf("cancelled after %v, window %v", after, n.window())
		}
	}
}

// E1, E2, promise 7: a machine that slept or a client that stood still for a
// minute, ten or ninety goes on, or each of its RPCs ends once and says why.
func TestRule_sleep(t *testing.T) {
	for choice := range transports() {
		for _, frozen := range []bool{false, true} {
			for _, pause := range []time.Duration{0, 30 * time.Minute} {
				for _, length := range []time.Duration{time.Minute, 10 * time.Minute, 90 * time.Minute} {
					n := nap{choice, frozen, pause, length}
					t.Run(fmt.Sprintf("%s/frozen %t/pause %v/%v", choice, frozen, pause, length), func(t *testing.T) {
						synctest.Test(t, n.run)
					})
				}
			}
		}
	}
}

// E1: a network that refused everything and comes back 1 s before the client
// gives the session up is found in time.
func TestRule_lastTry(t *testing.T) {
	for _, choice := range []string{"longpoll", "ws"} {
		for range 20 {
			synctest.Test(t, func(t *testing.T) {
				reg := enginetest.NewRegistry(registry.Config{Handle: echo})
				net := simnet.New(1, simnet.Profile{RTT: 20 * time.Millisecond})
				carrier := enginetest.NewCarrier(net, reg)
				s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()[choice]})
				st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
				if err != nil {
					t.Fatal(err)
				}
				one(t, st, "before") // with the answer the bridge is last heard of
				net.Down()
				time.Sleep(119 * time.Second)
				net.Up()
				nap{}.goesOn(t, st)
				_ = s.Close(t.Context())
				carrier.Close()
				reg.Close()
			})
		}
	}
}

// E3, W6: a draining bridge takes no new session and sends the old ones away.
func TestRule_goAway(t *testing.T) {
	release := make(chan struct{})
	handle := func(st *registry.Stream) {
		<-release
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
		release = make(chan struct{})
		p := newPeer(t, reg)
		p.open()
		parked := p.park(p.batch(holding(time.Minute), openFrame(1)))
		drained := make(chan error, 1)
		go func() { drained <- reg.Drain(t.Context()) }()
		if a := answered(parked); a == nil || a.GoAway == nil {
			t.Fatalf("the parked exchange was not told: %+v", a)
		}
		q := newPeer(t, reg)
		if a := <-q.park(q.batch(withHello)); a.Close == nil || a.Close.Code != wire.CodeBusy || a.Close.RetryAfterMillis == 0 {
			t.Errorf("a new session: %+v", a.Close)
		}
		next := p.park(p.batch(holding(time.Minute)))
		close(release)
		a := answered(next)
		if a == nil || len(a.Frames) == 0 || a.Frames[len(a.Frames)-1].Type != wire.TypeEnd {
			t.Fatalf("the open RPC did not end: %+v", a)
		}
		p.take(a)
		p.poll(p.batch(nil))
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// E3: RPCs that were on their way when a bridge began to drain are served, also
// when none was open; it waits for nothing once all sessions are closed.
func TestRule_goAwayUnderWay(t *testing.T) {
	bubble(t, registry.Config{Handle: echo}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		began := time.Now()
		drained := make(chan error, 1)
		go func() { drained <- reg.Drain(t.Context()) }()
		for stream := uint64(1); stream <= 2; stream++ {
			time.Sleep(900 * time.Millisecond)
			frames := p.poll(p.batch(holding(time.Second), openFrame(stream), frameOf(stream, wire.TypeHalfClose))).Frames
			if len(frames) == 0 { // that answer was for go_away alone
				frames = p.poll(p.batch(holding(time.Second))).Frames
			}
			if len(frames) == 0 || frames[len(frames)-1].Type != wire.TypeEnd || frames[len(frames)-1].End.Status != 0 {
				t.Errorf("RPC %d: %+v", stream, frames)
			}
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 2*time.Second || took > 5*time.Second {
			t.Errorf("drained in %v", took)
		}
	})
	bubble(t, registry.Config{Handle: echo}, func(t *testing.T, reg *registry.Registry) {
		began := time.Now()
		if err := reg.Drain(t.Context()); err != nil || time.Since(began) > 0 {
			t.Errorf("without sessions: %v after %v", err, time.Since(began))
		}
	})
}

// E1, L6: the resume window, and the pause that lengthens it.
func TestRule_lapse(t *testing.T) {
	for name, c := range map[string]struct {
		pause time.Duration
		want  time.Duration
	}{"default": {0, 120 * time.Second}, "pause": {10 * time.Minute, 10 * time.Minute}, "too long": {time.Hour, 30 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan time.Time, 1)
			handle := func(st *registry.Stream) {
				<-st.Context().Done()
				ended <- time.Now()
				var why *engine.Error
				if !errors.As(context.Cause(st.Context()), &why) || why.Reason != engine.ReasonExpired {
					t.Errorf("cause %v", context.Cause(st.Context()))
				}
				st.End(wire.End{})
			}
			bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
				ended = make(chan time.Time, 1)
				p := newPeer(t, reg)
				p.open()
				late := p.batch(func(b *wire.Batch) { b.PauseMillis = 1 })
				p.poll(p.batch(func(b *wire.Batch) { b.PauseMillis = uint32(c.pause.Milliseconds()) }, openFrame(1)))
				began := time.Now()
				time.Sleep(c.want / 2)
				<-p.park(late) // renews nothing
				equal(t, "cancelled after", (<-ended).Sub(began), c.want)
				synctest.Wait()
				equal(t, "sessions", reg.Stats().Sessions, 0)
			})
		})
	}
}

// E1, E2: outside the window each RPC ends with one UNAVAILABLE that says why,
// and whether it was ever sent.
func TestRule_lost(t *testing.T) {
	quiet := func(st *registry.Stream) {
		<-st.Context().Done()
		st.End(wire.End{Status: 1})
	}
	cases := map[string]func(c *cut, next *registry.Registry){
		engine.ReasonExpired:   func(c *cut, _ *registry.Registry) { c.down.Store(true) },
		engine.ReasonRestarted: func(c *cut, next *registry.Registry) { c.at.Store(next) },
		engine.ReasonDrained:   func(c *cut, _ *registry.Registry) { c.at.Load().Close() },
	}
	for reason, happen := range cases {
		t.Run(reason, func(t *testing.T) {
			bubble(t, registry.Config{Handle: quiet}, func(t *testing.T, reg *registry.Registry) {
				other := enginetest.NewRegistry(registry.Config{Handle: quiet})
				c := &cut{}
				c.at.Store(reg)
				s := dialer.Start(dialer.Config{Carrier: c, Transports: []transport.Kind{transport.Longpoll}})
				st, err := s.Open(t.Context(), wire.Open{Method: "/test/Quiet"})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				happen(c, other)
				began := time.Now()
				if _, err := st.Recv(t.Context()); err != io.EOF {
					t.Fatal(err)
				}
				end := st.Status()
				if end.Status != 14 || end.Reason != reason || end.Origin != wire.OriginBridge || !st.Sent() {
					t.Errorf("%+v, sent %v", end, st.Sent())
				}
				if took := time.Since(began); reason == engine.ReasonExpired && (took < 137*time.Second || took > 139*time.Second) {
					t.Errorf("after %v", took)
				}
				var why *engine.Error
				if _, err := s.Open(t.Context(), wire.Open{}); !errors.As(err, &why) || !why.NotStarted {
					t.Errorf("open on a lost session: %v", err)
				}
				_ = s.Close(t.Context())
				other.Close()
			})
		})
	}
}

// E2: without a bridge an RPC ends UNAVAILABLE, never sent, naming what was
// seen.
func TestRule_unreachable(t *testing.T) {
	for name, kinds := range transports() {
		t.Run(name, func(t *testing.T) {
			bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
				c := &cut{}
				c.down.Store(true)
				s := dialer.Start(dialer.Config{Carrier: c, Transports: kinds})
				st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := st.Recv(t.Context()); err != io.EOF {
					t.Fatal(err)
				}
				end := st.Status()
				want := "session lost: no answer from the bridge for 20s; last seen: " + errDown.Error() + "; the RPC has not run"
				if end.Status != 14 || end.Reason != engine.ReasonUnreachable || end.Message != want || st.Sent() {
					t.Errorf("%+v, sent %v", end, st.Sent())
				}
				_ = s.Close(t.Context())
			})
		})
	}
}
