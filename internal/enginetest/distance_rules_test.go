package enginetest_test

import (
	"io"
	"math/rand/v2"
	"strconv"
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

// download answers with so many messages of that length.
func download(messages, length int) func(*registry.Stream) {
	return func(st *registry.Stream) {
		_, _ = st.Recv(st.Context())
		for range messages {
			if st.Send(st.Context(), message(make([]byte, length))) != nil {
				break
			}
		}
		st.End(wire.End{Message: strconv.Itoa(messages)})
	}
}

// A fresh session brings 1 MiB in a few round trips, as one message or as many.
func TestDistance_start(t *testing.T) {
	const rtt = 100 * time.Millisecond
	for _, c := range []struct {
		kind             transport.Kind
		messages, length int
		trips            int // at most, with the handshake and the Welcome
	}{
		{transport.WS, 1, 1 << 20, 7},
		{transport.WS, 64, 16 << 10, 7},
		{transport.Longpoll, 1, 1 << 20, 8},
		{transport.Longpoll, 64, 16 << 10, 8},
	} {
		t.Run(c.kind.String()+"/"+strconv.Itoa(c.messages), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := enginetest.NewRegistry(registry.Config{Handle: download(c.messages, c.length)})
				carrier := enginetest.NewCarrier(simnet.New(1, simnet.Profile{RTT: rtt}), reg)
				began := time.Now()
				s := dialer.Start(dialer.Config{Carrier: carrier, Transports: []transport.Kind{c.kind}})
				st, err := s.Open(t.Context(), wire.Open{Method: "/test/Download", SingleRequest: true, SingleResponse: c.messages == 1})
				if err != nil {
					t.Fatal(err)
				}
				if err := st.Send(t.Context(), message([]byte("all"))); err != nil {
					t.Fatal(err)
				}
				_ = st.CloseSend()
				got := 0
				for {
					m, err := st.Recv(t.Context())
					if err != nil {
						break
					}
					got += m.Len()
				}
				trips := float64(time.Since(began)) / float64(rtt)
				t.Logf("%d bytes in %.1f round trips", got, trips)
				if got != 1<<20 || trips > float64(c.trips)+0.1 { // ends wait for milliseconds too
					t.Errorf("%d bytes in %.1f round trips, want 1 MiB in %d", got, trips, c.trips)
				}
				_ = s.Close(t.Context())
				carrier.Close()
				reg.Close()
			})
		})
	}
}

// cutOften resets every WebSocket at an age of 50 to 400 ms.
func cutOften(net *simnet.Network, seed uint64, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's dice
	for {
		select {
		case <-time.After(time.Duration(50+rng.IntN(350)) * time.Millisecond):
			net.CutSockets()
		case <-stop:
			return
		}
	}
}

// smallMessages is how many messages manySmall sends.
const smallMessages = 20_000

// manySmall plays that many messages of 10 bytes over WebSockets that are cut all the
// time, and returns how long they took.
func manySmall(t *testing.T, seed uint64, start func(dialer.Config) caller) (took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		net := simnet.New(seed, simnet.Profile{RTT: 20 * time.Millisecond})
		reg := enginetest.NewRegistry(registry.Config{Handle: download(smallMessages, 10)})
		carrier := enginetest.NewCarrier(net, reg)
		c := start(dialer.Config{Carrier: carrier, Transports: []transport.Kind{transport.WS}})
		st, err := c.Open(t.Context(), wire.Open{Method: "/test/Download", Metadata: []wire.Metadatum{{Key: "test", Value: "cuts"}}})
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		cutting := make(chan struct{})
		go func() { defer close(cutting); cutOften(net, seed, stop) }()
		began := time.Now()
		_ = st.Send(t.Context(), message(nil))
		_ = st.CloseSend()
		n := 0
		for ; err == nil; n++ {
			_, err = st.Recv(t.Context())
		}
		took = time.Since(began)
		if n--; n != smallMessages || err != io.EOF {
			t.Errorf("%d messages, %v", n, err)
		}
		close(stop)
		<-cutting
		_ = c.Close(t.Context())
		carrier.Close()
		reg.Close()
	})
	return took
}

// Cuts do not make batches, acks or what is in flight small for long.
func TestDistance_cuts(t *testing.T) {
	for seed := range uint64(20) {
		took := manySmall(t, seed, simulation{}.client)
		t.Logf("seed %d: %v", seed, took)
		if took > 5*time.Second {
			t.Errorf("seed %d: %d messages took %v", seed, smallMessages, took)
		}
	}
}

// What a reader leaves unread is held in a window that did not grow.
func TestDistance_windows(t *testing.T) {
	for name := range transports() {
		t.Run(name, func(t *testing.T) {
			sharing(t, name, func(sh *share) {
				slow := sh.open("/test/Stopped")
				for range 20 {
					time.Sleep(time.Second)
					if _, err := slow.Recv(sh.t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				sent := sh.sent.Load() - 20*10_000
				t.Logf("%d bytes ahead of a slow reader", sent)
				if sent > 256<<10 {
					t.Errorf("%d bytes ahead of a slow reader", sent)
				}
				slow.Cancel()
			})
		})
	}
}
