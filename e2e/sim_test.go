package e2e_test

import (
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// Flags of the simulation. A failing run prints its seed.
var (
	simSeed = flag.Uint64("sim.seed", 1, "seed of the simulation")
	simRPCs = flag.Int("sim.rpcs", 12, "RPCs of each simulated channel")
	every   = flag.Int("every", 5, "of long tables take every so many-th row only: the networks and faults, statuses and embeddings")
)

// sampled tells whether the i-th is one of those that -every takes, another set
// with each seed.
func sampled(i int) bool { return (i+int(*simSeed))%*every == 0 }

// inWeather makes a client whose way to the bridge is a faulty network.
func (w *world) inWeather(t *testing.T, choice []string, net *simnet.Network) *client.Channel {
	t.Helper()
	pool := &http.Transport{DialContext: w.dial, DisableCompression: true}
	ch, err := client.New("http://bridge.test", client.Config{
		Transports: choice,
		Pause:      30 * time.Minute,
		HTTPClient: &http.Client{Transport: net.RoundTripper(pool)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		net.Close()
		pool.CloseIdleConnections()
	})
	return ch
}

// weather are the kinds of network, named after what is seen in the wild.
func weather() map[string]simnet.Profile {
	const rtt = 20 * time.Millisecond
	all := map[string]simnet.Profile{
		"clean":                {RTT: rtt},
		"RTT 200 ms loss 2 %":  {RTT: 200 * time.Millisecond, Loss: 0.02},
		"RTT 800 ms loss 10 %": {RTT: 800 * time.Millisecond, Loss: 0.1},
		"one-way loss": {RTT: rtt, Rates: map[simnet.Fault]float64{
			simnet.Swallow: 0.05, simnet.Deaf: 0.05, simnet.MuteUp: 0.2, simnet.MuteDown: 0.2,
		}},
	}
	mixture := make(map[simnet.Fault]float64)
	for _, f := range append(simnet.ExchangeFaults(), simnet.SocketFaults()...) {
		all[string(f)] = simnet.Profile{RTT: rtt, Rates: map[simnet.Fault]float64{f: 0.2}, Cut: 4 * time.Second}
		mixture[f] = 0.03
	}
	all["mixture"] = simnet.Profile{RTT: 50 * time.Millisecond, Jitter: 50 * time.Millisecond, Loss: 0.02, Rates: mixture}
	return all
}

// simulated are the scenarios that do not depend on the clock.
var simulated = []string{"plain", "empty", "many", "fragments", "large", "metadata", "failure", "details", "own code", "early end", "slow"}

// scene gives a scenario of the simulation.
func scene(name string) scenario {
	if name == "slow" {
		return scenario{size: 500, requests: 20, script: &echopb.Script{Replies: 20, DelayMs: 150, Headers: pairs, Trailers: pairs}}
	}
	return scenarios[name]
}

// TestSim_asDirectly: RPCs of all kinds over the real transports in bad
// weather. Each transcript equals that of a direct call, and each RPC starts at
// the backend once, though copies of requests arrive minutes later.
func TestSim_asDirectly(t *testing.T) {
	networks, i := weather(), 0
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		for _, choice := range slices.Sorted(maps.Keys(transports)) {
			if i++; !sampled(i) {
				continue
			}
			t.Run(name+"/"+choice, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { simulate(t, transports[choice], networks[name]) })
			})
		}
	}
}

func simulate(t *testing.T, choice []string, profile simnet.Profile) {
	h := fnv.New32a()
	fmt.Fprint(h, t.Name())
	seed := *simSeed<<32 | uint64(h.Sum32())
	w := newWorld(t, choice, bridge.Config{})
	net := simnet.New(seed, simnet.Profile{RTT: profile.RTT})
	ch := w.inWeather(t, choice, net)
	play(t, kinds["unary"], ch, scene("plain")) // the session is open before the weather turns
	net.Change(profile)
	began := time.Now()
	defer func() {
		if t.Failed() {
			t.Logf("seed %d; %v of virtual time; %d exchanges; faults %v", *simSeed, time.Since(began), net.Exchanges(), net.Counts())
		}
	}()

	type rpc struct{ kind, scene string }
	rng := rand.New(rand.NewPCG(seed, 0))
	names := slices.Sorted(maps.Keys(kinds))
	rpcs := make(chan rpc, *simRPCs)
	want := make(map[rpc]string)
	for range *simRPCs {
		r := rpc{names[rng.IntN(len(names))], simulated[rng.IntN(len(simulated))]}
		if want[r] == "" {
			want[r] = play(t, kinds[r.kind], w.Direct, scene(r.scene))
		}
		rpcs <- r
	}
	close(rpcs)
	before := w.Service.Counts().Started
	var callers sync.WaitGroup
	for range 6 {
		callers.Go(func() {
			for r := range rpcs {
				if got := play(t, kinds[r.kind], ch, scene(r.scene)); got != want[r] {
					t.Errorf("%s, %s: through the bridge:\n%.600s\ndirectly:\n%.600s", r.kind, r.scene, got, want[r])
				}
			}
		})
	}
	callers.Wait()
	net.Calm()
	check(t, ch.Close())
	time.Sleep(6 * time.Minute) // copies of requests that are still under way
	if c := w.Service.Counts(); c.Started-before != int64(*simRPCs) || c.Active != 0 {
		t.Errorf("%d RPCs started at the backend and %d are active, want %d and 0", c.Started-before, c.Active, *simRPCs)
	}
}

// TestIdle: the first RPC after any time of doing nothing is as the first of
// all.
func TestIdle(t *testing.T) {
	for _, idle := range []time.Duration{10 * time.Second, 29 * time.Second, time.Minute, 100 * time.Second, time.Hour} {
		t.Run(idle.String(), func(t *testing.T) {
			each(t, func(t *testing.T, choice []string) {
				w := newWorld(t, choice, bridge.Config{})
				want := play(t, kinds["unary"], w.Direct, scene("plain"))
				for range 2 {
					time.Sleep(idle)
					if got := play(t, kinds["unary"], w.Bridged, scene("plain")); got != want {
						t.Errorf("after %v:\n%.600s\nwant\n%.600s", idle, got, want)
					}
				}
			})
		})
	}
}
