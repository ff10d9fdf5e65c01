package enginetest_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// The tests of this file are what the simulation and the matrix found, each made small.

// TestFound_gapBehindFullSocket: the frames that a full WebSocket carries
// cannot be acked before those that a lost answer had taken along.
func TestFound_gapBehindFullSocket(t *testing.T) {
	const pause = 5 * time.Second
	handle := func(st *registry.Stream) {
		for i := range 10 {
			if i == 1 {
				time.Sleep(pause)
			}
			_ = st.Send(st.Context(), message(bytes.Repeat([]byte{byte(i)}, wire.MaxFragment-1000)))
		}
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: handle, StreamWindow: 1 << 20}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		lost := <-p.park(p.batch(holding(time.Second), openFrame(1)))
		if n := len(lost.Frames); n != 4 {
			t.Fatalf("%d frames in the answer that is to be lost, want 4", n)
		}
		preferred := func(awaiting uint64) func(*wire.Batch) {
			return func(b *wire.Batch) { b.Prefer, b.Awaiting = 3, awaiting }
		}
		so := p.socket(preferred(2))
		time.Sleep(pause)
		if n := len(so.frames()); n == 0 {
			t.Fatal("nothing on the WebSocket")
		}
		late := p.batch(preferred(4))
		late.X = so.x
		if err := so.link.Deliver(t.Context(), wire.AppendBatch(nil, late)); err != nil {
			t.Fatal(err)
		}
		again := so.frames()
		if len(again) == 0 || again[0].Seq != 1 {
			t.Errorf("after the lost answer was given up: %d frames, want frame 1", len(again))
		}
		so.close()
	})
}

// TestFound_lapseIsNotPutOff: an RPC that ends on its own does not give the
// others of a session without a link more time.
func TestFound_lapseIsNotPutOff(t *testing.T) {
	ended := make(map[uint64]time.Time)
	handle := func(st *registry.Stream) {
		limit := time.Hour
		if st.ID() == 1 {
			limit = time.Minute
		}
		_ = sleep(st.Context(), limit)
		ended[st.ID()] = time.Now()
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		p.poll(p.batch(nil, openFrame(1), openFrame(2)))
		began := time.Now()
		time.Sleep(time.Hour)
		synctest.Wait()
		equal(t, "the first ended after", ended[1].Sub(began), time.Minute)
		equal(t, "the second was cancelled after", ended[2].Sub(began), 2*time.Minute)
	})
}

// TestFound_reservationOfACutMessage: an RPC that ends in the middle of a long
// message gives the room back that it had reserved for the rest.
func TestFound_reservationOfACutMessage(t *testing.T) {
	const long = 8 << 20 // more than comes before the refusal
	handle := func(st *registry.Stream) {
		_ = st.SendHeaders(nil)
		_ = st.Send(st.Context(), message(make([]byte, long)))
		_, err := st.Recv(st.Context())
		if err != io.EOF {
			<-st.Context().Done()
		}
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: handle, MaxMessage: long}, func(t *testing.T, reg *registry.Registry) {
		d := &direct{reg: reg, delay: 100 * time.Millisecond}
		s := dialer.Start(dialer.Config{Carrier: d, Transports: transports()["longpoll"], MaxMessage: long})
		for i := range 5 {
			st, err := s.Open(t.Context(), wire.Open{Method: "/test/Long"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Headers(t.Context()); err != nil {
				t.Fatal(err)
			}
			_ = st.Send(t.Context(), message(make([]byte, long+1)))
			if m, err := st.Recv(t.Context()); err != io.EOF {
				t.Fatalf("RPC %d: %d bytes, %v", i, m.Len(), err)
			}
			equal(t, "status", st.Status().Status, uint32(8))
		}
		st, err := s.Open(t.Context(), wire.Open{Method: "/test/Long"})
		if err != nil {
			t.Fatal(err)
		}
		_ = st.CloseSend()
		if m, err := st.Recv(t.Context()); err != nil || m.Len() != long {
			t.Errorf("%d bytes, %v; status %+v", m.Len(), err, st.Status())
		}
		_ = s.Close(t.Context())
	})
}

// TestFound_stoppedAheadOfOrder: an OPEN that came ahead of order and was then
// not taken, for a full outbox, is asked for again.
func TestFound_stoppedAheadOfOrder(t *testing.T) {
	flood := func(st *registry.Stream) {
		_ = st.Send(st.Context(), message(make([]byte, 60<<10)))
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: flood, SessionWindow: 64 << 10}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		p.poll(p.batch(func(b *wire.Batch) { b.HoldMillis = 0 }))
		old := func(b *wire.Batch) *wire.Batch { // answered at once with no frames
			b.X = 1
			return b
		}
		<-p.park(old(p.batch(nil, openFrame(1), openFrame(2), openFrame(3), openFrame(4))))
		synctest.Wait()
		before := old(p.batch(nil, dataFrame(4, "x")))
		ahead := old(p.batch(nil, openFrame(5), dataFrame(5, "x")))
		<-p.park(ahead)
		if a := <-p.park(before); !a.Stopped || a.Ack != 5 {
			t.Fatalf("stopped %v, ack %d", a.Stopped, a.Ack)
		}
		p.x = 10
		for range 20 {
			if a := p.poll(p.batch(nil)); a.Resend {
				return
			}
		}
		t.Error("it was never asked for")
	})
}

