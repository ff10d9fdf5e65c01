// Package simnet is a faulty network for tests: it carries exchanges and
// sockets between a client and a bridge, late, twice, spoiled or not at all.
// It is meant for testing/synctest bubbles, where its minutes take no time.
//
// What happens to the n-th exchange and the n-th socket follows from the seed
// and n alone.
package simnet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Profile says what a network is like.
type Profile struct {
	RTT    time.Duration     // round-trip time
	Jitter time.Duration     // most that is added to each way
	Loss   float64           // share of traversals that need sending again
	Burst  time.Duration     // how long losses last that come together, in that share of the time; 0: each comes alone
	Rates  map[Fault]float64 // share of exchanges, or sockets, that are spoiled so
	Cut    time.Duration     // age at which Cut cuts; 0: 10 s
	Kill   int               // bytes, both ways, after which a socket is reset; 0: never
	Rate   int               // bytes a second that all carriages share, each way; 0: no limit
}

// Network is one client's way to a bridge. Its methods may be called by several
// goroutines at once.
type Network struct {
	seed  uint64
	began time.Time

	ctx    context.Context // of what goes on without the client
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup

	mu        sync.Mutex
	profile   Profile
	plan      plan
	exchanges uint64
	dials     uint64
	steps     int
	at        map[int]func() // by step
	counts    map[Fault]int
	past      [][]byte             // answers, for Stale
	passed    chan struct{}        // closed when the next exchange passes
	flights   map[*flight]struct{} // exchanges in flight
	sockets   map[*socket]struct{} // sockets that are open
	gate      chan struct{}        // not nil: frozen until it is closed
	down      bool
	busy      [2]time.Time // until when each way is taken, where it has a rate
	muted     [2]bool      // exchanges, towards the bridge and towards the client
}

type flight struct{ cancel context.CancelCauseFunc }

// New returns a Network.
func New(seed uint64, profile Profile) *Network {
	n := &Network{
		seed: seed, began: time.Now(), profile: profile, plan: plan{rates: profile.Rates},
		counts: make(map[Fault]int), at: make(map[int]func()), passed: make(chan struct{}),
		flights: make(map[*flight]struct{}), sockets: make(map[*socket]struct{}),
	}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	return n
}

// Close drops everything, copies that are still under way among it, and waits
// for what they started.
func (n *Network) Close() {
	n.Down()
	n.Thaw()
	n.cancel(errCut)
	n.tasks.Wait()
}

// Inject spoils the next exchanges, or sockets, with these faults, one each.
func (n *Network) Inject(faults ...Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plan.queued = append(n.plan.queued, faults...)
}

// Pending is how many injected faults have not struck.
func (n *Network) Pending() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.plan.queued)
}

// Change replaces the network's profile.
func (n *Network) Change(profile Profile) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.profile = profile
	n.plan.rates = profile.Rates
}

// Calm ends all faults but those already under way.
func (n *Network) Calm() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plan = plan{}
	n.profile.Loss = 0
}

// Counts returns how often each fault struck.
func (n *Network) Counts() map[Fault]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := make(map[Fault]int, len(n.counts))
	maps.Copy(c, n.counts)
	return c
}

// At calls f in the given step, which must be to come: before the network carries
// a request, an answer, a handshake's way or a piece of a socket. Steps count from
// 1.
func (n *Network) At(step int, f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.at[step] = f
}

// Steps returns how many steps there were.
func (n *Network) Steps() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.steps
}

func (n *Network) step() {
	n.mu.Lock()
	n.steps++
	f := n.at[n.steps]
	n.mu.Unlock()
	if f != nil {
		f()
	}
}

// Exchanges is how many were begun.
func (n *Network) Exchanges() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return int(n.exchanges)
}

// Cut resets every socket and every exchange in flight.
func (n *Network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for f := range n.flights {
		f.cancel(errCut)
	}
	n.cutSockets()
}

// CutSockets resets every socket.
func (n *Network) CutSockets() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutSockets()
}

func (n *Network) cutSockets() {
	for s := range n.sockets {
		s.close()
	}
}

