package enginetest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
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
		ann := newClient(t, reg, "ann")
		newClient(t, reg, "bob")
		equal(t, "ann's RPC", ann.begin(), "")
		ann.poll(ann.batch(func(b *wire.Batch) { b.PauseMillis = 600_000 }))
		time.Sleep(5 * time.Minute)
		equal(t, "sessions closed in a pause", len(reg.Stats().SessionsClosed), 1) // bob's, which had no RPC
		bob := newClient(t, reg, "bob")
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

// Section 7: where the table is full, sessions that never had an RPC make room for
// a principal that has fewer: the oldest of the principal that has most. That one, and
// one at its own limit, displaces its own that are away.
func TestRule_fullTable(t *testing.T) {
	cfg := registry.Config{Authenticate: byToken, Handle: untilCancelled, MaxSessions: 4}
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		bob := newClient(t, reg, "bob")
		used, first, second := newClient(t, reg, "ann"), newClient(t, reg, "ann"), newClient(t, reg, "ann")
		equal(t, "ann's RPC", used.begin(), "")
		eve := newClient(t, reg, "eve")
		for i, c := range []*client{bob, used, second, eve} {
			if a := c.poll(c.batch(nil)); a.Close != nil {
				t.Errorf("session %d: %+v", i, a.Close)
			}
		}
		if a := first.poll(first.batch(nil)); a.Close == nil {
			t.Error("ann's oldest session without an RPC is there")
		}
		equal(t, "closed", reg.Stats().SessionsClosed, map[string]uint64{engine.ReasonOverloaded: 1})
		third := newPeer(t, reg)
		a := <-third.park(third.batch(func(b *wire.Batch) {
			withHello(b)
			b.Token = "ann"
		}))
		if a.Close == nil || a.Close.Code != wire.CodeBusy || a.Close.Message != "the bridge has 4 sessions, its limit" {
			t.Errorf("one more of the principal that has most: %+v", a.Close)
		}
		time.Sleep(3 * time.Second)
		newClient(t, reg, "ann")
		if a := second.poll(second.batch(nil)); a.Close == nil {
			t.Error("ann's own session that is away and never had an RPC is there")
		}
		if a := bob.poll(bob.batch(nil)); a.Close != nil {
			t.Errorf("bob's session: %+v", a.Close)
		}
	})
	cfg = registry.Config{Authenticate: byToken, Handle: untilCancelled, MaxPerPrincipal: 2}
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		used, unused := newClient(t, reg, "ann"), newClient(t, reg, "ann")
		equal(t, "ann's RPC", used.begin(), "")
		time.Sleep(3 * time.Second)
		newClient(t, reg, "ann")
		if a := unused.poll(unused.batch(nil)); a.Close == nil {
			t.Error("the session that is away and never had an RPC is there")
		}
		if a := used.poll(used.batch(nil)); a.Close != nil {
			t.Errorf("the session with an RPC: %+v", a.Close)
		}
	})
}

// O4: a session from which no RPC came lives for 30 s without a link, whatever
// pause it asks for; with one it has what it asked for.
func TestRule_sessionWithoutRPC(t *testing.T) {
	cfg := registry.Config{Authenticate: byToken, Handle: untilCancelled}
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		pause := func(b *wire.Batch) { b.PauseMillis = 600_000 }
		idle, busy := newClient(t, reg, "ann"), newClient(t, reg, "ann")
		equal(t, "RPC", busy.begin(), "")
		idle.poll(idle.batch(pause))
		busy.poll(busy.batch(pause))
		synctest.Wait()
		time.Sleep(29 * time.Second)
		equal(t, "sessions after 29 s", reg.Stats().Sessions, 2)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		equal(t, "sessions after 31 s", reg.Stats().Sessions, 1)
	})
}

// Section 7: a principal opens so many sessions per second, and ten times as many
// at once, also when it closes them; others are not concerned.
func TestRule_rateOfSessions(t *testing.T) {
	cfg := registry.Config{Authenticate: byToken, SessionRate: 2}
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		open := func(name string) string {
			p := newPeer(t, reg)
			a := <-p.park(p.batch(func(b *wire.Batch) {
				withHello(b)
				b.Token = name
			}))
			if a.Close != nil {
				return a.Close.Message
			}
			p.incarnation = a.Incarnation
			<-p.park(p.batch(nil, wire.Frame{Type: wire.TypeClose, Close: &wire.Close{Code: wire.CodeDone}}))
			return ""
		}
		const refused = "this principal opens more than 2 sessions per second, its limit"
		for range 20 {
			equal(t, "at once", open("ann"), "")
		}
		equal(t, "one more", open("ann"), refused)
		equal(t, "another's", open("bob"), "")
		equal(t, "left of the sessions", reg.Stats().Sessions, 0)
		time.Sleep(time.Second)
		equal(t, "a second later", open("ann")+open("ann"), "")
		equal(t, "one more", open("ann"), refused)
		time.Sleep(time.Minute)
		equal(t, "principals", reg.Stats().Principals, 0)
	})
}

// Section 7: without authentication a client is its address, of IPv6 its network.
func TestRule_clientsByAddress(t *testing.T) {
	reg := enginetest.NewRegistry(registry.Config{})
	wide := enginetest.NewRegistry(registry.Config{IPv6Prefix: 48})
	whole := enginetest.NewRegistry(registry.Config{IPv6Prefix: 128})
	for _, tt := range []struct{ address, name, wide string }{
		{"192.0.2.7", "192.0.2.7", "192.0.2.7"},
		{"2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64", "2001:db8::/48"},
		{"2001:db8:0:1:ffff::9", "2001:db8:0:1::/64", "2001:db8::/48"},
		{"fe80::1%eth0", "fe80::/64", "fe80::/48"},
		{"::1", "::1", "::1"},
		{"@", "@", "@"},
	} {
		equal(t, tt.address, reg.Client(tt.address), tt.name)
		equal(t, tt.address, wide.Client(tt.address), tt.wide)
		equal(t, tt.address, whole.Client(tt.address), tt.address)
	}
}
