package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"google.golang.org/grpc"

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
	return s, c.memory(ctx, cfg, s)
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

// clusterLab is two bridges and NATS.
type clusterLab struct {
	lab                  *lab
	owner, landing, nats *process
}

func (l *lab) cluster(ctx context.Context) (*clusterLab, error) {
	c := &clusterLab{lab: l}
	var err error
	if c.nats, err = l.role(ctx, "nats"); err != nil {
		return nil, err
	}
	for _, b := range []**process{&c.owner, &c.landing} {
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

// memory measures what a poll takes that is parked at the one bridge, of a session
// with a quiet stream at the other: beside the session, which has no connection.
func (c *clusterLab) memory(ctx context.Context, cfg config, s *section) error {
	streams := make([]grpc.ClientStream, cfg.crowd)
	crowd, err := newCrowd("http://"+c.owner.addr, "longpoll", cfg.crowd)
	c.lab.closers = append(c.lab.closers, func() error { crowd.close(); return nil })
	if err != nil {
		return err
	}
	if err := together(cfg.crowd, func(i int) (err error) {
		desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
		if streams[i], err = crowd.channels[i].NewStream(ctx, desc, pingPongMethod); err != nil {
			return err
		}
		return echo(streams[i], "before")
	}); err != nil {
		return err
	}
	s.table(fmt.Sprintf("%d sessions with a quiet stream: a poll of each, parked", cfg.crowd), "resident, both bridges", "heap", "stacks", "goroutines")
	var bare each
	for _, at := range []struct{ name, addr string }{{"", nowhere}, {atOwner, c.owner.addr}, {"", nowhere}, {forwarded, c.landing.addr}} {
		crowd.move(at.addr)
		if at.addr != nowhere {
			if err := together(cfg.crowd, func(i int) error { return echo(streams[i], at.name) }); err != nil {
				return err
			}
		}
		time.Sleep(cfg.settle())
		got, err := c.held(cfg.crowd)
		switch {
		case err != nil:
			return err
		case at.addr == nowhere:
			bare = got
			continue
		}
		s.row(at.name, kib(got.rss-bare.rss), kib(got.heap-bare.heap), kib(got.stacks-bare.stacks), figure(got.goroutines-bare.goroutines))
		s.bench("cluster/parked/"+at.name, got.rss-bare.rss, "B")
	}
	return nil
}

// nowhere is an address at which nobody listens.
const nowhere = "127.0.0.1:1"

// held is what both bridges hold for each of n, garbage collected.
func (c *clusterLab) held(n int) (each, error) {
	a, err1 := c.owner.collected()
	b, err2 := c.landing.collected()
	per := func(a, b int) float64 { return float64(a+b) / float64(n) }
	return each{per(a.RSS, b.RSS), per(a.Heap, b.Heap), per(a.Stacks, b.Stacks), per(a.Goroutines, b.Goroutines)}, errors.Join(err1, err2)
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
