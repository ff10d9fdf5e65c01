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
func one(t *testing.T, st *dialer.Stream, word string) {
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
	carrier := newFaulty(net, reg)
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
	carrier.close()
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
				carrier := newFaulty(net, reg)
				s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()[choice]})
				st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
				if err != nil {
					t.Fatal(err)
				}
				one(t, st, "before") // with the answer the bridge is last heard of
				net.Down()
				time.Sleep(95 * time.Second)
				net.Up()
				nap{}.goesOn(t, st)
				_ = s.Close(t.Context())
				carrier.close()
				reg.Close()
			})
		}
	}
}
