package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/cluster"
	"github.com/pollbridge/pollbridge/internal/cluster/clustertest"
	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// fleet is one bridge, or several in a cluster of which each link lands at the next.
type fleet struct {
	regs []*registry.Registry
	net  *clustertest.Net // nil: there is one bridge
	// Of the cluster's bridges.
	nodes    []*clustertest.Node
	clusters []*cluster.Cluster

	turn atomic.Uint64
}

// bridges starts the simulation's.
func (sim simulation) bridges(cfg registry.Config) *fleet {
	if sim.cluster == nil {
		return &fleet{regs: []*registry.Registry{enginetest.NewRegistry(cfg)}}
	}
	return newFleet(sim.seed, *sim.cluster, cfg, cluster.Config{})
}

// newFleet starts three bridges of a cluster.
func newFleet(seed uint64, profile clustertest.Profile, cfg registry.Config, clusterCfg cluster.Config) *fleet {
	f := &fleet{net: clustertest.New(seed, profile)}
	for i := range 3 {
		reg, node := enginetest.NewRegistry(cfg), f.net.Node()
		own := clusterCfg
		own.Name, own.Node, own.Local, own.Fabric = "sim", fmt.Sprint("bridge ", i), reg, node
		own.MaxBatch, own.Logger = 1<<20, slog.New(slog.DiscardHandler)
		c, err := cluster.New(own)
		if err != nil {
			panic(err) // only another Fabric's can fail
		}
		f.regs, f.nodes, f.clusters = append(f.regs, reg), append(f.nodes, node), append(f.clusters, c)
	}
	return f
}

// Accept implements transport.Acceptor.
func (f *fleet) Accept(ctx context.Context, hello transport.Hello) transport.Link {
	if f.net == nil {
		return f.regs[0].Accept(ctx, hello)
	}
	return f.clusters[f.turn.Add(1)%uint64(len(f.clusters))].Accept(ctx, hello)
}

// heal ends all faults of the cluster.
func (f *fleet) heal() {
	if f.net == nil {
		return
	}
	f.net.Change(clustertest.Profile{})
	for i, a := range f.nodes {
		a.Connect(true)
		for _, b := range f.nodes[:i] {
			f.net.Partition(a, b, false)
		}
	}
}

func (f *fleet) checkIdle(t *testing.T) {
	t.Helper()
	for _, reg := range f.regs {
		checkIdle(t, reg)
	}
	for i, c := range f.clusters {
		if s := c.Stats(); s.In != 0 || s.Out != 0 || s.Peers != len(f.clusters)-1 {
			t.Errorf("bridge %d has links left, or peers missing: %+v", i, s)
		}
	}
}

func (f *fleet) close() {
	for _, c := range f.clusters {
		c.Close()
	}
	for _, reg := range f.regs {
		reg.Close()
	}
	for _, n := range f.nodes {
		n.Close()
	}
}

// apart has two bridges lose sight of each other, again and again.
func apart(ctx context.Context, r *simRun) {
	nodes := r.fleet.nodes
	for sleep(ctx, time.Duration(r.rng.IntN(20_000))*ms) == nil {
		i := r.rng.IntN(len(nodes))
		a, b := nodes[i], nodes[(i+1)%len(nodes)]
		r.fleet.net.Partition(a, b, true)
		_ = sleep(ctx, time.Duration(r.rng.IntN(30_000))*ms)
		r.fleet.net.Partition(a, b, false)
		r.blows.Add(1)
	}
}

// natsGone takes NATS away from all, again and again; bridges come back one after
// another.
func natsGone(ctx context.Context, r *simRun) {
	for sleep(ctx, time.Duration(r.rng.IntN(30_000))*ms) == nil {
		for _, n := range r.fleet.nodes {
			n.Connect(false)
		}
		_ = sleep(ctx, time.Duration(r.rng.IntN(20_000))*ms)
		for _, n := range r.fleet.nodes {
			n.Connect(true)
			_ = sleep(ctx, time.Duration(r.rng.IntN(2_000))*ms)
		}
		r.blows.Add(1)
	}
}

// serverDies takes away one of three NATS servers, again and again; the bridges that
// were connected to it soon are to another.
func serverDies(ctx context.Context, r *simRun) {
	for sleep(ctx, time.Duration(r.rng.IntN(20_000))*ms) == nil {
		dead := r.fleet.nodes[r.rng.IntN(len(r.fleet.nodes))].Server()
		var moving []*clustertest.Node
		for _, n := range r.fleet.nodes {
			if n.Server() == dead {
				n.Connect(false)
				moving = append(moving, n)
			}
		}
		for _, n := range moving {
			_ = sleep(ctx, time.Duration(r.rng.IntN(3_000))*ms)
			n.Move(fmt.Sprint("server ", r.rng.IntN(100)))
			n.Connect(true)
		}
		r.blows.Add(1)
	}
}

