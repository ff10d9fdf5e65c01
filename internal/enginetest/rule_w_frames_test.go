package enginetest_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// W5: frames are numbered from 1 as they are first sent; a message is cut in
// fragments of which the first states its length; streams take turns.
func TestRule_frames(t *testing.T) {
	const long = wire.MaxFragment + 100
	handle := func(st *registry.Stream) {
		_ = st.SendHeaders(nil)
		_ = st.Send(st.Context(), message(make([]byte, long)))
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		p.x = 10 // above a link that is answered with no frames
		<-p.park(p.batch(nil))
		seq, stream := uint64(0), uint64(0)
		for _, pieces := range [][]int{
			{4096, 4096, 4096, 4096, 100}, // until longer batches have got through
			{wire.MaxFragment, 100},
		} {
			low := p.batch(nil, openFrame(stream+1), openFrame(stream+2))
			low.X = 2 + stream
			stream += 2
			<-p.park(low)
			synctest.Wait()
			a := p.poll(p.batch(nil))
			var got []string
			for _, f := range a.Frames {
				seq++
				equal(t, "seq", f.Seq, seq)
				if f.First != (f.Length == long) {
					t.Errorf("a fragment of %d bytes, first %v, length %d", len(f.Data), f.First, f.Length)
				}
				got = append(got, fmt.Sprintf("%d:%d:%d", f.Stream%2, f.Type, len(f.Data)))
			}
			equal(t, "frames", got, inTurn(got, pieces))
		}
	})
}

// inTurn is what two streams send in turn, each a message in such pieces. The first
// is that of got: which handler was first is not told.
func inTurn(got []string, pieces []int) (want []string) {
	first := 1
	if len(got) > 0 && got[0][0] == '0' {
		first = 0
	}
	add := func(kind wire.FrameType, data int) {
		for _, stream := range []int{first, 1 - first} {
			want = append(want, fmt.Sprintf("%d:%d:%d", stream, kind, data))
		}
	}
	add(wire.TypeHeaders, 0)
	for _, n := range pieces {
		add(wire.TypeMessage, n)
	}
	add(wire.TypeEnd, 0)
	return want
}

// W5: what has not left yet goes in the order CANCEL, WINDOW, streams.
func TestRule_frameOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := enginetest.NewRegistry(registry.Config{Handle: func(st *registry.Stream) {
			for st.Send(st.Context(), message(make([]byte, 30_000))) == nil {
			}
			st.End(wire.End{Status: 1})
		}})
		sent := &sniffer{Carrier: &direct{reg: reg, delay: 100 * time.Millisecond}}
		s := dialer.Start(dialer.Config{Carrier: sent, Transports: transports()["longpoll"], StreamWindow: 256 << 10})
		open := func() *dialer.Stream {
			st, err := s.Open(t.Context(), wire.Open{Method: "/test/Flood"})
			if err != nil {
				t.Fatal(err)
			}
			return st
		}
		first, second := open(), open()
		time.Sleep(10 * time.Second)
		third := open() // with the parked poll, all that may be in flight
		time.Sleep(time.Millisecond)
		sent.take()
		fourth := open()
		for range 6 {
			if _, err := first.Recv(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		second.Cancel()
		time.Sleep(time.Second)
		got := sent.take()
		if want := []wire.FrameType{wire.TypeCancel, wire.TypeWindow, wire.TypeOpen}; len(got) < 3 || !sameKinds(got[:3], want) {
			t.Errorf("sent %v, want first %v", got, want)
		}
		first.Cancel()
		third.Cancel()
		fourth.Cancel()
		_ = s.Close(t.Context())
		reg.Close()
	})
}

func sameKinds(a, b []wire.FrameType) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// sniffer notes which frames a client sends.
type sniffer struct {
	dialer.Carrier
	mu    sync.Mutex
	kinds []wire.FrameType
}

// take gives what was noted since it was asked last.
func (s *sniffer) take() []wire.FrameType {
	s.mu.Lock()
	defer s.mu.Unlock()
	kinds := s.kinds
	s.kinds = nil
	return kinds
}

func (s *sniffer) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	var b wire.Batch
	if err := wire.ParseBatch(bytes.Clone(batch), &b); err != nil {
		return nil, err
	}
	s.mu.Lock()
	for _, f := range b.Frames {
		s.kinds = append(s.kinds, f.Type)
	}
	s.mu.Unlock()
	return s.Carrier.Exchange(ctx, sid, batch)
}

// hung is a Carrier whose exchanges with frames hang while it is told so.
type hung struct {
	dialer.Carrier
	hang    atomic.Bool
	mu      sync.Mutex
	given   []time.Duration // ages at which exchanges were given up
	carried []bool          // whether those had frames
}

func (h *hung) note(age time.Duration, frames bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.given, h.carried = append(h.given, age), append(h.carried, frames)
}

// abandoned tells which exchanges were given up: whether they had frames.
func (h *hung) abandoned() []bool {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.carried)
}

func (h *hung) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	began := time.Now()
	var b wire.Batch
	if err := wire.ParseBatch(bytes.Clone(batch), &b); err != nil {
		return nil, err
	}
	if !h.hang.Load() || len(b.Frames) == 0 {
		answer, err := h.Carrier.Exchange(ctx, sid, batch)
		if ctx.Err() != nil {
			h.note(time.Since(began), false)
		}
		return answer, err
	}
	<-ctx.Done()
	h.note(time.Since(began), true)
	return nil, context.Cause(ctx)
}

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
			raw, err := next(t.Context(), link, 1<<20)
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
		raw, _ := next(t.Context(), link, 1<<20)
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
