package enginetest_test

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/cluster/clustertest"
	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/transport"
)

// Flags of the simulation. A failing run prints the seed that it had.
var (
	simSeed     = flag.Uint64("sim.seed", 1, "seed of the simulation")
	simMessages = flag.Int("sim.messages", 100, "messages of each simulated session, at least")
	simRuns     = flag.Int("sim.runs", 1, "runs of each profile, each with a seed of its own")
	simEvery    = flag.Int("sim.every", 20, "run every so many-th profile only, another set with each seed")
	simMixtures = flag.Int("sim.mixtures", 50, "mixtures of weather")
	simModels   = flag.Int("sim.models", 20, "scripts of TestModel")
)

// simulation is one session in bad weather.
type simulation struct {
	seed    uint64
	choices []string // of transports; nil: all
	kinds   []transport.Kind
	profile simnet.Profile
	pause   time.Duration // resume window asked for
	// drive, if not nil, makes trouble while RPCs run, until ctx ends.
	drive  func(ctx context.Context, r *simRun)
	most   int                        // messages of an RPC, each way; 0: 40
	bulk   bool                       // long messages
	faults int                        // the run goes on until the network has done so many, and drive
	start  func(dialer.Config) caller // the client's engine; nil: Go's
	// cluster, if not nil, has three bridges on such a net, and links land at each
	// of them in turn.
	cluster *clustertest.Profile
}

// simRun is a simulation that runs.
type simRun struct {
	simulation
	net    *simnet.Network
	fleet  *fleet
	s      caller
	rng    *rand.Rand // drive's
	oracle *oracle
	want   int          // messages
	blows  atomic.Int64 // that drive dealt
	began  time.Time
}

// stuckAfter is the virtual time without a single message after which a run
// counts as stuck, patience how long it goes on for rare faults alone.
const (
	stuckAfter = 3 * time.Hour
	patience   = 6 * time.Hour
)

// run runs the simulation in a bubble of its own, until that many messages
// have passed.
func (sim simulation) run(t *testing.T, want int) (l ledger) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if sim.most == 0 {
			sim.most = 40
		}
		o := newOracle(sim.most)
		bridges := sim.bridges(registry.Config{Handle: o.handle, ResumeWindow: sim.window()})
		net := simnet.New(sim.seed, simnet.Profile{RTT: sim.profile.RTT})
		carrier := enginetest.NewCarrier(net, bridges)
		s := sim.client(dialer.Config{Carrier: carrier, Transports: sim.kinds, Pause: sim.pause})
		r := &simRun{simulation: sim, net: net, fleet: bridges, s: s, rng: rand.New(rand.NewPCG(sim.seed, 3)), oracle: o, want: want, began: time.Now()}
		r.connect(t)
		net.Change(sim.profile)
		r.work(t)
		elapsed := time.Since(r.began)
		net.Calm()
		net.Thaw()
		net.Up()
		bridges.heal()
		if err := s.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
		time.Sleep(max(10*time.Minute, sim.window())) // copies still under way
		carrier.Close()
		synctest.Wait()
		o.report(t)
		bridges.checkIdle(t)
		bridges.close()
		l = o.ledger
		l.sessions, l.messages, l.virtual = 1, int(o.passed.Load()), elapsed
		l.exchanges, l.faults = net.Exchanges(), r.spoiled()
		if t.Failed() {
			t.Logf("seed %d; %v, %+v; %+v; faults %v; err %v", sim.seed, sim.kinds, sim.profile, l, net.Counts(), s.Err())
		}
	})
	return l
}

// client starts the client's engine.
func (sim simulation) client(cfg dialer.Config) caller {
	if cfg.Multiplexed == nil {
		cfg.Multiplexed = func() bool { return sim.seed%2 == 1 }
	}
	if sim.start != nil {
		return sim.start(cfg)
	}
	return goEngine{dialer.Start(cfg)}
}

// window is the resume window that the bridge gives of itself: an engine that
// is not Go's cannot ask for another.
func (sim simulation) window() time.Duration {
	if sim.start == nil {
		return 0
	}
	return sim.pause
}

// connect waits for the Welcome: what comes before it is no part of a session.
func (r *simRun) connect(t *testing.T) {
	r.oracle.call(t.Context(), r.s, scriptOf(r.seed<<20-1, r.most))
}

