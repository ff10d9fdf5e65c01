package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
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

var errEcho = errors.New("the echo differs")

// caller begins what is called again and again on a connection.
func (s scenario) caller(ctx context.Context, conn grpc.ClientConnInterface) (func() error, error) {
	m := &message{Value: bytes.Repeat([]byte{'x'}, s.size)}
	check := func(reply *message) error {
		if len(reply.Value) != s.size {
			return errEcho
		}
		return nil
	}
	if s.kind == unary {
		return func() error {
			reply := new(message)
			if err := conn.Invoke(ctx, unaryMethod, m, reply); err != nil {
				return err
			}
			return check(reply)
		}, nil
	}
	desc, method := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, pingPongMethod
	if s.kind == stream {
		desc, method = &grpc.StreamDesc{ServerStreams: true}, streamMethod
	}
	st, err := conn.NewStream(ctx, desc, method)
	if err != nil {
		return nil, err
	}
	if s.kind == stream {
		if err := errors.Join(st.SendMsg(m), st.CloseSend()); err != nil {
			return nil, err
		}
	}
	return func() error {
		if s.kind == pingPong {
			if err := st.SendMsg(m); err != nil {
				return err
			}
		}
		reply := new(message)
		if err := st.RecvMsg(reply); err != nil {
			return err
		}
		return check(reply)
	}, nil
}

// sample is what one window showed. Times and allocations are per operation.
type sample struct {
	rate     float64 // operations a second
	p50, p99 time.Duration
	hop      time.Duration // CPU time
	mallocs  float64       // of the hop
	load     time.Duration // CPU time of this process, or of a page's main thread
}

// take takes one sample of a scenario on a way.
func (s scenario) take(ctx context.Context, cfg config, w *way) (sample, error) {
	ctx, cancel := context.WithCancel(ctx) // without a deadline, which RPCs would carry
	defer cancel()
	limit := time.AfterFunc(time.Minute+10*cfg.window, cancel)
	defer limit.Stop()
	conns, err := w.open(s.sessions)
	if err != nil {
		return sample{}, err
	}
	var calls []func() error
	for i := range s.sessions * s.each {
		call, err := s.caller(ctx, conns[i/s.each])
		if err != nil {
			return sample{}, err
		}
		calls = append(calls, call)
	}
	if _, err := repeatAll(calls, cfg.warmup()); err != nil {
		return sample{}, fmt.Errorf("warming up: %w", err)
	}
	var got sample
	hops := append([]*process{w.hop}, w.beside...)
	take := func() (err error) {
		got, err = measure(hops, calls, cfg.window)
		return err
	}
	for i, hop := range hops {
		name, inner := s.name+"."+w.name, take
		if i > 0 {
			name += fmt.Sprint(".", i+1)
		}
		take = func() error { return cfg.profile(hop, name, inner) }
	}
	err = take()
	return got, err
}

// measure repeats the calls for a while and returns what that cost the hops.
func measure(hops []*process, calls []func() error, window time.Duration) (sample, error) {
	before, err1 := usageOf(hops)
	own, err2 := cpuTime(os.Getpid())
	start := time.Now()
	times, err3 := repeatAll(calls, window)
	took := time.Since(start)
	ownAfter, err4 := cpuTime(os.Getpid())
	after, err5 := usageOf(hops)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return sample{}, err
	}
	n := len(times)
	return sample{
		rate: float64(n) / took.Seconds(),
		p50:  percentile(times, 50), p99: percentile(times, 99),
		hop:     (after.CPU - before.CPU) / time.Duration(n),
		mallocs: float64(after.Mallocs-before.Mallocs) / float64(n),
		load:    (ownAfter - own) / time.Duration(n),
	}, nil
}

// repeatAll repeats all calls side by side for a while, each at least once, and
// returns how long each took.
func repeatAll(calls []func() error, window time.Duration) ([]time.Duration, error) {
	var wg sync.WaitGroup
	errs := make([]error, len(calls))
	times := make([][]time.Duration, len(calls))
	end := time.Now().Add(window)
	for i, call := range calls {
		wg.Go(func() {
			for now := time.Now(); ; {
				if errs[i] = call(); errs[i] != nil {
					return
				}
				before := now
				now = time.Now()
				times[i] = append(times[i], now.Sub(before))
				if !now.Before(end) {
					return
				}
			}
		})
	}
	wg.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}

// percentile returns that of some times, which it sorts; 0 of none.
func percentile(times []time.Duration, p int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[len(times)*p/100]
}

// key names the samples of one scenario on one way.
type key struct{ scenario, way string }

// results are all samples, one of each round. A way that failed has none from
// then on.
type results map[key][]sample

// alternate takes one sample of each key in each round.
func alternate(ctx context.Context, cfg config, s *section, keys []key, take func(key) (sample, error)) results {
	r := results{}
	failed := map[key]bool{}
	for round := range cfg.rounds {
		for _, k := range keys {
			if failed[k] || ctx.Err() != nil || !cfg.measures(k) {
				continue
			}
			got, err := take(k)
			if err != nil {
				failed[k] = true
				s.note("%s, %s: round %d: %v", k.scenario, k.way, round+1, err)
				continue
			}
			r[k] = append(r[k], got)
		}
		cfg.log("round %d of %d", round+1, cfg.rounds)
	}
	return r
}

// measures reports whether the flags ask for a sample.
func (c config) measures(k key) bool {
	scenario, err := regexp.MatchString(c.scenarios, k.scenario)
	return scenario && err == nil && c.measuresWay(k.way)
}

// measuresWay is measures of any scenario.
func (c config) measuresWay(name string) bool {
	way, err := regexp.MatchString(c.ways, name)
	return way && err == nil
}

func rate(s sample) float64    { return s.rate }
func p50(s sample) float64     { return float64(s.p50) }
func p99(s sample) float64     { return float64(s.p99) }
func hopCPU(s sample) float64  { return float64(s.hop) }
func loadCPU(s sample) float64 { return float64(s.load) }
func mallocs(s sample) float64 { return s.mallocs }

// median returns that of one figure.
func (r results) median(k key, of func(sample) float64) float64 {
	var values []float64
	for _, s := range r[k] {
		values = append(values, of(s))
	}
	return median(values)
}

// ratio returns the median of the ratios to another way within a round.
func (r results) ratio(k key, base string, of func(sample) float64) float64 {
	own, others := r[k], r[key{k.scenario, base}]
	var values []float64
	for i := range min(len(own), len(others)) {
		values = append(values, of(own[i])/of(others[i]))
	}
	return median(values)
}

// more returns the median of the differences to another way within a round.
func (r results) more(k key, base string, of func(sample) float64) float64 {
	own, others := r[k], r[key{k.scenario, base}]
	var values []float64
	for i := range min(len(own), len(others)) {
		values = append(values, of(own[i])-of(others[i]))
	}
	return median(values)
}

// median returns NaN of nothing.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
