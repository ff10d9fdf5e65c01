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

// beside is a ping-pong beside a long message on a network of 10 Mbit/s and 50 ms.
type beside struct {
	far
	long int // bytes
}

// each runs all transports and directions.
func (b beside) each(t *testing.T) {
	b.rtt, b.mbit = 50*time.Millisecond, 10
	b.far.each(func(f far) {
		b.far = f
		t.Run(f.String(), b.run)
	})
}

// A long message holds up a ping-pong beside it by no more than what may be in
// flight takes. It takes longer than a measured round trip counts.
func TestBeside(t *testing.T) {
	beside{long: 50 << 20}.each(t)
}

// run holds that the ping-pong is held up by 150 ms at most, and the message by little.
func (b beside) run(t *testing.T) {
	least := time.Duration(b.long) * time.Second / time.Duration(b.rate())
	atMost := map[transport.Kind]time.Duration{transport.WS: 105, transport.Longpoll: 135}[b.kind] * least / 100
	sent := 1
	if b.up {
		sent = b.long
	}
	synctest.Test(t, func(t *testing.T) {
		net := simnet.New(1, simnet.Profile{RTT: b.rtt, Rate: b.rate()})
		reg := enginetest.NewRegistry(registry.Config{MaxMessage: 64 << 20, Handle: func(st *registry.Stream) {
			if st.Request().Method == "/test/Echo" {
				echo(st)
				return
			}
			m, err := st.Recv(st.Context())
			if err == nil {
				_ = st.Send(st.Context(), message(make([]byte, b.long+1-m.Len())))
			}
			st.End(wire.End{})
		}})
		carrier := enginetest.NewCarrier(net, reg)
		c := simulation{start: b.start}.client(dialer.Config{MaxMessage: 64 << 20, Carrier: carrier, Transports: []transport.Kind{b.kind}, Multiplexed: func() bool { return b.shared }})
		alone := pingPongP99(t, c, 6*time.Second)
		st := openBeside(t, c, "/test/Long")
		began := time.Now()
		var sending sync.WaitGroup
		sending.Go(func() { _ = st.Send(t.Context(), message(make([]byte, sent))) })
		beside := pingPongP99(t, c, least*9/10)
		t.Logf("p99 %v alone, %v beside", alone, beside)
		if beside > alone+150*time.Millisecond {
			t.Errorf("p99 of %v beside a long message, %v alone", beside, alone)
		}
		if m, err := st.Recv(t.Context()); err != nil || m.Len() != b.long+1-sent {
			t.Errorf("the long message's answer: %d bytes, %v", m.Len(), err)
		}
		if took := time.Since(began); took > atMost {
			t.Errorf("the long message took %v, %v at the path's rate", took, least)
		}
		sending.Wait()
		_ = c.Close(t.Context())
		carrier.Close()
		reg.Close()
	})
}

func openBeside(t *testing.T, c caller, method string) call {
	t.Helper()
	st, err := c.Open(t.Context(), wire.Open{Method: method, Metadata: []wire.Metadatum{{Key: "test", Value: "beside"}}})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func pingPongP99(t *testing.T, c caller, during time.Duration) time.Duration {
	t.Helper()
	st := openBeside(t, c, "/test/Echo")
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
