package enginetest_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// far is a far path, and what goes over it.
type far struct {
	rtt     time.Duration
	mbit    int // 0: any rate
	kind    transport.Kind
	shared  bool // exchanges share a connection, as in HTTP/2
	up      bool
	streams int                                 // together; 0: one
	pause   time.Duration                       // between two messages of one who sends
	burst   time.Duration                       // of losses; 0: they come alone
	loss    float64                             // share of traversals that are sent again
	jitter  time.Duration                       // most that is added each way
	takes   int                                 // longest batch that the bridge takes, in bytes; 0: the default
	cuts    time.Duration                       // how often all links are reset; 0: never
	start   func(dialer.Config) caller          // the client's engine; nil: Go's
	carrier func(dialer.Carrier) dialer.Carrier // stands before the network; nil: none does
}

const farPiece = 16 << 10

func (f far) rate() int { return f.mbit * 1_000_000 / 8 }

// bodies are how many are in flight at most on long-polling, and how long they are.
func (f far) bodies() (n, length int) {
	switch {
	case f.shared:
		return engine.MaxExchanges, tune.MaxBatch
	case f.start != nil: // the JavaScript client, whose requests are no longer
		return engine.MinExchanges, tune.MaxBatch
	}
	return engine.MinExchanges, tune.LongBatch
}

// least is the share of the path that must be filled: on long-polling, as far as the
// longest bodies carry it in a round trip.
func (f far) least() float64 {
	if f.kind == transport.WS {
		return 0.85
	}
	bodies, length := f.bodies()
	transmit := float64(length) / float64(f.rate())
	carried := float64(bodies*length) / (f.rtt.Seconds() + transmit) / float64(f.rate())
	return min(0.75, 0.85*carried)
}

func (f far) String() string {
	kind := f.kind.String()
	if f.shared {
		kind += " over HTTP∕2"
	}
	return fmt.Sprintf("%s/%v/%dMbit/up=%v", kind, f.rtt, f.mbit, f.up)
}

// each runs the transports and directions of a path.
func (f far) each(run func(f far)) {
	for _, way := range []far{{kind: transport.WS}, {kind: transport.Longpoll}, {kind: transport.Longpoll, shared: true}} {
		for _, up := range []bool{false, true} {
			f.kind, f.shared, f.up = way.kind, way.shared, up
			run(f)
		}
	}
}

// The path is filled, whatever its length and rate.
func TestDistance_fills(t *testing.T) {
	for _, rtt := range []time.Duration{20, 100, 300} {
		for _, mbit := range []int{10, 50, 200} {
			far{rtt: rtt * time.Millisecond, mbit: mbit}.each(func(f far) {
				t.Run(f.String(), func(t *testing.T) { f.fills(t, max(5*time.Second, 40*f.rtt)) })
			})
		}
	}
}

// fills holds that the path is filled once 3 s have passed.
func (f far) fills(t *testing.T, during time.Duration) {
	got := f.run(t, 3*time.Second, during)
	share := float64(got[0]) / during.Seconds() / float64(f.rate())
	t.Logf("%.2f of the path, least %.2f", share, f.least())
	if share < f.least() {
		t.Errorf("%.2f of the path, want at least %.2f", share, f.least())
	}
}

// Streams share a path, and fill it together.
func TestDistance_shares(t *testing.T) {
	far{rtt: 100 * time.Millisecond, mbit: 50, streams: 8}.each(func(f far) {
		t.Run(f.String(), f.shares)
	})
}

func (f far) shares(t *testing.T) {
	const during = 10 * time.Second
	got := f.run(t, 3*time.Second, during)
	all := int64(0)
	for _, n := range got {
		all += n
	}
	share, even := float64(all)/during.Seconds()/float64(f.rate()), float64(all)/float64(len(got))
	low, high := float64(slices.Min(got))/even, float64(slices.Max(got))/even
	t.Logf("%.2f of the path, least %.2f; streams have %.2f to %.2f of their share", share, f.least(), low, high)
	if share < f.least() || low < 0.8 || high > 1.2 {
		t.Errorf("%.2f of the path, want at least %.2f; streams have %.2f to %.2f of their share, want 0.8 to 1.2", share, f.least(), low, high)
	}
}

// lossy is a path that loses 2 % in bursts, where all links are reset every 10 s.
func lossy(burst time.Duration) far {
	return far{rtt: 100 * time.Millisecond, mbit: 50, loss: 0.02, burst: burst, cuts: 10 * time.Second}
}

// Losses and resets leave most of a path filled.
func TestDistance_losses(t *testing.T) {
	for _, burst := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond} {
		lossy(burst).each(func(f far) {
			t.Run(fmt.Sprintf("%v in %v", f, burst), f.losses)
		})
	}
}