// TestFound_onlySocketsGetThrough: a WebSocket brings the Welcome where
// exchanges fail.
func TestFound_onlySocketsGetThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := enginetest.NewRegistry(registry.Config{Handle: echo})
		defer reg.Close()
		lost := func([]byte) ([]byte, error) { return nil, errors.New("lost") }
		s := dialer.Start(dialer.Config{Carrier: &direct{reg: reg, fault: lost}})
		pingpong(t, s, 10, 1000)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestFound_unusedSession: a session from which only Hellos came lapses at the
// client before the bridge forgets it, so that no RPC is sent into the void.
func TestFound_unusedSession(t *testing.T) {
	for _, idle := range []time.Duration{20 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			reg := enginetest.NewRegistry(registry.Config{Handle: echo})
			s := dialer.Start(dialer.Config{Carrier: &direct{reg: reg}, Transports: transports()["longpoll"]})
			time.Sleep(idle)
			if idle < 24*time.Second {
				pingpong(t, s, 1, 1)
			} else if _, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"}); err == nil {
				t.Errorf("after %v an RPC is taken that the bridge will not know", idle)
			}
			_ = s.Close(t.Context())
			reg.Close()
		})
	}
}

// TestFound_socketsThatBreakBySize: where every WebSocket is reset after a few
// bytes batches shrink until some get through.
func TestFound_socketsThatBreakBySize(t *testing.T) {
	for _, choice := range []string{"ws", "auto"} {
		synctest.Test(t, func(t *testing.T) {
			reg := enginetest.NewRegistry(registry.Config{Handle: echo})
			carrier := enginetest.NewCarrier(simnet.New(1, simnet.Profile{RTT: 20 * time.Millisecond, Kill: 20_000}), reg)
			s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()[choice]})
			began := time.Now()
			var calls sync.WaitGroup
			for range 4 {
				calls.Go(func() { pingpong(t, s, 5, 100_000) })
			}
			calls.Wait()
			t.Log(choice, time.Since(began))
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			carrier.Close()
			reg.Close()
		})
	}
}

// TestFound_weatherAfterHello: an RPC that was sent right after the Welcome, and
// whose answers are lost for longer than a session lives of which only Hellos
// were seen, goes on.
func TestFound_weatherAfterHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := enginetest.NewRegistry(registry.Config{Handle: echo})
		net := simnet.New(1, simnet.Profile{RTT: 20 * time.Millisecond})
		carrier := enginetest.NewCarrier(net, reg)
		s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()["longpoll"]})
		time.Sleep(time.Second)
		net.Change(simnet.Profile{RTT: 20 * time.Millisecond, Rates: map[simnet.Fault]float64{simnet.Inject: 1}})
		time.AfterFunc(60*time.Second, net.Calm) // the next try may be 30 s away
		pingpong(t, s, 3, 1000)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		carrier.Close()
		reg.Close()
	})
}
