package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/pollbridge/pollbridge/client"
)

// Where a link lands, and so whether it is forwarded.
const (
	atOwner   = "at its owner"
	forwarded = "forwarded"
)

// clusterScenarios are of 100 bytes.
func clusterScenarios() []scenario {
	return []scenario{
		{name: "unary, 1 in flight", kind: unary, sessions: 1, each: 1, size: 100},
		{name: "unary, 64 sessions, 1 in flight on each", kind: unary, sessions: 64, each: 1, size: 100},
		{name: "bidi ping-pong, 1 stream", kind: pingPong, sessions: 1, each: 1, size: 100},
		{name: "server stream, messages received", kind: stream, sessions: 1, each: 1, size: 100},
	}
}

// measureCluster measures what it costs that a request lands at another bridge than
// its session's.
func measureCluster(ctx context.Context, cfg config) (*section, error) {
	s := &section{title: "In a cluster"}
	l, err := newLab(ctx, cfg)
	defer l.close()
	if err != nil {
		return s, err
	}
	c, err := l.cluster(ctx)
	if err != nil {
		return s, err
	}
	ways := map[string]*way{}
	for _, transport := range []string{"ws", "longpoll"} {
		for _, at := range []string{atOwner, forwarded} {
			w := &way{name: transport + " " + at, hop: c.landing, beside: []*process{c.owner, c.nats}}
			w.dial = func() (conn, error) { return c.dial(ctx, transport, at) }
			ways[w.name] = w
			l.closers = append(l.closers, w.close)
		}
	}
	var keys []key
	byName := map[string]scenario{}
	for _, sc := range clusterScenarios() {
		byName[sc.name] = sc
		for _, transport := range []string{"ws", "longpoll"} {
			keys = append(keys, key{sc.name, transport + " " + atOwner}, key{sc.name, transport + " " + forwarded})
		}
	}
	r := alternate(ctx, cfg, s, keys, func(k key) (sample, error) { return byName[k.scenario].take(ctx, cfg, ways[k.way]) })
	for _, sc := range clusterScenarios() {
		s.clusterTable(sc.name, r)
	}
	return s, clusterMemory(ctx, cfg, s)
}

// clusterTable has all that was measured of one scenario.
func (s *section) clusterTable(scenario string, r results) {
	s.table(scenario, "op/s", "× at its owner", "p50", "more", "p99", "more", "bridges' and NATS's CPU per op", "× at its owner")
	for _, transport := range []string{"ws", "longpoll"} {
		base := transport + " " + atOwner
		for _, at := range []string{atOwner, forwarded} {
			k := key{scenario, transport + " " + at}
			if len(r[k]) == 0 {
				continue
			}
			s.row(k.way,
				figure(r.median(k, rate)), figure(r.ratio(k, base, rate)),
				micros(r.median(k, p50)), micros(r.more(k, base, p50)), micros(r.median(k, p99)), micros(r.more(k, base, p99)),
				micros(r.median(k, hopCPU)), figure(r.ratio(k, base, hopCPU)))
			s.bench("cluster/"+scenario+"/"+k.way, r.median(k, hopCPU), "hop-ns/op", r.median(k, rate), "op/s", r.median(k, p50), "p50-ns")
		}
	}
}

// clusterLab is three bridges and NATS.
type clusterLab struct {
	lab                   *lab
	owner, landing, other *process
	nats                  *process
}

