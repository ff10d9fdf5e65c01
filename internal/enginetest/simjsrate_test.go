package enginetest_test

import (
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
	"github.com/pollbridge/pollbridge/transport"
)

// TestSimJS_exchangesInFlight holds the TypeScript engine to TestRule_exchangesInFlight.
func TestSimJS_exchangesInFlight(t *testing.T) {
	t.Parallel()
	if *simJS == "" {
		t.Skip("-sim.js is not given")
	}
	exchangesInFlight(t, startNode(t, *simJS).client(t, 1))
}

// rateOf plays f with the TypeScript engine, over exchanges that share a connection on a
// network of 100 ms, and tells how many exchanges there were and how long it took.
func rateOf(t *testing.T, n *node, f func(t *testing.T, c caller, net *simnet.Network)) (exchanges int, took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		net := simnet.New(1, simnet.Profile{RTT: 100 * time.Millisecond})
		reg := enginetest.NewRegistry(registry.Config{Handle: echo})
		carrier := enginetest.NewCarrier(net, reg)
		c := n.client(t, 1)(dialer.Config{Carrier: carrier, Transports: []transport.Kind{transport.Longpoll}, Multiplexed: func() bool { return true }})
		start := time.Now()
		f(t, c, net)
		exchanges, took = net.Exchanges(), time.Since(start)
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		carrier.Close()
		reg.Close()
	})
	return exchanges, took
}

// TestSimJS_requestRate holds that the TypeScript engine makes at most 1.2
// exchanges for each round trip and direction, at any rate of messages.
func TestSimJS_requestRate(t *testing.T) {
	t.Parallel()
	if *simJS == "" {
		t.Skip("-sim.js is not given")
	}
	n := startNode(t, *simJS)
	for _, pause := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 130 * time.Millisecond} {
		exchanges, took := rateOf(t, n, func(t *testing.T, c caller, _ *simnet.Network) {
			const messages = 300
			st, err := c.Open(t.Context(), wire.Open{Method: "/test/Echo", Metadata: []wire.Metadatum{{Key: "test", Value: "rate"}}})
			if err != nil {
				t.Fatal(err)
			}
			var sending sync.WaitGroup
			sending.Go(func() {
				for range messages {
					if err := st.Send(t.Context(), message(make([]byte, 100))); err != nil {
						t.Error(err)
					}
					time.Sleep(pause)
				}
				_ = st.CloseSend()
			})
			replies := 0
			for ; err == nil; replies++ {
				_, err = st.Recv(t.Context())
			}
			sending.Wait()
			if err != io.EOF || replies != messages+1 {
				t.Errorf("%d replies, %v", replies-1, err)
			}
		})
		trips := took.Seconds() / 0.1
		t.Logf("a message each %v: %d exchanges in %.0f round trips", pause, exchanges, trips)
		if float64(exchanges) > 2*1.2*trips+4 {
			t.Errorf("a message each %v: %d exchanges in %.0f round trips", pause, exchanges, trips)
		}
	}
}

// TestSimJS_refused holds that the TypeScript engine, refused at once, backs off
// though an RPC is open.
func TestSimJS_refused(t *testing.T) {
	t.Parallel()
	if *simJS == "" {
		t.Skip("-sim.js is not given")
	}
	exchanges, _ := rateOf(t, startNode(t, *simJS), func(t *testing.T, c caller, net *simnet.Network) {
		st, err := c.Open(t.Context(), wire.Open{Method: "/test/Echo", Metadata: []wire.Metadatum{{Key: "test", Value: "rate"}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Headers(t.Context()); err != nil {
			t.Fatal(err)
		}
		net.Down()
		time.Sleep(80 * time.Second)
		net.Up()
		if err := st.Send(t.Context(), message([]byte("after"))); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Recv(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Logf("%d exchanges", exchanges)
	if exchanges > 30 {
		t.Errorf("%d exchanges in 80 s of refusals", exchanges)
	}
}

// TestSimJS_cuts holds the TypeScript engine to TestDistance_cuts.
func TestSimJS_cuts(t *testing.T) {
	t.Parallel()
	if *simJS == "" {
		t.Skip("-sim.js is not given")
	}
	n := startNode(t, *simJS)
	for seed := range uint64(20) {
		took := manySmall(t, seed, n.client(t, seed))
		t.Logf("seed %d: %v", seed, took)
		if took > 5*time.Second {
			t.Errorf("seed %d: %d messages took %v", seed, smallMessages, took)
		}
	}
}

// TestSimJS_fills holds that a flood fills a path's rate over WebSockets, in
// each direction between the two engines.
func TestSimJS_fills(t *testing.T) {
	t.Parallel()
	if *simJS == "" {
		t.Skip("-sim.js is not given")
	}
	const piece = 10_000
	n := startNode(t, *simJS)
	for _, path := range []struct {
		up           bool
		rtt          time.Duration
		rate, pieces int
		slower       float64 // than the path's rate, with the start
	}{
		{true, shareRTT, shareRate, 1_000, 1.11},
		{false, shareRTT, shareRate, 1_000, 1.11},
		{true, 100 * time.Millisecond, 6_250_000, 3_000, 1.2},
		{false, 100 * time.Millisecond, 6_250_000, 3_000, 1.2},
	} {
		up, pieces := path.up, path.pieces
		synctest.Test(t, func(t *testing.T) {
			net := simnet.New(1, simnet.Profile{RTT: path.rtt, Rate: path.rate})
			reg := enginetest.NewRegistry(registry.Config{Handle: func(st *registry.Stream) {
				_ = st.SendHeaders(nil)
				if !up {
					for range pieces {
						_ = st.Send(st.Context(), message(make([]byte, piece)))
					}
				}
				for err := error(nil); err == nil; {
					_, err = st.Recv(st.Context())
				}
				st.End(wire.End{})
			}})
			carrier := enginetest.NewCarrier(net, reg)
			c := n.client(t, 1)(dialer.Config{Carrier: carrier, Transports: []transport.Kind{transport.WS}})
			st, err := c.Open(t.Context(), wire.Open{Method: "/test/Flood", Metadata: []wire.Metadatum{{Key: "test", Value: "fills"}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := st.Headers(t.Context()); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if up {
				for range pieces {
					if err := st.Send(t.Context(), message(make([]byte, piece))); err != nil {
						t.Fatal(err)
					}
				}
			}
			_ = st.CloseSend()
			for err == nil {
				_, err = st.Recv(t.Context())
			}
			took, least := time.Since(start), time.Duration(pieces*piece)*time.Second/time.Duration(path.rate)
			t.Logf("up %v: %v, %v at the path's rate", up, took, least)
			if err != io.EOF || float64(took) > float64(least)*path.slower {
				t.Errorf("up %v: %v, %v at the path's rate; %v", up, took, least, err)
			}
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
			carrier.Close()
			reg.Close()
		})
	}
}
