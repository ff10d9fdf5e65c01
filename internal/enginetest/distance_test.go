package enginetest_test

import (
	"fmt"
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

// A far path: what TestDistance_fills sends over it.
type far struct {
	rtt  time.Duration
	mbit int
	kind transport.Kind
	up   bool
}

const farPiece = 16 << 10

func (f far) rate() int { return f.mbit * 1_000_000 / 8 }

// least is the share of the path that must be filled: on long-polling, as far as two
// of the longest bodies carry it in a round trip.
func (f far) least() float64 {
	if f.kind == transport.WS {
		return 0.85
	}
	const bodies = 2 << 20
	transmit := float64(bodies/2) / float64(f.rate())
	carried := bodies / (f.rtt.Seconds() + transmit) / float64(f.rate())
	return min(0.75, 0.85*carried)
}

func (f far) String() string {
	return fmt.Sprintf("%v/%v/%dMbit/up=%v", f.kind, f.rtt, f.mbit, f.up)
}

// The path is filled, whatever its length and rate.
func TestDistance_fills(t *testing.T) {
	for _, kind := range []transport.Kind{transport.WS, transport.Longpoll} {
		for _, rtt := range []time.Duration{20, 100, 300} {
			for _, mbit := range []int{10, 50, 200} {
				for _, up := range []bool{false, true} {
					f := far{rtt * time.Millisecond, mbit, kind, up}
					t.Run(f.String(), func(t *testing.T) { f.run(t, 5*time.Second) })
				}
			}
		}
	}
}

func (f far) run(t *testing.T, during time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		var got atomic.Int64
		stop := make(chan struct{})
		reg := enginetest.NewRegistry(registry.Config{Handle: func(st *registry.Stream) {
			_ = st.SendHeaders(nil)
			if !f.up {
				for !isClosed(stop) && st.Send(st.Context(), message(make([]byte, farPiece))) == nil {
				}
			}
			for {
				m, err := st.Recv(st.Context())
				if err != nil {
					break
				}
				got.Add(int64(m.Len()))
			}
			st.End(wire.End{})
		}})
		carrier := enginetest.NewCarrier(simnet.New(1, simnet.Profile{RTT: f.rtt, Rate: f.rate()}), reg)
		s := dialer.Start(dialer.Config{Carrier: carrier, Transports: []transport.Kind{f.kind}})
		st, err := s.Open(t.Context(), wire.Open{Method: "/test/Far"})
		if err != nil {
			t.Fatal(err)
		}
		var work sync.WaitGroup
		work.Go(func() {
			for f.up && !isClosed(stop) && st.Send(t.Context(), message(make([]byte, farPiece))) == nil {
			}
			_ = st.CloseSend()
		})
		work.Go(func() {
			for {
				m, err := st.Recv(t.Context())
				if err != nil {
					return
				}
				got.Add(int64(m.Len()))
			}
		})
		time.Sleep(3 * time.Second)
		before := got.Load()
		time.Sleep(during)
		share := float64(got.Load()-before) / during.Seconds() / float64(f.rate())
		t.Logf("%.2f of the path, least %.2f", share, f.least())
		if share < f.least() {
			t.Errorf("%.2f of the path, want at least %.2f", share, f.least())
		}
		close(stop)
		st.Cancel()
		work.Wait()
		_ = s.Close(t.Context())
		carrier.Close()
		reg.Close()
	})
}
