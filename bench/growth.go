package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// few is how many sessions many are compared with.
const few = 128

// measureGrowth measures what sessions cost that are not used at the moment.
func measureGrowth(ctx context.Context, cfg config) (*section, error) {
	s := &section{title: "Many sessions"}
	l, err := newLab(ctx, cfg)
	defer l.close()
	if err != nil {
		return s, err
	}
	small, large := &busy{n: few}, &busy{n: cfg.crowd}
	for _, b := range []*busy{small, large} {
		if err := b.open(ctx, l); err != nil {
			return s, err
		}
	}
	var ratios []float64
	for range cfg.rounds {
		one, err1 := small.cost(cfg)
		other, err2 := large.cost(cfg)
		if err := errors.Join(err1, err2); err != nil {
			return s, err
		}
		ratios = append(ratios, float64(other)/float64(one))
	}
	var idle float64
	err = cfg.profile(large.bridge, "quiet", func() (err error) {
		idle, err = idleCPU(cfg, large.bridge)
		return err
	})
	s.table(fmt.Sprintf("%d WebSocket sessions", cfg.crowd), "")
	s.row(fmt.Sprintf("bridge's CPU for an RPC on one of them ÷ on one of %d", few), figure(median(ratios)))
	s.row("bridge's CPU while all are idle, pings included", figure(idle)+" % of a core")
	s.bench("growth", median(ratios), "x-CPU", idle, "idle-%")
	return s, err
}

// busy is a bridge with a number of sessions, over WebSockets, that are called
// in turn.
type busy struct {
	n      int
	bridge *process
	calls  []func() error
}

func (b *busy) open(ctx context.Context, l *lab) (err error) {
	if b.bridge, err = l.bridge(ctx); err != nil {
		return err
	}
	c, err := newCrowd("http://"+b.bridge.addr, "ws", b.n)
	l.closers = append(l.closers, func() error { c.close(); return nil })
	if err != nil {
		return err
	}
	var next atomic.Int64
	for range min(64, b.n) {
		b.calls = append(b.calls, func() error { return callOnce(ctx, c.channels[int(next.Add(1))%b.n]) })
	}
	return together(b.n, func(i int) error { return callOnce(ctx, c.channels[i]) })
}

// cost is the bridge's CPU time for one call.
func (b *busy) cost(cfg config) (time.Duration, error) {
	if _, err := repeatAll(b.calls, cfg.warmup()); err != nil {
		return 0, err
	}
	got, err := measure([]*process{b.bridge}, b.calls, 4*cfg.window) // each of many is called twice
	return got.hop, err
}

// idleCPU is what a process uses while nothing is asked of it, in percent of a
// core. It lasts longer than the time between two pings.
func idleCPU(cfg config, p *process) (float64, error) {
	span := min(64*cfg.window, 32*time.Second)
	time.Sleep(cfg.settle())
	before, err1 := p.usage()
	time.Sleep(span)
	after, err2 := p.usage()
	return 100 * float64(after.CPU-before.CPU) / float64(span), errors.Join(err1, err2)
}
