package enginetest_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/simnet"
)

const ms = time.Millisecond

// sockets are the choices that open a WebSocket.
var sockets = []string{"ws", "auto", "switch"}

// profiles are the kinds of bad weather, named after what is seen in the wild.
func profiles() map[string]simulation {
	p := map[string]simulation{
		"clean": {profile: simnet.Profile{RTT: 20 * ms}},
	}
	add := func(f simnet.Fault, pause time.Duration, choices ...string) {
		p[string(f)] = simulation{
			profile: simnet.Profile{RTT: 20 * ms, Rates: map[simnet.Fault]float64{f: 0.2}, Cut: 4 * time.Second},
			pause:   30 * time.Minute, choices: choices, drive: reopens, faults: 10,
		}
		p[string(f)+" 20 in a row"] = simulation{
			profile: simnet.Profile{RTT: 20 * ms, Cut: 4 * time.Second}, pause: 30 * time.Minute, drive: inRow(f, pause), choices: choices,
			faults: 21,
		}
	}
	for _, f := range simnet.ExchangeFaults() {
		add(f, time.Second, "longpoll", "auto", "switch")
	}
	for _, f := range simnet.SocketFaults() {
		add(f, 20*time.Second, sockets...)
	}
	p["buffer until close"] = simulation{profile: simnet.Profile{RTT: 20 * ms, Rates: map[simnet.Fault]float64{simnet.MuteDown: 1}}, pause: 30 * time.Minute, choices: sockets[1:], drive: reopens, faults: 2}
	p["hold first until second"] = simulation{profile: simnet.Profile{RTT: 20 * ms, Rates: map[simnet.Fault]float64{simnet.HoldAnswer: 0.4, simnet.OneBehind: 0.4}}, pause: 30 * time.Minute, drive: reopens, faults: 20}
	p["one-way loss"] = simulation{profile: simnet.Profile{RTT: 20 * ms, Rates: map[simnet.Fault]float64{
		simnet.Swallow: 0.05, simnet.Deaf: 0.05, simnet.MuteUp: 0.3, simnet.MuteDown: 0.3,
	}}, pause: 30 * time.Minute, drive: reopens, faults: 20}
	p["rtt 200 ms loss 2 %"] = simulation{profile: simnet.Profile{RTT: 200 * ms, Jitter: 50 * ms, Loss: 0.02}}
	p["rtt 800 ms loss 10 %"] = simulation{profile: simnet.Profile{RTT: 800 * ms, Jitter: 100 * ms, Loss: 0.1}}
	p["freeze"] = simulation{profile: simnet.Profile{RTT: 20 * ms}, pause: 30 * time.Minute, drive: freezes(20*time.Minute, time.Minute), faults: 5}
	p["clock jump"] = simulation{profile: simnet.Profile{RTT: 20 * ms}, pause: 30 * time.Minute, drive: sleeps(20*time.Minute, time.Minute), faults: 5}
	for name, sim := range p {
		if _, inRow := strings.CutSuffix(name, " in a row"); !inRow {
			sim.bulk, sim.most = true, 20
			p[name+", bulk"] = sim
		}
	}
	p["cuts"] = simulation{profile: simnet.Profile{RTT: 20 * ms}, drive: cuts, faults: 50}
	return p
}

// freezes holds all that is under way for up to so long, again and again, with
// time between for a retry to get through.
func freezes(most, between time.Duration) func(context.Context, *simRun) {
	return outages(most, between, (*simnet.Network).Freeze, (*simnet.Network).Thaw)
}

// sleeps takes the network away for up to so long, again and again.
func sleeps(most, between time.Duration) func(context.Context, *simRun) {
	return outages(most, between, (*simnet.Network).Down, (*simnet.Network).Up)
}

func outages(most, between time.Duration, begin, end func(*simnet.Network)) func(context.Context, *simRun) {
	return func(ctx context.Context, r *simRun) {
		for sleep(ctx, time.Duration(r.rng.IntN(2000))*ms) == nil {
			begin(r.net)
			_ = sleep(ctx, time.Duration(r.rng.Int64N(int64(most))))
			end(r.net)
			r.blows.Add(1)
			_ = sleep(ctx, between)
		}
	}
}

// reopens cuts all there is now and then, so that another socket is opened.
func reopens(ctx context.Context, r *simRun) {
	for sleep(ctx, time.Duration(r.rng.Int64N(int64(10*time.Second)))) == nil {
		r.net.Cut()
	}
}

// cuts resets everything every one to ten round trips: 20 to 200 ms on a good
// network.
func cuts(ctx context.Context, r *simRun) {
	rtt := max(r.profile.RTT+2*r.profile.Jitter, 20*ms)
	for sleep(ctx, rtt+time.Duration(r.rng.Int64N(int64(9*rtt)))) == nil {
		r.net.Cut()
		r.blows.Add(1)
	}
}

// TestSim holds that no weather inside the resume window loses, repeats or
// reorders a message, changes a status or starts an RPC twice.
func TestSim(t *testing.T) {
	all := make(ledgers)
	networks, n := profiles(), int(*simSeed)
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		sim := networks[name]
		if sim.choices == nil {
			sim.choices = allChoices
		}
		for _, choice := range sim.choices {
			if n++; n%*simEvery != 0 {
				continue
			}
			for run := range *simRuns {
				t.Run(name+"/"+choice, func(t *testing.T) {
					sim := sim.on(choice)
					sim.seed = seedFor(t.Name(), run)
					all.add(name, sim.run(t, *simMessages))
				})
			}
		}
	}
	t.Log(all)
}

// TestSim_mixtures is the same under mixtures of everything, hundreds of
// them.
func TestSim_mixtures(t *testing.T) {
	all := make(ledgers)
	for run := range *simMixtures {
		seed := seedFor("mixture", run)
		t.Run(fmt.Sprint(run), func(t *testing.T) { all.add("mixtures", mixture(seed).run(t, *simMessages)) })
	}
	t.Log(all)
}

// mixture is the weather that a seed gives.
func mixture(seed uint64) simulation {
	rng := rand.New(rand.NewPCG(seed, 5))
	choice := allChoices[rng.IntN(len(allChoices))]
	p := simnet.Profile{
		RTT:   []time.Duration{2 * ms, 20 * ms, 200 * ms, 800 * ms}[rng.IntN(4)],
		Loss:  []float64{0, 0, 0.02, 0.1}[rng.IntN(4)],
		Rates: make(map[simnet.Fault]float64),
		Cut:   time.Duration(1+rng.IntN(20)) * time.Second,
	}
	p.Jitter = time.Duration(rng.Int64N(int64(p.RTT)))
	for _, f := range faultsOn(choice) {
		if rng.IntN(3) == 0 {
			p.Rates[f] = 0.15 * rng.Float64()
		}
	}
	sim := simulation{profile: p, pause: 30 * time.Minute, bulk: rng.IntN(8) == 0, most: 20, faults: min(5*len(p.Rates), 20)}
	sim.drive = []func(context.Context, *simRun){
		reopens, reopens, cuts, freezes(8*time.Minute, 5*time.Minute), sleeps(8*time.Minute, 5*time.Minute),
	}[rng.IntN(5)]
	sim = sim.on(choice)
	sim.seed = seed
	return sim
}

// faultsOn are those that a choice of transports can meet.
func faultsOn(choice string) []simnet.Fault {
	switch choice {
	case "longpoll":
		return simnet.ExchangeFaults()
	case "ws":
		return simnet.SocketFaults()
	}
	return append(simnet.ExchangeFaults(), simnet.SocketFaults()...)
}
