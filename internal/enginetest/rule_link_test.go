package enginetest_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// say sends what a test tells it to on its only RPC.
type say struct{ words chan string }

func (s *say) handle(st *registry.Stream) {
	for {
		select {
		case w := <-s.words:
			if st.Send(st.Context(), message([]byte(w))) != nil {
				st.End(wire.End{})
				return
			}
		case <-st.Context().Done():
			st.End(wire.End{Status: 1})
			return
		}
	}
}

func (s *say) word(w string) {
	s.words <- w
	synctest.Wait()
}

func saying(t *testing.T, f func(t *testing.T, p *peer, s *say)) {
	s := &say{}
	bubble(t, registry.Config{Handle: s.handle}, func(t *testing.T, reg *registry.Registry) {
		s.words = make(chan string)
		p := newPeer(t, reg)
		p.open()
		p.poll(p.batch(nil, openFrame(1)))
		f(t, p, s)
	})
}

func words(b *wire.Batch) []string {
	var ws []string
	for _, f := range b.Frames {
		ws = append(ws, string(f.Data))
	}
	return ws
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// L1: a higher exchange answers the parked one; a copy gets the same frames; a
// lower one gets nothing and displaces nothing.
func TestRule_linkNumbers(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		low := p.batch(holding(time.Minute))
		first := p.batch(holding(time.Minute))
		parked := p.park(first)
		second := p.batch(holding(time.Minute))
		second.Awaiting = low.X
		current := p.park(second)
		if a := answered(parked); a == nil || len(a.Frames) != 0 || a.Parked != second.X || a.X != first.X {
			t.Fatalf("the lower one was not answered: %+v", a)
		}
		copied := p.park(second)
		if a := answered(p.park(low)); a == nil || len(a.Frames) != 0 || a.Parked != second.X {
			t.Fatalf("a late one: %+v", a)
		}
		if answered(current) != nil || answered(copied) != nil {
			t.Fatal("a late one displaced the parked one")
		}
		s.word("hello")
		for _, c := range []<-chan *wire.Batch{current, copied, p.park(second)} {
			a := answered(c)
			if a == nil {
				t.Fatal("a copy has no answer")
			}
			equal(t, "words", words(a), []string{"hello"})
		}
	})
}

// L2: a frame is sent again when its exchange is no longer awaited, and not
// before.
func TestRule_awaiting(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		lost := p.batch(holding(time.Minute))
		answer := p.park(lost)
		s.word("once")
		if answered(answer) == nil {
			t.Fatal("no answer")
		}
		waits := p.batch(nil)
		waits.Awaiting = lost.X
		equal(t, "while awaited", words(<-p.park(waits)), []string(nil))
		equal(t, "given up", words(p.poll(p.batch(nil))), []string{"once"})
		s.word("more")
		equal(t, "acked", words(p.poll(p.batch(nil))), []string{"more"})
	})
}

func preferring(so *socket) func(*wire.Batch) {
	return func(b *wire.Batch) {
		b.Prefer = so.x
		b.HoldMillis = 60_000
	}
}

// L3: new frames go on the preferred link; the other is a backup.
func TestRule_prefer(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		so := p.socket(func(b *wire.Batch) { b.Prefer = b.X })
		s.word("a")
		got := so.frames()
		equal(t, "on the WebSocket", len(got), 1)
		p.ack++
		backup := p.park(p.batch(preferring(so)))
		s.word("b")
		equal(t, "preferred", len(so.frames()), 1)
		if answered(backup) != nil {
			t.Fatal("the backup was woken at once")
		}
		time.Sleep(301 * time.Millisecond)
		a := answered(backup)
		if a == nil {
			t.Fatal("the backup was not woken for an unacked frame")
		}
		equal(t, "on the backup", words(a), []string{"b"})
		p.take(a)
		so.close()
		s.word("c")
		equal(t, "the WebSocket is gone", words(p.poll(p.batch(preferring(so)))), []string{"c"})
		next := p.socket(func(b *wire.Batch) { b.Prefer = b.X })
		defer next.close()
		s.word("d")
		equal(t, "on the next", len(next.frames()), 1)
		equal(t, "not preferred any more", words(p.poll(p.batch(nil))), []string{"d"})
	})
}

// L1: a WebSocket is replaced only by a higher WebSocket.
func TestRule_sockets(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		prefer := func(b *wire.Batch) { b.Prefer = b.X }
		old := p.batch(prefer)
		so := p.socket(prefer)
		p.poll(p.batch(func(b *wire.Batch) { b.Prefer = so.x }))
		late := p.accept(transport.WS, old)
		_, _ = late.Next(t.Context(), nil, 1<<16)
		if _, err := late.Next(t.Context(), nil, 1<<16); !errors.Is(err, transport.ErrReplaced) {
			t.Errorf("a late WebSocket: %v", err)
		}
		late.Close()
		s.word("x")
		equal(t, "words", len(so.frames()), 1)
		newer := p.socket(prefer)
		defer newer.close()
		select {
		case <-so.done:
		default:
			t.Error("the replaced WebSocket goes on")
		}
		so.close()
		equal(t, "sent again on the newer", len(newer.frames()), 1)
	})
}

