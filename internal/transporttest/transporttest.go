// Package transporttest is the suite that every transport must pass: the real
// session engine at both ends, the transport between them, and a simnet.Network
// that loses, repeats, delays and spoils what it carries.
package transporttest

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/transport"
)

// Start puts an acceptor behind the transport on the given network, until the
// test's cleanup, and returns what reaches it.
type Start func(t *testing.T, acceptor transport.Acceptor, network Network) dialer.Carrier

// Run runs the suite. Every scenario runs in a synctest bubble over pipes,
// which also proves that no goroutine is left.
func Run(t *testing.T, kind transport.Kind, start Start) {
	for _, s := range scenarios(kind) {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s.run(t, newRig(t, kind, start, Pipes(t), s))
			})
		})
	}
	t.Run("break at each step", func(t *testing.T) { breakAtEachStep(t, kind, start) })
}

// RunTCP runs over real sockets those scenarios that need no fault.
func RunTCP(t *testing.T, kind transport.Kind, start Start) {
	before := runtime.NumGoroutine()
	for _, s := range scenarios(kind) {
		if s.tcp {
			t.Run(s.name, func(t *testing.T) { s.run(t, newRig(t, kind, start, TCP(t), s)) })
		}
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, before %d:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// scenario is one story of the suite.
type scenario struct {
	name   string
	tcp    bool // runs over TCP too
	seed   uint64
	faults simnet.Profile // what the network does
	run    func(t *testing.T, r *rig)
}

// rig is a bridge and a client of it.
type rig struct {
	kind     transport.Kind
	reg      *registry.Registry
	service  *service
	carrier  dialer.Carrier // without faults
	network  *simnet.Network
	recorder *recorder
	client   *dialer.Session
}

func newRig(t *testing.T, kind transport.Kind, start Start, network Network, s scenario) *rig {
	t.Helper()
	r := &rig{kind: kind, service: newService(), network: simnet.New(s.seed, s.faults)}
	r.reg = enginetest.NewRegistry(registry.Config{Handle: r.service.handle})
	r.carrier = start(t, r.reg, network)
	faulty := &faulty{carrier: r.carrier, net: r.network}
	r.recorder = &recorder{Carrier: faulty}
	r.client = dialer.Start(dialer.Config{Carrier: r.recorder, Transports: []transport.Kind{kind}})
	t.Cleanup(func() {
		r.network.Calm()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.client.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		r.reg.Close()
		r.network.Close()
		faulty.tasks.Wait()
	})
	return r
}
