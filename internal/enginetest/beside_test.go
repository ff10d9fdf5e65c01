package enginetest_test

import (
	"slices"
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

// A long message holds up a ping-pong beside it by no more than what may be in
// flight takes. The network is one of 10 Mbit/s and 50 ms, on which the
// message takes longer than a measured round trip counts.
func TestBeside(t *testing.T) {
	const long, rate = 50 << 20, 1_250_000
	atMost := map[transport.Kind]time.Duration{transport.WS: 105, transport.Longpoll: 135} // % of the least time
	for kind := range atMost {
		for name, sent := range map[string]int{"up": long, "down": 1} {
			t.Run(kind.String()+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					net := simnet.New(1, simnet.Profile{RTT: 50 * time.Millisecond, Rate: rate})
					reg := enginetest.NewRegistry(registry.Config{MaxMessage: 64 << 20, Handle: func(st *registry.Stream) {
						if st.Request().Method == "/test/Echo" {
							echo(st)
							return
						}
						m, err := st.Recv(st.Context())
						if err == nil {
							_ = st.Send(st.Context(), message(make([]byte, long+1-m.Len())))
						}
						st.End(wire.End{})
					}})
					carrier := enginetest.NewCarrier(net, reg)
					s := dialer.Start(dialer.Config{MaxMessage: 64 << 20, Carrier: carrier, Transports: []transport.Kind{kind}})
					alone := pingPongP99(t, s, 6*time.Second)
					st, err := s.Open(t.Context(), wire.Open{Method: "/test/Long"})
					if err != nil {
						t.Fatal(err)
					}
					began := time.Now()
					var sending sync.WaitGroup
					sending.Go(func() { _ = st.Send(t.Context(), message(make([]byte, sent))) })
					beside := pingPongP99(t, s, 40*time.Second)
					t.Logf("p99 %v alone, %v beside", alone, beside)
					if beside > alone+150*time.Millisecond {
						t.Errorf("p99 of %v beside a long message, %v alone", beside, alone)
					}
					if m, err := st.Recv(t.Context()); err != nil || m.Len() != long+1-sent {
						t.Errorf("the long message's answer: %d bytes, %v", m.Len(), err)
					}
					if took, least := time.Since(began), long*time.Second/rate; took > least*atMost[kind]/100 {
						t.Errorf("the long message took %v, %v at the path's rate", took, least)
					}
					sending.Wait()
					_ = s.Close(t.Context())
					carrier.Close()
					reg.Close()
				})
			})
		}
	}
}

func pingPongP99(t *testing.T, s *dialer.Session, during time.Duration) time.Duration {
	t.Helper()
	st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for start := time.Now(); time.Since(start) < during; {
		began := time.Now()
		one(t, st, "ping")
		took = append(took, time.Since(began))
	}
	st.Cancel()
	slices.Sort(took)
	return took[len(took)*99/100]
}
