package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pollbridge/pollbridge/bench/light"
)

// sockets is a crowd of sessions over WebSockets, each with a goroutine here
// that reads.
type sockets struct {
	all     []*light.Socket
	readers sync.WaitGroup
	ended   atomic.Int64 // how many have ended
}

// openSockets gives what it has opened even when it fails, to be closed.
func openSockets(ctx context.Context, addr string, n int) (*sockets, error) {
	c := &sockets{all: make([]*light.Socket, n)}
	return c, together(n, func(i int) error {
		s, err := light.DialSocket(ctx, addr)
		if err != nil {
			return err
		}
		s.Prepare(unaryMethod, []byte("x"), light.Unary)
		c.all[i] = s
		c.readers.Go(func() {
			_ = s.Serve()
			c.ended.Add(1)
		})
		return nil
	})
}

// close closes all sockets, whose descriptors the next crowd needs.
func (c *sockets) close() {
	closeAll(c.all)
	c.readers.Wait()
}

// closeAll closes those of a crowd that have been opened.
func closeAll(crowd []*light.Socket) {
	for _, s := range crowd {
		if s != nil {
			_ = s.Close() // nothing is expected of it any more
		}
	}
}

// load makes calls on all sockets in turn for a while, 64 at a time, and
// reports how long each took.
func (c *sockets) load(ctx context.Context, window time.Duration) ([]time.Duration, error) {
	var next atomic.Int64
	var drivers []driver
	for range min(64, len(c.all)) {
		drivers = append(drivers, calling(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return c.all[int(next.Add(1))%len(c.all)].Call()
		}))
	}
	latencies, _, err := runAll(drivers, window)
	return latencies, err
}

// measureGrowth fills row 14.
func measureGrowth(ctx context.Context, cfg config) (*found, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	few, err := openSockets(ctx, l.bridge.addr, 128)
	defer few.close()
	if err != nil {
		return nil, err
	}
	grown, err := l.role(ctx, nil, "bridge", l.backend.addr)
	if err != nil {
		return nil, err
	}
	many, err := openSockets(ctx, grown.addr, cfg.crowd)
	defer many.close()
	if err != nil {
		return nil, err
	}
	var ratios []float64
	for range cfg.rounds {
		small, err1 := cfg.profiling(l.bridge, "few", func() (float64, error) { return few.cost(ctx, cfg, l.bridge) })
		large, err2 := cfg.profiling(grown, "many", func() (float64, error) { return many.cost(ctx, cfg, grown) })
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		ratios = append(ratios, large/small)
	}
	idle, err := cfg.profiling(grown, "quiet", func() (float64, error) { return idleCPU(grown, cfg) })
	if n := many.ended.Load(); err == nil && n > 0 {
		err = fmt.Errorf("%d of %d idle WebSockets ended", n, len(many.all))
	}
	return &found{claims: []claim{
		atMost(14, fmt.Sprintf("CPU per RPC, %d sessions ÷ %d", len(many.all), len(few.all)), middle(ratios), " ×", 1.15, 1.05),
		atMost(14, fmt.Sprintf("CPU of %d idle ws sessions, of a core", len(many.all)), idle, " %", 2, 1),
	}}, err
}

// cost is the CPU of a bridge for one call.
func (c *sockets) cost(ctx context.Context, cfg config, p *process) (float64, error) {
	if _, err := c.load(ctx, cfg.warmup); err != nil {
		return none, err
	}
	before, err := p.usage()
	if err != nil {
		return none, err
	}
	latencies, err := c.load(ctx, 4*cfg.window) // each of many is called twice
	if err != nil {
		return none, err
	}
	after, err := p.usage()
	return float64(after.CPU-before.CPU) / float64(len(latencies)), err
}

// idleCPU is what a process uses while nothing is asked of it, in percent of a
// core, once it has come to rest. It lasts longer than the time between two pings.
func idleCPU(p *process, cfg config) (float64, error) {
	span := 32 * time.Second
	if cfg.quick {
		span = 2 * time.Second
	}
	time.Sleep(settle)
	before, err := p.usage()
	if err != nil {
		return none, err
	}
	time.Sleep(span)
	after, err := p.usage()
	return 100 * float64(after.CPU-before.CPU) / float64(span), err
}

// measureStorm fills row 15.
func measureStorm(ctx context.Context, cfg config) (*found, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	others, err := l.role(ctx, nil, "others", l.bridge.addr)
	if err != nil {
		return nil, err
	}
	crowd := make([]*light.Socket, cfg.crowd-othersCount)
	defer closeAll(crowd)
	err = together(len(crowd), func(i int) (err error) {
		if crowd[i], err = light.DialSocket(ctx, l.bridge.addr); err != nil {
			return err
		}
		crowd[i].Prepare(pingPongMethod, []byte("x"), light.Bidi)
		return crowd[i].Start()
	})
	if err != nil {
		return nil, err
	}
	var quiet, during []time.Duration
	if err := others.ask("2s", &quiet); err != nil {
		return nil, err
	}
	before, err := l.bridge.usage()
	if err != nil {
		return nil, err
	}
	// The peak of resident memory is counted from here on.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", l.bridge.cmd.Process.Pid), []byte("5"), 0); err != nil {
		return nil, err
	}
	closeAll(crowd) // it is the storm
	var loadErr error
	over, end := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for over.Err() == nil && loadErr == nil {
			var some []time.Duration
			loadErr = others.ask("100ms", &some)
			during = append(during, some...)
		}
	})
	var resumed atomic.Int64
	start := time.Now()
	err = together(len(crowd), func(i int) error {
		if err := errors.Join(crowd[i].Resume(ctx, l.bridge.addr), crowd[i].Say()); err != nil {
			return err
		}
		resumed.Add(1)
		return nil
	})
	took := time.Since(start)
	end()
	wg.Wait()
	after, err2 := l.bridge.usage()
	return &found{
		claims: []claim{
			atLeast(15, "resumed, and the stream went on with no message lost", 100*float64(resumed.Load())/float64(len(crowd)), " %", 100, 100),
			atMost(15, "peak memory ÷ before", float64(after.PeakRSS)/float64(before.RSS), " ×", 1.5, 1.2),
			atMost(15, "others' p99 ÷ before", percentile(during, 99)/percentile(quiet, 99), " ×", 3, 2),
			seen(15, "all were back after", took.Seconds(), " s"),
		},
	}, errors.Join(err, err2, loadErr)
}

// othersCount is how many sessions see a storm from aside.
const othersCount = 16

// runOthers is the main of a process with sessions that a storm leaves alone.
// For each duration on its stdin it makes calls for so long, and prints how
// long each took. A process that dials thousands could not tell.
func runOthers(addr string) {
	if err := others(addr); err != nil {
		fmt.Fprintln(os.Stderr, "bench: others:", err)
		os.Exit(1)
	}
}

func others(addr string) error {
	c, err := openSockets(context.Background(), addr, othersCount)
	defer c.close()
	if err != nil {
		return err
	}
	fmt.Println(addr)
	answers := json.NewEncoder(os.Stdout)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		window, err := time.ParseDuration(lines.Text())
		if err != nil {
			return err
		}
		latencies, err := c.load(context.Background(), window)
		if err != nil {
			return err
		}
		if err := answers.Encode(latencies); err != nil {
			return err
		}
	}
	return nil
}

// percentile is that of some times, in nanoseconds.
func percentile(times []time.Duration, p int) float64 {
	if len(times) == 0 {
		return none
	}
	slices.Sort(times)
	return float64(times[len(times)*p/100])
}
