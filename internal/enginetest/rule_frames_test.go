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
	"github.com/pollbridge/pollbridge/internal/simnet"
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
		low := p.batch(nil, openFrame(1), openFrame(2))
		low.X, p.x = 2, 11
		<-p.park(low)
		synctest.Wait()
		a := p.poll(p.batch(nil))
		var got []string
		for i, f := range a.Frames {
			equal(t, "seq", f.Seq, uint64(i+1))
			if len(f.Data) > wire.MaxFragment || f.First != (f.Length == long) {
				t.Errorf("a fragment of %d bytes, first %v, length %d", len(f.Data), f.First, f.Length)
			}
			got = append(got, fmt.Sprintf("%d:%d:%d", f.Stream, f.Type, len(f.Data)))
		}
		var want []string
		for _, f := range []struct {
			kind wire.FrameType
			data int
		}{
			{wire.TypeHeaders, 0},
			{wire.TypeMessage, wire.MaxFragment}, {wire.TypeMessage, 100}, {wire.TypeEnd, 0},
		} {
			for stream := range 2 {
				want = append(want, fmt.Sprintf("%d:%d:%d", stream+1, f.kind, f.data))
			}
		}
		if len(got) > 0 && got[0][0] == '2' { // which handler was first is not told
			for i := 0; i < len(want); i += 2 {
				want[i], want[i+1] = want[i+1], want[i]
			}
		}
		equal(t, "frames", got, want)
	})
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

// L5: an exchange with frames that has no answer for max(500 ms, 2 × RTT) makes
// the client give its parked poll up; one that is given up in the end takes
// older ones with it and leaves room for the next.
func TestRule_makeRoom(t *testing.T) {
	for _, rtt := range []time.Duration{20 * time.Millisecond, 800 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			reg := enginetest.NewRegistry(registry.Config{Handle: echo})
			carrier := newFaulty(simnet.New(1, simnet.Profile{RTT: rtt}), reg)
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
			carrier.close()
			reg.Close()
		})
	}
}
