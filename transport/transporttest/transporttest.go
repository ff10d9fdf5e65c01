// Package transporttest is the suite that every transport must pass: the real
// session engine at both ends, the transport between them, and a network that
// loses, repeats, delays and spoils what it carries.
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
	t.Run("close at each step", func(t *testing.T) { closeAtEachStep(t, kind, start) })
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
	name string
	tcp  bool // runs over TCP too
	plan plan // what the network does; nil: nothing
	run  func(t *testing.T, r *rig)
}

// rig is a bridge and a client of it.
type rig struct {
	kind    transport.Kind
	reg     *registry.Registry
	service *service
	network *faults
	client  *dialer.Session
}

func newRig(t *testing.T, kind transport.Kind, start Start, network Network, s scenario) *rig {
	t.Helper()
	r := &rig{kind: kind, service: newService()}
	r.reg = enginetest.NewRegistry(registry.Config{Handle: r.service.handle})
	r.network = &faults{Carrier: start(t, r.reg, network), plan: s.plan}
	r.client = dialer.Start(dialer.Config{Carrier: r.network, Transports: []transport.Kind{kind}})
	t.Cleanup(func() {
		r.network.heal()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.client.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
		r.reg.Close()
		r.network.copies.Wait()
	})
	return r
}
