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
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
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
// lower one gets nothing, where nothing comes at once, and displaces nothing.
func TestRule_linkNumbers(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		low := p.batch(holding(time.Minute))
		first := p.batch(holding(time.Minute))
		parked := p.park(first)
		time.Sleep(time.Second)
		second := p.batch(holding(time.Minute))
		second.Awaiting = low.X
		current := p.park(second)
		if a := answered(parked); a == nil || len(a.Frames) != 0 || a.Parked != second.X || a.X != first.X {
			t.Fatalf("the lower one was not answered: %+v", a)
		}
		copied := p.park(second)
		late := p.park(low)
		time.Sleep(2 * time.Millisecond)
		if a := answered(late); a == nil || len(a.Frames) != 0 || a.Parked != second.X {
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

// next is the answer of a link that has one by now.
func (p *peer) next(link transport.Link) *wire.Batch {
	answer, err := next(p.t.Context(), link, 1<<20)
	if err != nil {
		p.t.Fatal(err)
	}
	return p.parse(answer)
}

// L1: frames that were there for an exchange when the next one came go with its
// answer, if the client still waits for it, and before the next one has any.
func TestRule_overtaken(t *testing.T) {
	for name, awaited := range map[string]bool{"awaited": true, "given up": false} {
		t.Run(name, func(t *testing.T) {
			saying(t, func(t *testing.T, p *peer, s *say) {
				first, second := p.batch(holding(time.Minute)), p.batch(holding(time.Minute))
				if awaited {
					second.Awaiting = first.X
				}
				early := p.accept(transport.Longpoll, first)
				defer early.Close()
				s.word("hello")
				late := p.park(second)
				if !awaited {
					equal(t, "words of the first", words(p.next(early)), []string(nil))
					equal(t, "words of the second", words(<-late), []string{"hello"})
					return
				}
				if a := answered(late); a != nil {
					t.Errorf("the second is answered before the first: %v", words(a))
				}
				equal(t, "words of the first", words(p.next(early)), []string{"hello"})
				s.word("more")
				equal(t, "words of the second", words(<-late), []string{"more"})
			})
		})
	}
}

// L1: one that has only just come has a moment for frames, and no longer.
func TestRule_overtakenAtOnce(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		first, second, third := p.batch(holding(time.Minute)), p.batch(holding(time.Minute)), p.batch(holding(time.Minute))
		second.Awaiting, third.Awaiting = first.X, first.X
		early, late := p.park(first), p.park(second)
		s.word("hello")
		equal(t, "words of the first", words(<-early), []string{"hello"})
		last := p.park(third)
		time.Sleep(2 * time.Millisecond)
		equal(t, "words of the second", words(answered(late)), []string(nil))
		s.word("more")
		equal(t, "words of the third", words(<-last), []string{"more"})
	})
}

// L1: one that is gone holds up nobody.
func TestRule_overtakenGone(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		first, second := p.batch(holding(time.Minute)), p.batch(holding(time.Minute))
		second.Awaiting = first.X
		early := p.accept(transport.Longpoll, first)
		s.word("hello")
		late := p.park(second)
		early.Close()
		equal(t, "words of the second", words(<-late), []string{"hello"})
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
		_, _ = next(t.Context(), late, 1<<16)
		if _, err := next(t.Context(), late, 1<<16); !errors.Is(err, transport.ErrReplaced) {
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
		time.Sleep(time.Second)
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
		equal(t, "exchanges of a stream after a quiet time, quiet for 1.5 + 3 + 6 + 12 + 3 × 18 s", d.polls.Load(), int64(1+1+8))
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

// L1: an exchange whose copies went without an answer waits for another copy,
// for what is left of its hold, and gets each frame once.
func TestRule_copyOfUnanswered(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		b := p.batch(holding(10 * time.Second))
		p.visit(b, time.Second, context.Canceled)
		copied := p.park(b)
		if answered(copied) != nil {
			t.Fatal("the copy was answered at once")
		}
		s.word("hello")
		equal(t, "words", words(answered(copied)), []string{"hello"})
		equal(t, "words of a copy after the answer", words(answered(p.park(b))), []string{"hello"})
		p.ack++

		began := time.Now()
		b = p.batch(holding(10 * time.Second))
		p.visit(b, time.Second, context.Canceled)
		p.visit(b, 2*time.Second, context.Canceled)
		a := <-p.park(b)
		equal(t, "held in all", time.Since(began), 10*time.Second)
		equal(t, "frames", len(a.Frames), 0)

		began = time.Now()
		a = p.visit(p.batch(holding(10*time.Second)), time.Second, transport.ErrAnswerNow)
		equal(t, "answered when told to", time.Since(began), time.Second)
		equal(t, "frames", len(a.Frames), 0)
	})
}