// L4: answers tell what is parked and what waits.
func TestRule_crossCheck(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		low := p.batch(nil)
		high := p.batch(holding(time.Minute))
		parked := p.park(high)
		if a := answered(p.park(low)); a == nil || a.Parked != high.X || a.WaitingBytes != 0 {
			t.Fatalf("%+v", a)
		}
		next := p.batch(nil)
		p.poll(next)
		if answered(parked) == nil {
			t.Fatal("the parked one was not answered")
		}
		s.word("12345")
		if a := <-p.park(low); a.Parked != 0 || a.WaitingBytes != 5 {
			t.Errorf("parked %d, waiting %d", a.Parked, a.WaitingBytes)
		}
	})
}

// Section 5: an exchange with frames is held for at most 2 s.
func TestRule_holds(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, _ *say) {
		for _, c := range []struct {
			hold time.Duration
			data bool
			want time.Duration
		}{{time.Minute, false, 18 * time.Second}, {4 * time.Second, false, 4 * time.Second}, {time.Minute, true, 2 * time.Second}} {
			var frames []wire.Frame
			if c.data {
				frames = append(frames, frameOf(77, wire.TypeCancel))
			}
			began := time.Now()
			a := p.poll(p.batch(holding(c.hold), frames...))
			equal(t, "held", time.Since(began), c.want)
			equal(t, "held_us", a.HeldMicros, uint64(c.want.Microseconds()))
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

// cut is a Carrier whose links fail while it is down, and that may be moved to
// another bridge.
type cut struct {
	down atomic.Bool
	at   atomic.Pointer[registry.Registry]
}

var errDown = errors.New("status 502, text/html, \"<html>Bad Gateway\"")

func (c *cut) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	if c.down.Load() {
		return nil, errDown
	}
	return (&direct{reg: c.at.Load()}).Exchange(ctx, sid, batch)
}

func (c *cut) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	if c.down.Load() {
		return nil, errDown
	}
	return (&direct{reg: c.at.Load()}).Dial(ctx, sid)
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
				if took := time.Since(began); reason == engine.ReasonExpired && (took < 90*time.Second || took > 98*time.Second) {
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
				want := "session lost before the RPC was sent: no answer from the bridge for 20s; last seen: " + errDown.Error()
				if end.Status != 14 || end.Reason != engine.ReasonUnreachable || end.Message != want || st.Sent() {
					t.Errorf("%+v, sent %v", end, st.Sent())
				}
				_ = s.Close(t.Context())
			})
		})
	}
}

// tooMany is an intermediary's 429.
type tooMany struct{}

func (tooMany) Error() string             { return "status 429" }
func (tooMany) RetryAfter() time.Duration { return time.Minute }

// Section 5: a foreign Retry-After is honoured, for 10 s at most.
func TestRule_retryAfter(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		d := &direct{reg: reg}
		began := time.Now()
		d.fault = func(answer []byte) ([]byte, error) {
			switch d.polls.Load() {
			case 1:
				return nil, tooMany{}
			case 2:
				equal(t, "waited", time.Since(began), 10*time.Second)
			}
			return answer, nil
		}
		s := dialer.Start(dialer.Config{Carrier: d, Transports: []transport.Kind{transport.Longpoll}})
		time.Sleep(15 * time.Second)
		_ = s.Close(t.Context())
	})
}

// Section 5, L7: an idle session sends nothing; a quiet stream one poll a hold,
// and holds grow from 1.5 s to 18 s while it is quiet.
func TestRule_quiet(t *testing.T) {
	saying := &say{}
	bubble(t, registry.Config{Handle: saying.handle}, func(t *testing.T, reg *registry.Registry) {
		saying.words = make(chan string)
		d := &direct{reg: reg, delay: 5 * time.Millisecond}
		s := dialer.Start(dialer.Config{Carrier: d, Transports: []transport.Kind{transport.Longpoll}})
		time.Sleep(20 * time.Second)
		equal(t, "exchanges of an idle session", d.polls.Load(), int64(1))
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := s.Open(ctx, wire.Open{Method: "/test/Say"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(81 * time.Second)
		equal(t, "exchanges of a stream quiet for 1.5 + 3 + 6 + 12 + 3 × 18 s", d.polls.Load(), int64(1+8))
		cancel()
		time.Sleep(time.Second)
		before := d.polls.Load()
		time.Sleep(time.Minute)
		equal(t, "exchanges after the stream", d.polls.Load(), before)
		_ = s.Close(t.Context())
	})
}

// Section 5: a unary call is one exchange.
func TestRule_unaryIsOneExchange(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		d := &direct{reg: reg, delay: 5 * time.Millisecond}
		s := dialer.Start(dialer.Config{Carrier: d, Transports: []transport.Kind{transport.Longpoll}})
		time.Sleep(time.Second)
		for range 50 {
			st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo", SingleRequest: true, SingleResponse: true})
			if err != nil {
				t.Fatal(err)
			}
			_ = st.Send(t.Context(), message([]byte("x")))
			_ = st.CloseSend()
			if m, err := st.Recv(t.Context()); err != nil || string(m.Bytes()) != "x" {
				t.Fatal(err)
			}
			if _, err := st.Recv(t.Context()); err != io.EOF {
				t.Fatal(err)
			}
		}
		equal(t, "exchanges", d.polls.Load(), int64(51))
		_ = s.Close(t.Context())
	})
}
