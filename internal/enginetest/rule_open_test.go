package enginetest_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// W6, O1, O3: what a stranger, a thief and a late copy get.
func TestRule_refusals(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		stranger := newPeer(t, reg)
		cases := []struct {
			name   string
			peer   *peer
			change func(*wire.Batch)
			want   wire.CloseCode
		}{
			{"unknown session", stranger, func(b *wire.Batch) { b.Incarnation = p.incarnation }, wire.CodeUnknown},
			{"no Hello", stranger, func(*wire.Batch) {}, wire.CodeUnknown},
			{"wrong key", p, func(b *wire.Batch) { b.Key = bytes.Repeat([]byte{1}, 16) }, wire.CodeUnknown},
			{"no key", p, func(b *wire.Batch) { b.Key = nil }, wire.CodeUnknown},
			{"short key", p, func(b *wire.Batch) { b.Key = p.key[:15] }, wire.CodeUnknown},
			{"Hello with the wrong key", p, func(b *wire.Batch) {
				withHello(b)
				b.Incarnation, b.Key = 0, stranger.key
			}, wire.CodeUnknown},
			{"another incarnation", p, func(b *wire.Batch) { b.Incarnation++ }, wire.CodeUnknown},
			{"neither Hello nor incarnation", p, func(b *wire.Batch) { b.Incarnation = 0 }, wire.CodeUnknown},
			{"another session in the batch", p, func(b *wire.Batch) { b.Session = stranger.id }, wire.CodeGarbled},
			{"no link number", p, func(b *wire.Batch) { b.X = 0 }, wire.CodeGarbled},
			{"a version to come", stranger, func(b *wire.Batch) {
				withHello(b)
				b.Versions = &wire.Versions{Lowest: 2, Highest: 9}
			}, wire.CodeVersion},
			{"no versions", stranger, func(b *wire.Batch) {
				withHello(b)
				b.Versions = nil
			}, wire.CodeVersion},
		}
		var unknown []string
		for _, c := range cases {
			b := c.peer.batch(c.change)
			answer := <-c.peer.park(b)
			if answer.Close == nil || answer.Close.Code != c.want || answer.X != b.X {
				t.Errorf("%s: %+v", c.name, answer.Close)
				continue
			}
			if c.want == wire.CodeUnknown {
				unknown = append(unknown, answer.Close.Message)
			}
		}
		for _, m := range unknown {
			if m != unknown[0] {
				t.Errorf("unknown says %q and %q: an oracle", m, unknown[0])
			}
		}
		if answer := p.poll(p.batch(nil)); answer.Close != nil {
			t.Errorf("the session was harmed: %+v", answer.Close)
		}
		if n := reg.Stats().Sessions; n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// W2: what is no batch touches no session.
func TestRule_garbled(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		whole := wire.AppendBatch(nil, p.batch(nil, openFrame(1)))
		flipped := bytes.Clone(whole)
		flipped[len(flipped)/2] ^= 4
		bodies := map[string][]byte{
			"empty": nil, "html": []byte("<html><body>Please log in"), "cut": whole[:len(whole)-1],
			"flipped": flipped, "twice": append(bytes.Clone(whole), whole...),
		}
		for name, body := range bodies {
			link := reg.Accept(t.Context(), transport.Hello{Kind: transport.Longpoll, Session: wire.EncodeSession(p.id), Batch: body})
			raw, err := link.Next(t.Context(), nil, 1<<20)
			link.Close()
			if err != nil {
				t.Fatal(err)
			}
			if b := p.parse(raw); b.Close == nil || b.Close.Code != wire.CodeGarbled {
				t.Errorf("%s: %+v", name, b.Close)
			}
		}
		if st := reg.Stats(); st.Refusals["garbled"] != uint64(len(bodies)) || st.Streams != 0 {
			t.Errorf("%+v", st)
		}
		link := reg.Accept(t.Context(), transport.Hello{Kind: transport.Longpoll, TooLarge: 1 << 20})
		raw, _ := link.Next(t.Context(), nil, 1<<20)
		if b := p.parse(raw); b.Close.Code != wire.CodeTooLarge || b.Close.Limit != 1<<20 {
			t.Errorf("too large: %+v", b.Close)
		}
	})
}

// W3: frames from the future.
func TestRule_unknownFrames(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		a := p.poll(p.batch(holding(time.Second), openFrame(1), frameOf(1, 99), dataFrame(1, "still here")))
		if a.Ack != p.seq || len(a.Frames) == 0 {
			t.Fatalf("not critical: %+v", a)
		}
		critical := frameOf(1, 99)
		critical.Critical = true
		for range 3 {
			a = p.poll(p.batch(holding(time.Second), critical))
			critical.Type = wire.TypeHalfClose
			for _, f := range a.Frames {
				if f.Type == wire.TypeEnd {
					if f.End.Status != 12 || f.End.Origin != wire.OriginBridge {
						t.Errorf("%+v", f.End)
					}
					return
				}
			}
		}
		t.Error("the stream did not end")
	})
}

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
			p.reg = at
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
		if late.Close == nil || late.Close.Code != wire.CodeBreach {
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

// O5: the principal is bound to the session.
func TestRule_authenticate(t *testing.T) {
	auth := func(_ context.Context, _ transport.Hello, token string) (registry.Principal, error) {
		if token == "" {
			return registry.Principal{}, errors.New("no token")
		}
		return registry.Principal{Name: token}, nil
	}
	bubble(t, registry.Config{Authenticate: auth, MaxPerPrincipal: 2}, func(t *testing.T, reg *registry.Registry) {
		with := func(token string) func(*wire.Batch) {
			return func(b *wire.Batch) {
				withHello(b)
				b.Token = token
			}
		}
		var codes []wire.CloseCode
		p := newPeer(t, reg)
		ask := func(p *peer, change func(*wire.Batch)) {
			a := <-p.park(p.batch(change))
			code := wire.CodeUnspecified
			if a.Close != nil {
				code = a.Close.Code
			}
			p.incarnation = a.Incarnation
			codes = append(codes, code)
		}
		ask(newPeer(t, reg), with(""))
		ask(p, with("ann"))
		ask(p, nil)
		ask(p, func(b *wire.Batch) { b.Token = "ann" })
		ask(p, func(b *wire.Batch) { b.Token = "bob" })
		ask(newPeer(t, reg), with("ann"))
		ask(newPeer(t, reg), with("ann"))
		want := []wire.CloseCode{wire.CodeUnauthenticated, 0, 0, 0, wire.CodeUnknown, 0, wire.CodeBusy}
		if !reflect.DeepEqual(codes, want) {
			t.Errorf("codes %v, want %v", codes, want)
		}
	})
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
