package enginetest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// byToken takes a client's token for its name.
func byToken(_ context.Context, _ transport.Hello, token string) (registry.Principal, error) {
	return registry.Principal{Name: token}, nil
}

func untilCancelled(st *registry.Stream) {
	<-st.Context().Done()
	st.End(wire.End{Status: 1})
}

// client is a peer of a principal, with the RPCs that it opened.
type client struct {
	*peer
	opened uint64
}

func newClient(t *testing.T, reg *registry.Registry, name string) *client {
	p := newPeer(t, reg)
	a := p.poll(p.batch(func(b *wire.Batch) {
		withHello(b)
		b.Token = name
	}))
	p.incarnation = a.Incarnation
	return &client{peer: p}
}

// begin opens an RPC, and returns the message of its refusal, if it got one.
func (c *client) begin() string {
	c.t.Helper()
	c.opened++
	a := c.poll(c.batch(holding(time.Second), openFrame(c.opened)))
	for _, f := range a.Frames {
		if f.Type == wire.TypeEnd && f.Stream == c.opened {
			if f.End.Status != 8 || f.End.Origin != wire.OriginBridge || f.End.Reason != engine.ReasonLimit && f.End.Reason != engine.ReasonOverloaded {
				c.t.Errorf("RPC %d: %+v", c.opened, f.End)
			}
			return f.End.Message
		}
	}
	return ""
}

// Section 7: the open RPCs of the bridge and of a principal are limited, over all
// its sessions, and each counts in the budget until it ends.
func TestRule_limitsOfOpenRPCs(t *testing.T) {
	cfg := registry.Config{Authenticate: byToken, Handle: untilCancelled, MaxRPCs: 4, MaxRPCsPerPrincipal: 2, RPCBytes: 1000}
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		ann, again, bob, eve := newClient(t, reg, "ann"), newClient(t, reg, "ann"), newClient(t, reg, "bob"), newClient(t, reg, "eve")
		equal(t, "ann's first", ann.begin(), "")
		equal(t, "ann's second", again.begin(), "")
		equal(t, "ann's third", ann.begin(), "this principal has 2 RPCs open, its limit")
		equal(t, "bob's first", bob.begin(), "")
		equal(t, "bob's second", bob.begin(), "")
		equal(t, "eve's first", eve.begin(), "the bridge has 4 RPCs open, its limit")
		equal(t, "bytes", reg.Stats().BufferedBytes, int64(4000))
		equal(t, "refused", reg.Stats().RefusedRPCs, map[string]uint64{engine.ReasonLimit: 1, engine.ReasonOverloaded: 1})
		_, refusal := reg.Begin("zoe")
		if refusal == nil || refusal.Message != "the bridge has 4 RPCs open, its limit" {
			t.Errorf("without a session: %+v", refusal)
		}
		ann.poll(ann.batch(nil, wire.Frame{Stream: 1, Type: wire.TypeCancel}))
		synctest.Wait()
		equal(t, "bytes after a cancel", reg.Stats().BufferedBytes, int64(3000))
		done, refusal := reg.Begin("zoe")
		if refusal != nil {
			t.Fatalf("without a session, with room: %+v", refusal)
		}
		equal(t, "bytes with one without a session", reg.Stats().BufferedBytes, int64(4000))
		done()
	})
}

// Section 7: a principal gets three times what is left, of RPCs and of bytes, so
// that there is room for one more whoever came before.
func TestRule_sharesOfPrincipals(t *testing.T) {
	for name, cfg := range map[string]registry.Config{
		"RPCs":  {MaxRPCs: 80, RPCBytes: 1},
		"bytes": {MaxBufferedBytes: 80_000, RPCBytes: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Authenticate, cfg.Handle = byToken, untilCancelled
			bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
				all := func(name string) int {
					c := newClient(t, reg, name)
					for n := range 100 {
						if c.begin() != "" {
							return n
						}
					}
					return 100
				}
				equal(t, "ann's RPCs", all("ann"), 60)
				equal(t, "bob's RPCs", all("bob"), 15)
				equal(t, "eve's RPCs", all("eve"), 4)
			})
		})
	}
}

// D8: while three quarters of the RPCs are open, clients that are away get no
// longer than the resume window, whatever they asked for.
func TestRule_pauseUnderPressure(t *testing.T) {
	cfg := registry.Config{Authenticate: byToken, Handle: untilCancelled, MaxRPCs: 8}
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		ann, bob := newClient(t, reg, "ann"), newClient(t, reg, "bob")
		equal(t, "ann's RPC", ann.begin(), "")
		ann.poll(ann.batch(func(b *wire.Batch) { b.PauseMillis = 600_000 }))
		time.Sleep(5 * time.Minute)
		equal(t, "sessions closed in a pause", len(reg.Stats().SessionsClosed), 1) // bob's, which had no RPC
		bob = newClient(t, reg, "bob")
		for range 4 {
			equal(t, "bob's RPC", bob.begin(), "")
		}
		synctest.Wait()
		equal(t, "RPCs without pressure", reg.Stats().RPCs, 5)
		equal(t, "bob's RPC", bob.begin(), "")
		synctest.Wait()
		time.Sleep(time.Second)
		equal(t, "RPCs under pressure", reg.Stats().RPCs, 5)
		equal(t, "sessions expired", reg.Stats().SessionsClosed[engine.ReasonExpired], uint64(2))
	})
}
