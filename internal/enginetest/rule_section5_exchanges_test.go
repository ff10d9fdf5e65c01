package enginetest_test

import (
	"context"
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

// counting counts the exchanges that are in flight at once.
type counting struct {
	dialer.Carrier
	old bool // the bridge's Welcome does not say how many there may be

	mu        sync.Mutex
	now, most int
}

func (c *counting) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	c.mu.Unlock()
	answer, err := c.Carrier.Exchange(ctx, sid, batch)
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	var b wire.Batch
	if err != nil || !c.old || wire.ParseBatch(answer, &b) != nil || b.Welcome == nil {
		return answer, err
	}
	b.Welcome.MaxExchanges = 0
	return wire.AppendBatch(nil, &b), nil
}

// Section 5: more than two exchanges are in flight only where they share a connection,
// the bridge takes them, and the path needs them.
func TestRule_exchangesInFlight(t *testing.T) { exchangesInFlight(t, nil) }

// exchangesInFlight holds a client's engine to it; nil: Go's.
func exchangesInFlight(t *testing.T, start func(dialer.Config) caller) {
	for name, c := range map[string]struct {
		shared, old bool
		mbit, most  int
	}{
		"on connections of their own": {mbit: 200, most: 2},
		"on one":                      {shared: true, mbit: 200, most: 8},
		"on one, to an old bridge":    {shared: true, old: true, mbit: 200, most: 2},
		"on a slow path":              {shared: true, mbit: 10, most: 2},
	} {
		for _, up := range []bool{false, true} {
			way := map[bool]string{false: "down", true: "up"}[up]
			t.Run(name+"/"+way, func(t *testing.T) {
				var count *counting
				far{
					rtt: 300 * time.Millisecond, mbit: c.mbit, kind: transport.Longpoll, shared: c.shared, up: up, start: start,
					carrier: func(inner dialer.Carrier) dialer.Carrier {
						count = &counting{Carrier: inner, old: c.old}
						return count
					},
				}.run(t, 6*time.Second, time.Second)
				equal(t, "exchanges in flight", count.most, c.most)
			})
		}
	}
}

// Section 5: at low rates there are at most 1.2 exchanges for a round trip and
// direction, also where there could be more.
func TestRule_exchangeRate(t *testing.T) {
	const rtt, messages = 100 * time.Millisecond, 300
	for _, pause := range []time.Duration{time.Millisecond, 20 * time.Millisecond, 130 * time.Millisecond} {
		t.Run(pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := simnet.New(1, simnet.Profile{RTT: rtt})
				reg := enginetest.NewRegistry(registry.Config{Handle: echo})
				carrier := enginetest.NewCarrier(net, reg)
				s := dialer.Start(dialer.Config{Carrier: carrier, Transports: []transport.Kind{transport.Longpoll}, Multiplexed: func() bool { return true }})
				st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
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
				trips := float64(time.Since(began)) / float64(rtt)
				if got := net.Exchanges(); err != io.EOF || replies != messages+1 || float64(got) > 2*1.2*trips+4 {
					t.Errorf("%d exchanges in %.0f round trips; %d replies, %v", got, trips, replies-1, err)
				}
				_ = s.Close(t.Context())
				carrier.Close()
				reg.Close()
			})
		})
	}
}

// L1: exchanges that are awaited take frames in whatever order they come; a copy of one
// that was there takes none.
func TestRule_exchangesInAnyOrder(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		hold := holding(time.Minute)
		batches := []*wire.Batch{p.batch(hold), p.batch(hold), p.batch(hold), p.batch(hold)}
		for _, b := range batches {
			b.Awaiting = batches[0].X
		}
		third, first, second := p.accept(transport.Longpoll, batches[2]), p.accept(transport.Longpoll, batches[0]), p.accept(transport.Longpoll, batches[1])
		defer third.Close()
		defer first.Close()
		defer second.Close()
		copied := p.accept(transport.Longpoll, batches[1])
		defer copied.Close()
		equal(t, "words of the copy", words(p.next(copied)), []string(nil))
		for i, link := range []transport.Link{first, second, third} {
			word := string(rune('a' + i))
			s.word(word)
			equal(t, "words", words(p.next(link)), []string{word})
		}
	})
}