// visit parks an exchange for a while; then its context ends by cause. It
// returns the answer, if there is one.
func (p *peer) visit(b *wire.Batch, d time.Duration, cause error) *wire.Batch {
	ctx, stop := context.WithCancelCause(p.t.Context())
	defer time.AfterFunc(d, func() { stop(cause) }).Stop()
	link := p.accept(transport.Longpoll, b)
	defer link.Close()
	raw, err := next(ctx, link, 1<<20)
	if err != nil {
		equal(p.t, "the end", err, cause)
		return nil
	}
	return p.parse(raw)
}

// L5: an exchange with frames that has no answer for max(500 ms, 2 × RTT) makes
// the client give its parked poll up; one that is given up in the end takes
// older ones with it and leaves room for the next.
func TestRule_makeRoom(t *testing.T) {
	for _, rtt := range []time.Duration{20 * time.Millisecond, 800 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			reg := enginetest.NewRegistry(registry.Config{Handle: echo})
			carrier := enginetest.NewCarrier(simnet.New(1, simnet.Profile{RTT: rtt}), reg)
			h := &hung{Carrier: carrier}
			s := dialer.Start(dialer.Config{Carrier: h, Transports: []transport.Kind{transport.Longpoll}})
			st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
			if err != nil {
				t.Fatal(err)
			}
			one(t, st, "first")
			time.Sleep(time.Minute)
			h.hang.Store(true)
			began := time.Now()
			if err := st.Send(t.Context(), message([]byte("second"))); err != nil {
				t.Fatal(err)
			}
			wait := max(500*time.Millisecond, 2*rtt)
			time.Sleep(wait - time.Millisecond)
			equal(t, "given up before", len(h.abandoned()), 0)
			time.Sleep(2 * time.Millisecond)
			equal(t, "given up", h.abandoned(), []bool{false})
			h.hang.Store(false)
			if m, err := st.Recv(t.Context()); err != nil || string(m.Bytes()) != "second" {
				t.Errorf("%q, %v", m.Bytes(), err)
			}
			equal(t, "given up", h.abandoned(), []bool{false, true})
			equal(t, "the exchange with frames was given up after", h.given[1], max(3*time.Second, 4*rtt))
			if took := time.Since(began); took > max(3*time.Second, 4*rtt)+2*rtt {
				t.Errorf("the message took %v", took)
			}
			_ = s.Close(t.Context())
			carrier.Close()
			reg.Close()
		})
	}
}

// L6: CLOSE comes after everything else, and ends the session.
func TestRule_close(t *testing.T) {
	c := &collect{}
	bubble(t, registry.Config{Handle: c.handle}, func(t *testing.T, reg *registry.Registry) {
		c.got = make(chan string, 10)
		p := newPeer(t, reg)
		p.open()
		closing := p.batch(nil)
		open := p.batch(nil, openFrame(1), dataFrame(1, "x"))
		closing.Frames = []wire.Frame{{Seq: 3, Type: wire.TypeClose, Close: &wire.Close{Code: wire.CodeDone}}}
		if a := <-p.park(closing); a.Close != nil {
			t.Fatalf("closed ahead of order: %+v", a.Close)
		}
		if a := <-p.park(open); a.Close == nil || a.Close.Code != wire.CodeDone || a.Ack != 3 {
			t.Errorf("%+v", a)
		}
		if got := c.all(); len(got) == 0 {
			t.Error("what came before CLOSE was not delivered")
		}
		if n := reg.Stats().SessionsClosed["closed"]; n != 1 {
			t.Errorf("%d sessions closed", n)
		}
		so := p.accept(transport.WS, p.batch(nil))
		so.Close()
	})
}