func (l *lab) cluster(ctx context.Context) (*clusterLab, error) {
	c := &clusterLab{lab: l}
	var err error
	if c.nats, err = l.role(ctx, "nats"); err != nil {
		return nil, err
	}
	for _, b := range []**process{&c.owner, &c.landing, &c.other} {
		if *b, err = l.bridge(ctx, "--cluster", "nats://"+c.nats.addr); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// clusterConn is a channel whose session is at the owner.
type clusterConn struct {
	*client.Channel
	crowd *crowd
}

func (c clusterConn) Close() error {
	c.crowd.close()
	return nil
}

// dial opens a session at the owner, and has its connections land where they are to.
func (c *clusterLab) dial(ctx context.Context, transport, at string) (conn, error) {
	crowd, err := newCrowd("http://"+c.owner.addr, transport, 1)
	if err == nil {
		err = callOnce(ctx, crowd.channels[0])
	}
	if err == nil && at == forwarded {
		crowd.move(c.landing.addr)
		err = callOnce(ctx, crowd.channels[0])
	}
	return clusterConn{crowd.channels[0], crowd}, err
}

// clusterMemory measures what a session with a quiet stream takes, and so a poll, that
// is parked where it landed: at its session's bridge, or at another one.
func clusterMemory(ctx context.Context, cfg config, s *section) error {
	s.table(fmt.Sprintf("%d sessions with a quiet stream, whose polls are parked", cfg.crowd), "resident, three bridges", "heap", "stacks", "goroutines")
	for _, at := range []string{atOwner, forwarded} {
		got, err := parked(ctx, cfg, at)
		if err != nil {
			return err
		}
		s.row(at, kib(got.rss), kib(got.heap), kib(got.stacks), figure(got.goroutines))
		s.bench("cluster/parked/"+at, got.rss, "B")
	}
	return nil
}

// parked is what one of a crowd adds to all bridges.
func parked(ctx context.Context, cfg config, at string) (each, error) {
	l, err := newLab(ctx, cfg)
	defer l.close()
	if err != nil {
		return each{}, err
	}
	c, err := l.cluster(ctx)
	if err != nil {
		return each{}, err
	}
	crowd, err := newCrowd("http://"+c.owner.addr, "longpoll", cfg.crowd)
	l.closers = append(l.closers, func() error { crowd.close(); return nil })
	if err != nil {
		return each{}, err
	}
	before, err1 := c.held(cfg.crowd)
	err2 := together(cfg.crowd, func(i int) error { return callOnce(ctx, crowd.channels[i]) })
	time.Sleep(cfg.settle()) // nothing is under way then
	if at == forwarded {
		crowd.move(c.landing.addr, c.other.addr)
	}
	err3 := together(cfg.crowd, func(i int) error { return openQuiet(ctx, crowd.channels[i]) })
	if err := errors.Join(err1, err2, err3); err != nil {
		return each{}, err
	}
	after, err := c.settled(ctx, cfg)
	if err == nil {
		err = errors.Join(cfg.saveMemory(c.owner, "parked "+at+" owner"), cfg.saveMemory(c.landing, "parked "+at+" landing"))
	}
	return each{after.rss - before.rss, after.heap - before.heap, after.stacks - before.stacks, after.goroutines - before.goroutines}, err
}

// quietGoroutines is somewhat more than a session has with an open RPC and its poll
// parked.
const quietGoroutines = 2.1

// settled is what all bridges hold for each of a crowd once all polls are parked, or
// after a while.
func (c *clusterLab) settled(ctx context.Context, cfg config) (now each, err error) {
	for range 20 {
		select {
		case <-time.After(cfg.settle()):
		case <-ctx.Done():
			return now, context.Cause(ctx)
		}
		if now, err = c.held(cfg.crowd); err != nil || now.goroutines < quietGoroutines {
			break
		}
	}
	return now, err
}

// held is what all bridges hold for each of n, garbage collected.
func (c *clusterLab) held(n int) (each, error) {
	var sum each
	for _, bridge := range []*process{c.owner, c.landing, c.other} {
		now, err := bridge.collected()
		if err != nil {
			return sum, err
		}
		sum.rss += float64(now.RSS) / float64(n)
		sum.heap += float64(now.Heap) / float64(n)
		sum.stacks += float64(now.Stacks) / float64(n)
		sum.goroutines += float64(now.Goroutines) / float64(n)
	}
	return sum, nil
}

// serveNATS serves NATS in place of the listener.
func serveNATS(lis net.Listener) error {
	addr := lis.Addr().(*net.TCPAddr)
	if err := lis.Close(); err != nil {
		return err
	}
	s, err := server.NewServer(&server.Options{Host: addr.IP.String(), Port: addr.Port, NoLog: true})
	if err != nil {
		return err
	}
	s.Start()
	s.WaitForShutdown()
	return nil
}