// dropped has NATS drop a bridge, again and again, which connects to the same server
// again at once.
func dropped(ctx context.Context, r *simRun) {
	for sleep(ctx, time.Duration(r.rng.IntN(20_000))*ms) == nil {
		n := r.fleet.nodes[r.rng.IntN(len(r.fleet.nodes))]
		n.Connect(false)
		_ = sleep(ctx, time.Duration(r.rng.IntN(400))*ms)
		n.Connect(true)
		r.blows.Add(1)
	}
}

// TestSim_cluster holds that three bridges, with a balancer in front that knows
// nothing of sessions, lose, repeat and reorder nothing either.
func TestSim_cluster(t *testing.T) {
	all := make(ledgers)
	street := simnet.Profile{RTT: 20 * ms}
	for name, sim := range map[string]simulation{
		"clean":      {cluster: &clustertest.Profile{}},
		"slow":       {cluster: &clustertest.Profile{Delay: 40 * ms}},
		"small":      {cluster: &clustertest.Profile{Delay: 2 * ms, MaxPayload: 8 << 10}, bulk: true},
		"loss":       {cluster: &clustertest.Profile{Delay: 2 * ms, Loss: 0.02}},
		"copies":     {cluster: &clustertest.Profile{Delay: 20 * ms, Copies: 0.3}},
		"cuts":       {cluster: &clustertest.Profile{Delay: 2 * ms, Loss: 0.01, Copies: 0.1}, drive: cuts, faults: 50},
		"partitions": {cluster: &clustertest.Profile{Delay: 2 * ms}, drive: apart, faults: 10},
		"nats gone":  {cluster: &clustertest.Profile{Delay: 2 * ms}, drive: natsGone, faults: 10},
		"server":     {cluster: &clustertest.Profile{Delay: 2 * ms}, drive: serverDies, faults: 10},
		"dropped":    {cluster: &clustertest.Profile{Delay: 2 * ms}, drive: dropped, faults: 10},
	} {
		for _, choice := range allChoices {
			for run := range *simRuns {
				t.Run(name+"/"+choice, func(t *testing.T) {
					sim := sim.on(choice)
					sim.profile, sim.pause, sim.most = street, 30*time.Minute, 20
					sim.seed = seedFor(t.Name(), run)
					all.add(name, sim.run(t, *simMessages))
				})
			}
		}
	}
	t.Log(all)
}

// O2, in a cluster: a client whose Hello made its session at two bridges keeps to the
// one that it has the Welcome of; a link to the other ends, and says nothing about the
// session.
func TestRule_twoOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1, clustertest.Profile{Delay: ms}, registry.Config{Handle: echo}, cluster.Config{})
		defer f.close()
		p := newPeer(t, nil)
		p.acceptor = f.clusters[0]
		welcome := p.poll(p.batch(withHello))
		p.acceptor = f.clusters[1]
		copied := p.accept(transport.WS, p.batch(withHello))
		raw, err := next(t.Context(), copied, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if other := p.parse(raw); other.Welcome == nil || other.Incarnation>>32 == welcome.Incarnation>>32 {
			t.Fatalf("the second bridge answers %+v", other)
		}
		p.incarnation = welcome.Incarnation
		if err := copied.Deliver(t.Context(), wire.AppendBatch(nil, &wire.Batch{X: p.x, Incarnation: p.incarnation})); !errors.Is(err, transport.ErrLinkDone) {
			t.Errorf("a batch for the first bridge: %v", err)
		}
		if raw, err := next(t.Context(), copied, 1<<20); len(raw) > 0 || !errors.Is(err, transport.ErrLinkDone) {
			t.Errorf("the link to the copy says %x, %v", raw, err)
		}
		copied.Close()
		for _, c := range f.clusters { // wherever it lands
			p.acceptor = c
			if b := p.poll(p.batch(nil)); b.Close != nil || b.Incarnation != p.incarnation {
				t.Errorf("an exchange is answered with %+v", b)
			}
		}
		time.Sleep(time.Minute) // more than a session without an RPC lives
		if n := f.regs[0].Stats().Sessions + f.regs[1].Stats().Sessions; n != 0 {
			t.Errorf("%d sessions left", n)
		}
	})
}

