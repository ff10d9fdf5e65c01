package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// A scenario is a number of workers that each make one call after another.
type scenario struct {
	name    string
	workers int
	// open prepares a worker and returns its call, one round trip.
	open func(ctx context.Context, conn grpc.ClientConnInterface) (call func(m *message) (*message, error), err error)
}

var scenarios = []scenario{
	{"unary, 1 at a time", 1, unary},
	{"unary, 64 in flight", 64, unary},
	{"ping-pong, 1 stream", 1, pingPong},
	{"ping-pong, 64 streams", 64, pingPong},
}

func unary(ctx context.Context, conn grpc.ClientConnInterface) (func(*message) (*message, error), error) {
	return func(m *message) (*message, error) {
		reply := new(message)
		return reply, conn.Invoke(ctx, unaryMethod, m, reply)
	}, nil
}

func pingPong(ctx context.Context, conn grpc.ClientConnInterface) (func(*message) (*message, error), error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, pingPongMethod)
	if err != nil {
		return nil, err
	}
	return func(m *message) (*message, error) {
		if err := stream.SendMsg(m); err != nil {
			return nil, err
		}
		reply := new(message)
		return reply, stream.RecvMsg(reply)
	}, nil
}

// sample is what one window showed.
type sample struct {
	rate     float64 // round trips a second
	p50, p99 time.Duration
	hop      perCall // the proxy's or the bridge's
	client   perCall // this process's
}

// perCall is what a process used for one round trip.
type perCall struct {
	cpu     time.Duration
	mallocs float64
}

// sample runs the scenario on a path for the warm-up and the window.
func (s scenario) sample(ctx context.Context, cfg config, p path) (sample, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := make([]*worker, s.workers)
	for i := range workers {
		call, err := s.open(ctx, p.conn)
		if err != nil {
			return sample{}, err
		}
		workers[i] = &worker{call: call, message: &message{Value: bytes.Repeat([]byte{byte(i)}, cfg.size)}}
	}
	if _, err := runAll(workers, cfg.warmup); err != nil {
		return sample{}, err
	}
	hop, err := p.hop.usage()
	if err != nil {
		return sample{}, err
	}
	own := ownUsage()
	took, err := runAll(workers, cfg.window)
	own = ownUsage().since(own)
	if err != nil {
		return sample{}, err
	}
	after, err := p.hop.usage()
	if err != nil {
		return sample{}, err
	}
	return summary(workers, took, after.since(hop), own), nil
}

func summary(workers []*worker, took time.Duration, hop, own usage) sample {
	var all []time.Duration
	for _, w := range workers {
		all = append(all, w.latencies...)
	}
	slices.Sort(all)
	n := len(all)
	per := func(u usage) perCall {
		return perCall{u.cpu / time.Duration(n), float64(u.mallocs) / float64(n)}
	}
	return sample{
		rate: float64(n) / took.Seconds(),
		p50:  all[n/2], p99: all[n*99/100],
		hop: per(hop), client: per(own),
	}
}

type worker struct {
	call      func(*message) (*message, error)
	message   *message
	latencies []time.Duration
	err       error
}

// runAll lets all workers call for a while, at least once each.
func runAll(workers []*worker, window time.Duration) (time.Duration, error) {
	var wg sync.WaitGroup
	start := time.Now()
	for _, w := range workers {
		wg.Go(func() { w.run(start.Add(window)) })
	}
	wg.Wait()
	took := time.Since(start)
	var errs []error
	for _, w := range workers {
		errs = append(errs, w.err)
	}
	return took, errors.Join(errs...)
}

func (w *worker) run(until time.Time) {
	w.latencies = w.latencies[:0]
	for now := time.Now(); ; {
		reply, err := w.call(w.message)
		if err != nil {
			w.err = err
			return
		}
		if !bytes.Equal(reply.Value, w.message.Value) {
			w.err = fmt.Errorf("the echo of %d bytes has %d, or others", len(w.message.Value), len(reply.Value))
			return
		}
		before := now
		now = time.Now()
		w.latencies = append(w.latencies, now.Sub(before))
		if !now.Before(until) {
			return
		}
	}
}