func (f far) losses(t *testing.T) {
	const during = 30 * time.Second
	least := map[transport.Kind]float64{transport.WS: 0.6, transport.Longpoll: 0.5}[f.kind]
	got := f.run(t, 3*time.Second, during)
	share := float64(got[0]) / during.Seconds() / float64(f.rate())
	t.Logf("%.2f of the path, least %.2f", share, least)
	if share < least {
		t.Errorf("%.2f of the path, want at least %.2f", share, least)
	}
}

// On a path that carries everything, a round trip soon carries what is half of
// native gRPC's rate, of 811 Mbit/s, or on long-polling over HTTP/1.1 three quarters of
// two bodies, which is 0.3 of it.
func TestDistance_unlimited(t *testing.T) {
	far{rtt: 100 * time.Millisecond}.each(func(f far) {
		t.Run(f.String(), f.unlimited)
	})
}

func (f far) unlimited(t *testing.T) {
	const trips = 25
	least := int64(5_000_000)
	if f.kind == transport.Longpoll && !f.shared {
		bodies, length := f.bodies()
		least = int64(bodies*length) / 4 * 3
	}
	got := f.run(t, trips*f.rtt, 4*f.rtt)
	t.Logf("%d bytes in a round trip after %d, least %d", got[0]/4, trips, least)
	if got[0]/4 < least {
		t.Errorf("%d bytes in a round trip after %d, want %d", got[0]/4, trips, least)
	}
}

// One who sends needs time for a body, and two that leave together are full.
func TestDistance_slowSenders(t *testing.T) {
	for _, up := range []bool{false, true} {
		f := far{rtt: 100 * time.Millisecond, pause: 200 * time.Microsecond, kind: transport.Longpoll, up: up}
		t.Run(f.String(), f.unlimited)
	}
}

// run plays streams that send as fast as they may, and returns how many bytes of
// each came in a while, after the first.
func (f far) run(t *testing.T, first, during time.Duration) (came []int64) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		got := make([]atomic.Int64, max(f.streams, 1))
		reg := enginetest.NewRegistry(registry.Config{MaxBatch: f.takes, Handle: func(st *registry.Stream) {
			_ = st.SendHeaders(nil)
			if !f.up {
				for !isClosed(stop) && st.Send(st.Context(), message(make([]byte, farPiece))) == nil {
					time.Sleep(f.pause)
				}
			}
			for {
				m, err := st.Recv(st.Context())
				if err != nil {
					break
				}
				got[int(st.ID())-1].Add(int64(m.Len()))
			}
			st.End(wire.End{})
		}})
		net := simnet.New(1, simnet.Profile{RTT: f.rtt, Rate: f.rate(), Loss: f.loss, Burst: f.burst, Jitter: f.jitter})
		carrier := enginetest.NewCarrier(net, reg)
		front := dialer.Carrier(carrier)
		if f.carrier != nil {
			front = f.carrier(carrier)
		}
		c := simulation{start: f.start}.client(dialer.Config{Carrier: front, Transports: []transport.Kind{f.kind}, Multiplexed: func() bool { return f.shared }})
		var work sync.WaitGroup
		var calls []call
		for i := range got {
			st, err := c.Open(t.Context(), wire.Open{Method: "/test/Far", Metadata: []wire.Metadatum{{Key: "test", Value: "far"}}})
			if err != nil {
				t.Fatal(err)
			}
			calls = append(calls, st)
			work.Go(func() {
				for f.up && !isClosed(stop) && st.Send(t.Context(), message(make([]byte, farPiece))) == nil {
					time.Sleep(f.pause)
				}
				_ = st.CloseSend()
			})
			work.Go(func() {
				for m, err := st.Recv(t.Context()); err == nil; m, err = st.Recv(t.Context()) {
					got[i].Add(int64(m.Len()))
				}
			})
		}
		work.Go(func() { f.cut(net, stop) })
		time.Sleep(first)
		before := make([]int64, len(got))
		for i := range got {
			before[i] = got[i].Load()
		}
		time.Sleep(during)
		for i := range got {
			came = append(came, got[i].Load()-before[i])
		}
		close(stop)
		for _, st := range calls {
			st.Cancel()
		}
		work.Wait()
		_ = c.Close(t.Context())
		carrier.Close()
		reg.Close()
	})
	return came
}

// cut resets all links every now and then.
func (f far) cut(net *simnet.Network, stop <-chan struct{}) {
	for f.cuts > 0 {
		select {
		case <-time.After(f.cuts):
			net.Cut()
		case <-stop:
			return
		}
	}
}

// Ends that are busy for longer than a round trip takes, so that what comes waits there
// and acks come in bunches, leave a path filled.
func TestDistance_busyEnds(t *testing.T) {
	far{rtt: 20 * time.Millisecond, mbit: 50, jitter: 100 * time.Millisecond}.each(func(f far) {
		if f.kind == transport.WS {
			t.Run(f.String(), func(t *testing.T) { f.fills(t, 5*time.Second) })
		}
	})
}