// TestCluster_bundles holds that an exchange that waits at one bridge is let go when a
// later bundle of its group carries a copy that lands at another one, and that the
// copy has the answer; no other group's is.
func TestCluster_bundles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1, clustertest.Profile{Delay: ms}, registry.Config{Handle: echo}, cluster.Config{})
		defer f.close()
		p := newPeer(t, nil)
		p.acceptor = f.clusters[0]
		p.open()
		b := p.batch(holding(10 * time.Second))
		type outcome struct {
			raw []byte
			err error
		}
		land := func(at int, group string) <-chan outcome {
			link := f.clusters[at].Accept(t.Context(), transport.Hello{
				Kind: transport.Longpoll, Session: wire.EncodeSession(p.id), Batch: wire.AppendBatch(nil, b), RemoteAddr: "192.0.2.1", Group: group,
			})
			done := make(chan outcome, 1)
			go func() {
				raw, err := next(t.Context(), link, 1<<20)
				link.Close()
				done <- outcome{raw, err}
			}()
			time.Sleep(100 * ms)
			return done
		}
		first, other := land(1, "g"), land(1, "h")
		second := land(2, "g")
		if got := <-first; !errors.Is(got.err, transport.ErrReplaced) {
			t.Errorf("the earlier bundle's ends with %v", got.err)
		}
		left := map[string]<-chan outcome{"the later bundle's": second, "another group's": other}
		for name, c := range left {
			equal(t, name+" outcomes before the hold's end", len(c), 0)
		}
		for name, c := range left { // as copies both are answered at once
			if got := <-c; got.err != nil || p.parse(got.raw).X != b.X {
				t.Errorf("%s ends with %x, %v", name, got.raw, got.err)
			}
		}
	})
}

// TestCluster_quiet holds that what comes after a quiet while over a WebSocket that
// landed at another bridge is answered as soon as it is at the session's own.
func TestCluster_quiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1, clustertest.Profile{}, registry.Config{Handle: echo}, cluster.Config{})
		defer f.close()
		p := newPeer(t, nil)
		p.acceptor = f.clusters[0]
		p.open()
		p.acceptor = f.clusters[1]
		so := p.socket(nil, openFrame(1))
		defer so.close()
		for i := range 20 {
			time.Sleep(10 * time.Second) // without a ping
			p.seq++
			began, frame := time.Now(), dataFrame(1, fmt.Sprint("message ", i))
			frame.Seq = p.seq
			if err := so.link.Deliver(t.Context(), wire.AppendBatch(nil, &wire.Batch{X: so.x, Incarnation: p.incarnation, Ack: p.ack, Frames: []wire.Frame{frame}})); err != nil {
				t.Fatal(err)
			}
			select {
			case answer := <-so.got:
				p.take(answer)
			case <-time.After(time.Minute):
			}
			if took := time.Since(began); took > 0 {
				t.Fatalf("message %d was answered after %v, if at all", i, took)
			}
		}
	})
}

// A client whose Hello made a session at two bridges goes on when the one that it has
// no Welcome of ends: on either transport, that is a link error.
func TestRule_otherOwnerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(1, clustertest.Profile{}, registry.Config{Handle: echo}, cluster.Config{})
		defer f.close()
		spoil := false
		d := &direct{reg: f.regs[0], delay: ms}
		d.fault = func(answer []byte) ([]byte, error) {
			var b wire.Batch
			if err := wire.ParseBatch(answer, &b); err != nil || !spoil || b.Welcome != nil {
				return answer, err
			}
			spoil = false
			return wire.AppendBatch(nil, &wire.Batch{
				Session: b.Session, X: b.X, Incarnation: b.Incarnation ^ 1<<40, Close: &wire.Close{Code: wire.CodeDrained, Message: "not yours"},
			}), nil
		}
		s := dialer.Start(dialer.Config{Carrier: d, Transports: []transport.Kind{transport.Longpoll}})
		for range 3 {
			st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
			if err != nil {
				t.Fatal(err)
			}
			spoil = true
			if err := st.Send(t.Context(), engine.Message{Pieces: [][]byte{[]byte("hello")}}); err != nil {
				t.Fatal(err)
			}
			if m, err := st.Recv(t.Context()); err != nil || string(m.Bytes()) != "hello" {
				t.Fatalf("got %q, %v, %+v", m.Bytes(), err, st.Status())
			}
			st.Cancel()
		}
		if spoil {
			t.Error("nothing was spoiled")
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
	})
}