// Down cuts everything and refuses what is new, as on a machine asleep, until
// Up.
func (n *Network) Down() {
	n.mu.Lock()
	n.down = true
	n.mu.Unlock()
	n.Cut()
}

// Up ends Down.
func (n *Network) Up() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
}

// Freeze holds everything where it is until Thaw.
func (n *Network) Freeze() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gate == nil {
		n.gate = make(chan struct{})
	}
}

// Thaw ends Freeze.
func (n *Network) Thaw() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gate != nil {
		close(n.gate)
		n.gate = nil
	}
}

var (
	errCut     = errors.New("simnet: reset by peer")
	errRefused = errors.New("simnet: no route to host")
)

// draw is what the seed has for one exchange or socket.
type draw struct {
	n     *Network
	rng   *rand.Rand
	fault Fault
}

func (n *Network) draw(count *uint64, stream uint64, all []Fault) (*draw, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*count++
	d := &draw{n: n, rng: rand.New(rand.NewPCG(n.seed, *count<<1|stream))} //nolint:gosec // a test's dice
	if n.down {
		return nil, errRefused
	}
	if d.fault = n.plan.pick(d.rng, all); d.fault != "" {
		n.counts[d.fault]++
	}
	return d, nil
}

func (d *draw) coin() bool { return d.rng.IntN(2) == 0 }

// within is a random time up to most.
func (d *draw) within(most time.Duration) time.Duration {
	return time.Duration(d.rng.Int64N(int64(most)))
}

// way is how long a traversal takes that begins after that time.
func (d *draw) way(after time.Duration) time.Duration {
	d.n.mu.Lock()
	p := d.n.profile
	d.n.mu.Unlock()
	t := p.RTT / 2
	if p.Jitter > 0 {
		t += d.within(p.Jitter)
	}
	for again := max(200*time.Millisecond, p.RTT); d.lost(&p, after+t); again *= 2 {
		t += again
	}
	return t
}

// lost reports whether what is sent after that time is lost on the way.
func (d *draw) lost(p *Profile, after time.Duration) bool {
	switch {
	case p.Loss == 0:
		return false
	case p.Burst == 0:
		return d.rng.Float64() < p.Loss
	}
	// Of each period one part is a burst, anywhere in it.
	period := time.Duration(float64(p.Burst) / p.Loss)
	at := time.Since(d.n.began) + after
	rng := rand.New(rand.NewPCG(d.n.seed, uint64(at/period))) //nolint:gosec // a test's dice
	begins := time.Duration(rng.Int64N(int64(period - p.Burst)))
	return at%period >= begins && at%period < begins+p.Burst
}

// Ways.
const (
	towardsBridge = 0
	towardsClient = 1
)

// queued is how long n bytes wait for their turn and pass, at the network's rate.
func (n *Network) queued(way, size int) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.profile.Rate == 0 {
		return 0
	}
	now := time.Now()
	if n.busy[way].Before(now) {
		n.busy[way] = now
	}
	n.busy[way] = n.busy[way].Add(time.Duration(size) * time.Second / time.Duration(n.profile.Rate))
	return n.busy[way].Sub(now)
}

// travel takes one traversal's time, and longer while the network is frozen.
func (d *draw) travel(ctx context.Context, way, size int) error {
	d.n.step()
	queued := d.n.queued(way, size)
	if err := sleep(ctx, queued+d.way(queued)); err != nil {
		return err
	}
	return d.n.pass(ctx)
}

// pass waits while the network is frozen.
func (n *Network) pass(ctx context.Context) error {
	n.mu.Lock()
	gate := n.gate
	n.mu.Unlock()
	if gate == nil {
		return nil
	}
	select {
	case <-gate:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Answer is what a client sees of an exchange.
type Answer struct {
	Status int
	Body   []byte
}

// Err is nil for status 200.
func (a *Answer) Err() error {
	if a.Status == http.StatusOK {
		return nil
	}
	return fmt.Errorf("simnet: status %d", a.Status)
}
