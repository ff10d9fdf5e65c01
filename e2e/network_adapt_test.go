package e2e_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

// TestAdapt_requestRate holds that long-polling takes at most 1.2 requests for
// each round trip and direction, at any rate of messages.
func TestAdapt_requestRate(t *testing.T) {
	for _, pause := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 130 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			const rtt, messages = 100 * time.Millisecond, 300
			profile := middlebox.Profile{Delay: rtt / 2, NoUpgrade: true}
			s, err := newStreet(reverse, middlebox.Config{Profile: profile, Seed: 1}, client.Config{Transports: choices[longpoll]}, transporttest.Pipes(t), transporttest.Pipes(t))
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			sc := scenario{size: 100, requests: messages, pause: pause, script: &echopb.Script{}}
			if tr := kinds["bidi"](t.Context(), s.user, sc); tr.Status != "<nil>" {
				t.Errorf("%v: %s", pause, tr.Status)
			}
			trips := float64(time.Since(start)) / float64(rtt)
			requests := float64(s.box.Counts().Requests)
			t.Logf("a message each %v: %.0f requests in %.0f round trips", pause, requests, trips)
			if requests > 2*1.2*trips+4 {
				t.Errorf("a message each %v: %.0f requests in %.0f round trips", pause, requests, trips)
			}
			s.box.Set(middlebox.Profile{})
			if err := s.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAdapt_learnt holds that the state shows what was learnt of the network,
// and that the next session knows it.
func TestAdapt_learnt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		profile := middlebox.Profile{Cut: 15 * time.Second, NoUpgrade: true, MaxBody: 20_000}
		s, err := newStreet(reverse, middlebox.Config{Profile: profile, Seed: 1}, client.Config{}, transporttest.Pipes(t), transporttest.Pipes(t))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		sc := scenario{size: 100_000, requests: 2, pause: 90 * time.Second, script: &echopb.Script{}}
		if tr := kinds["bidi"](t.Context(), s.user, sc); tr.Status != "<nil>" {
			t.Error(tr.Status)
		}
		n := s.user.State().Network
		t.Logf("learnt: %+v", n)
		if n.Hold != 10500*time.Millisecond || n.UpBytes > profile.MaxBody || n.SocketError == nil || !n.NoSocketBefore.After(start) {
			t.Errorf("learnt: %+v", n)
		}
		if !strings.Contains(n.SocketError.Error(), "426") {
			t.Errorf("no WebSocket because: %v", n.SocketError)
		}
		s.box.Set(middlebox.Profile{BlackHole: 1})
		time.Sleep(10 * time.Minute)
		s.box.Set(middlebox.Profile{})
		if tr := kinds["unary"](t.Context(), s.user, scenario{size: 10, requests: 1, script: &echopb.Script{}}); tr.Status != "<nil>" {
			t.Error(tr.Status)
		}
		if next := s.user.State().Network; next.Hold != n.Hold || next.Since != n.Since || next.UpBytes != n.UpBytes {
			t.Errorf("the next session knows %+v, not %+v", next, n)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
}

// TestAdapt_idleLife holds that WebSockets stay alive in a network that forgets
// quiet ones without a word, once one was lost so: found out by an RPC, or
// because the session expired.
func TestAdapt_idleLife(t *testing.T) {
	for _, pause := range []time.Duration{time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s, err := newStreet(reverse, middlebox.Config{Profile: middlebox.Profile{IdleDrop: 12 * time.Second}, Seed: 1}, client.Config{}, transporttest.Pipes(t), transporttest.Pipes(t))
			if err != nil {
				t.Fatal(err)
			}
			var took []time.Duration
			for range 4 {
				start := time.Now()
				if tr := kinds["unary"](t.Context(), s.user, scenario{size: 10, requests: 1, script: &echopb.Script{}}); tr.Status != "<nil>" {
					t.Error(tr.Status)
				}
				took = append(took, time.Since(start))
				time.Sleep(pause)
			}
			t.Logf("RPCs each %v: %v; learnt: %+v", pause, took, s.user.State().Network)
			if last := took[len(took)-1]; last > 100*time.Millisecond {
				t.Errorf("RPCs each %v: the last took %v", pause, last)
			}
			if quiet := s.user.State().Network.SocketQuiet; quiet >= 12*time.Second {
				t.Errorf("WebSockets may be quiet for %v: %v", quiet, took)
			}
			s.box.Set(middlebox.Profile{})
			check(t, s.close())
		})
	}
}

// TestAdapt_refused holds that a bridge that refuses at once is asked ever more
// seldom: in the end about twice a minute.
func TestAdapt_refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		ch, err := client.New("http://bridge.test", client.Config{
			Transports: choices[longpoll],
			Dial: func(context.Context, string, string) (net.Conn, error) {
				dials.Add(1)
				return nil, errors.New("refused")
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(80 * time.Second)
		n := dials.Load()
		t.Logf("%d dials in 80 s", n)
		if n < 4 || n > 30 {
			t.Errorf("%d dials in 80 s, want 4 to 30", n)
		}
		if s := ch.State(); s.LastError == nil {
			t.Errorf("state %+v does not say what is wrong", s)
		}
		check(t, ch.Close())
	})
}