// work runs RPCs, eight at a time, until enough messages have passed.
func (r *simRun) work(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	driving, stop := context.WithCancel(ctx)
	var driver, workers sync.WaitGroup
	driver.Go(func() { r.watch(t, driving, cancel) })
	if r.drive != nil {
		driver.Go(func() { r.drive(driving, r) })
	}
	for w := range 8 {
		workers.Go(func() {
			for i := uint64(0); r.more(ctx); i++ {
				if int(r.oracle.passed.Load()) >= r.want { // trouble still goes on: take it slowly
					_ = sleep(ctx, time.Minute)
				}
				seed := (r.seed<<20 | uint64(w)<<16 | i) &^ bulky
				if r.bulk {
					seed |= bulky
				}
				r.oracle.call(ctx, r.s, scriptOf(seed, r.most))
			}
		})
	}
	workers.Wait()
	stop()
	driver.Wait()
}

// watch ends a run in which nothing has come through for long.
func (r *simRun) watch(t *testing.T, ctx context.Context, end context.CancelCauseFunc) {
	for seen := int64(-1); seen != r.oracle.passed.Load(); {
		seen = r.oracle.passed.Load()
		if sleep(ctx, stuckAfter) != nil {
			return
		}
	}
	r.dump(t)
	end(fmt.Errorf("no message in %v", stuckAfter))
}

// dump shows both ends of a run that is stuck.
func (r *simRun) dump(t *testing.T) {
	t.Log("stuck; client:", r.s.dump())
	for _, reg := range r.fleet.regs {
		t.Logf("bridge: %+v", reg.Stats())
	}
}

// more tells whether another RPC is to be made.
func (r *simRun) more(ctx context.Context) bool {
	r.oracle.mu.Lock()
	failed := len(r.oracle.failures) > 0
	r.oracle.mu.Unlock()
	return !failed && ctx.Err() == nil && (!r.enough() || r.net.Pending() > 0)
}

func (r *simRun) enough() bool {
	return int(r.oracle.passed.Load()) >= r.want && (r.spoiled() >= r.faults || time.Since(r.began) > patience)
}

// spoiled is how many faults there were.
func (r *simRun) spoiled() int {
	n := int(r.blows.Load())
	for _, count := range r.net.Counts() {
		n += count
	}
	return n
}

// checkIdle holds a Registry to be as if nothing had ever been.
func checkIdle(t *testing.T, reg *registry.Registry) {
	t.Helper()
	st := reg.Stats()
	if st.Sessions != 0 || st.Streams != 0 || st.BufferedBytes != 0 || st.ReservedBytes != 0 || st.Links[transport.Longpoll] != 0 || st.Links[transport.WS] != 0 {
		t.Errorf("left behind: %+v", st)
	}
}

// seedFor gives a run's seed.
func seedFor(name string, run int) uint64 {
	h := fnv.New32a()
	fmt.Fprint(h, name)
	return *simSeed*1_000_003 + uint64(run)*7919 + uint64(h.Sum32())
}

// choices are the transports of a session; "switch" changes them at random.
var allChoices = []string{"longpoll", "ws", "auto", "switch"}

func (sim simulation) on(choice string) simulation {
	sim.kinds = transports()[choice]
	if choice == "switch" {
		sim.kinds = transports()["auto"]
		inner := sim.drive
		sim.drive = func(ctx context.Context, r *simRun) {
			var wg sync.WaitGroup
			wg.Go(func() { r.switching(ctx) })
			if inner != nil {
				inner(ctx, r)
			}
			wg.Wait()
		}
	}
	return sim
}

// switching changes the transport at random: sockets die, fall silent in one
// or both directions, and come back.
func (r *simRun) switching(ctx context.Context) {
	rng := rand.New(rand.NewPCG(r.seed, 4))
	for sleep(ctx, time.Duration(rng.Int64N(int64(3*time.Second)))) == nil {
		switch rng.IntN(6) {
		case 0:
			r.s.Kill()
		case 1:
			r.net.Cut()
		case 2:
			r.net.MuteSockets(true, true)
		case 3:
			r.net.MuteSockets(true, false)
		case 4:
			r.net.MuteSockets(false, true)
		case 5:
			r.s.forgetDemotion()
		}
	}
}

// inRow injects a fault 20 times in a row, again whenever messages have got
// through since.
func inRow(f simnet.Fault, pause time.Duration) func(context.Context, *simRun) {
	return func(ctx context.Context, r *simRun) {
		for passed := int64(0); ; passed = r.oracle.passed.Load() {
			for r.oracle.passed.Load() == passed {
				if sleep(ctx, time.Duration(500+r.rng.IntN(1000))*time.Millisecond) != nil {
					return
				}
			}
			r.net.Inject(slices.Repeat([]simnet.Fault{f}, 20)...)
			for r.net.Pending() > 0 {
				if sleep(ctx, pause) != nil {
					return
				}
				if len(r.kinds) > 1 || r.kinds[0] == transport.WS {
					r.net.Cut() // sockets are spoiled when they open, exchanges made when there is none
					r.s.forgetDemotion()
				}
			}
		}
	}
}
