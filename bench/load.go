package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// kind is what an RPC does.
type kind int

const (
	unary kind = iota
	pingPong
	stream // a message received is one operation
)

// A scenario is a load: on each of sessions, each RPCs at a time.
type scenario struct {
	name           string
	kind           kind
	sessions, each int
	size           int // bytes of a message's value
	ways           []string
}

func (s scenario) value() []byte { return bytes.Repeat([]byte{'x'}, s.size) }

// A driver makes operations until a time, and reports how long each took.
type driver func(until time.Time, done func(time.Duration)) error

// A way is one way from here to the backend, or to what stands for one.
type way struct {
	name string
	hop  *process // what is measured; nil: nothing stands between
	open func(ctx context.Context, s scenario) ([]driver, func(), error)
}

// calling makes a driver of a function that makes one operation.
func calling(call func() error) driver {
	return func(until time.Time, done func(time.Duration)) error {
		for now := time.Now(); ; {
			if err := call(); err != nil {
				return err
			}
			before := now
			now = time.Now()
			done(now.Sub(before))
			if !now.Before(until) {
				return nil
			}
		}
	}
}

// sample is what one window showed. Times are per operation.
type sample struct {
	rate     float64 // operations a second
	p50, p99 time.Duration
	hop      perOperation
	client   perOperation // this process's, or a page's main thread's
}

type perOperation struct {
	cpu      time.Duration
	mallocs  float64
	requests float64
}

// take takes one sample of a scenario on a way.
func (s scenario) take(ctx context.Context, cfg config, w *way) (_ sample, err error) {
	ctx, cancel := context.WithCancel(ctx) // without a deadline, which RPCs would have to carry
	defer cancel()
	drivers, end, err := w.open(ctx, s)
	if err != nil {
		return sample{}, err
	}
	defer end()
	limit := time.AfterFunc(20*time.Second+10*cfg.window, func() { // frees drivers that hang
		cancel()
		end()
	})
	defer limit.Stop()
	if _, _, err := runAll(drivers, cfg.warmup); err != nil {
		return sample{}, fmt.Errorf("warming up: %w", err)
	}
	if err := cfg.startProfile(s, w); err != nil {
		return sample{}, err
	}
	hop, err := w.hop.usage()
	if err != nil {
		return sample{}, err
	}
	own := ownUsage()
	latencies, took, err := runAll(drivers, cfg.window)
	ownAfter := ownUsage()
	if err != nil {
		return sample{}, err
	}
	after, err := w.hop.usage()
	if err == nil {
		err = cfg.endProfile(s, w)
	}
	if err != nil {
		return sample{}, err
	}
	slices.Sort(latencies)
	n := len(latencies)
	return sample{
		rate: float64(n) / took.Seconds(),
		p50:  latencies[n/2], p99: latencies[n*99/100],
		hop: per(n, hop, after), client: per(n, own, ownAfter),
	}, nil
}

func per(n int, before, after usage) perOperation {
	return perOperation{
		cpu:      (after.CPU - before.CPU) / time.Duration(n),
		mallocs:  float64(after.Mallocs-before.Mallocs) / float64(n),
		requests: float64(after.Requests-before.Requests) / float64(n),
	}
}

var errNothing = errors.New("nothing was done in the window")

// runAll lets all drivers run for a while.
func runAll(drivers []driver, window time.Duration) ([]time.Duration, time.Duration, error) {
	var wg sync.WaitGroup
	errs := make([]error, len(drivers))
	times := make([][]time.Duration, len(drivers))
	start := time.Now()
	for i, drive := range drivers {
		wg.Go(func() {
			errs[i] = drive(start.Add(window), func(d time.Duration) { times[i] = append(times[i], d) })
		})
	}
	wg.Wait()
	took := time.Since(start)
	all := slices.Concat(times...)
	err := errors.Join(errs...)
	if err == nil && len(all) == 0 {
		err = errNothing
	}
	return all, took, err
}

// key names the samples of one scenario on one way.
type key struct{ scenario, way string }

// results are all samples, one of each round; a way that failed has none from
// then on, and its error here.
type results struct {
	samples map[key][]sample
	errs    map[key]error
}

// measure takes one sample of each scenario on each way in each round.
func measure(ctx context.Context, cfg config, scenarios []scenario, ways map[string]*way) *results {
	byName := map[string]scenario{}
	var keys []key
	for _, s := range scenarios {
		byName[s.name] = s
		for _, name := range s.ways {
			if ways[name] != nil {
				keys = append(keys, key{s.name, name})
			}
		}
	}
	return alternate(ctx, cfg, keys, func(k key) (sample, error) {
		return byName[k.scenario].take(ctx, cfg, ways[k.way])
	})
}

// alternate takes one sample of each key in each round.
func alternate(ctx context.Context, cfg config, keys []key, take func(key) (sample, error)) *results {
	r := &results{samples: map[key][]sample{}, errs: map[key]error{}}
	for round := range cfg.rounds {
		for _, k := range keys {
			if r.errs[k] != nil || ctx.Err() != nil || !cfg.measures(k) {
				continue
			}
			got, err := take(k)
			if err != nil {
				r.errs[k] = fmt.Errorf("round %d: %w", round+1, err)
				cfg.log("%s, %s: %v", k.scenario, k.way, r.errs[k])
				continue
			}
			r.samples[k] = append(r.samples[k], got)
		}
		cfg.log("round %d of %d", round+1, cfg.rounds)
	}
	return r
}
