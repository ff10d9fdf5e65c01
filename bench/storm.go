package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// measureStorm has all sessions but a few lose their connections at once.
func measureStorm(ctx context.Context, cfg config) (*section, error) {
	s := &section{title: "Storm"}
	l, err := newLab(ctx, cfg)
	defer l.close()
	if err != nil {
		return s, err
	}
	bridge, err := l.bridge(ctx)
	if err != nil {
		return s, err
	}
	others, err := l.role(ctx, "others", bridge.addr)
	if err != nil {
		return s, err
	}
	c, err := newCrowd("http://"+bridge.addr, "ws", cfg.crowd)
	l.closers = append(l.closers, func() error { c.close(); return nil })
	if err != nil {
		return s, err
	}
	streams := make([]grpc.ClientStream, cfg.crowd)
	if err := together(cfg.crowd, func(i int) (err error) {
		desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
		if streams[i], err = c.channels[i].NewStream(ctx, desc, pingPongMethod); err != nil {
			return err
		}
		return echo(streams[i], "before")
	}); err != nil {
		return s, err
	}
	time.Sleep(cfg.settle())
	before, err1 := bridge.collected()
	err2 := bridge.forgetPeak()
	start := time.Now()
	c.cut()
	var resumed atomic.Int64
	err3 := together(cfg.crowd, func(i int) error {
		err := echo(streams[i], "after")
		if err == nil {
			resumed.Add(1)
		}
		return err
	})
	took := time.Since(start)
	after, err4 := bridge.usage()
	var calls []call
	err5 := others.ask("", &calls)
	if err := errors.Join(err1, err2, err4, err5); err != nil {
		return s, err
	}
	peak := float64(after.Peak) / float64(before.RSS)
	quiet, during := split(calls, start, start.Add(took))
	slower := float64(percentile(during, 99)) / float64(percentile(quiet, 99))
	s.table(fmt.Sprintf("%d WebSocket sessions, each with a stream, lose their connections", cfg.crowd), "")
	s.row("resumed, and the stream went on with nothing lost", figure(100*float64(resumed.Load())/float64(cfg.crowd))+" %")
	s.row("all were back after", figure(took.Seconds())+" s")
	s.row("bridge's CPU time for each", micros(float64(after.CPU-before.CPU)/float64(cfg.crowd)))
	s.row("peak of resident memory ÷ before, garbage collected", figure(peak))
	s.row(fmt.Sprintf("p99 of RPCs of %d other sessions ÷ before", othersCount), figure(slower))
	s.bench("storm", took.Seconds(), "back-s", float64(after.CPU-before.CPU)/float64(cfg.crowd), "CPU-ns/session", float64(after.Peak), "peak-B", peak, "x-memory", slower, "x-p99")
	return s, err3
}

// echo has a stream echo a message.
func echo(s grpc.ClientStream, text string) error {
	reply := new(message)
	if err := errors.Join(s.SendMsg(&message{Value: []byte(text)}), s.RecvMsg(reply)); err != nil {
		return err
	}
	if string(reply.Value) != text {
		return errEcho
	}
	return nil
}

// othersCount is how many sessions see a storm from aside.
const othersCount = 16

// A call is one of the sessions that see the storm from aside.
type call struct {
	Ended time.Time
	Took  time.Duration
}

// split sorts calls into those before a span of time and those that ended in it.
func split(calls []call, from, to time.Time) (before, within []time.Duration) {
	for _, c := range calls {
		switch {
		case c.Ended.Before(from):
			before = append(before, c.Took)
		case c.Ended.Before(to):
			within = append(within, c.Took)
		}
	}
	return before, within
}

// othersRole is the main of a process whose sessions a storm leaves alone: one
// that dials thousands could not measure RPCs. It makes calls until it reads
// a line, and then writes how long each took.
func othersRole(addr string) error {
	c, err := newCrowd("http://"+addr, "ws", othersCount)
	defer c.close()
	if err != nil {
		return err
	}
	calls := make([][]call, othersCount)
	one := func(i int) error {
		start := time.Now()
		err := callOnce(context.Background(), c.channels[i])
		calls[i] = append(calls[i], call{time.Now(), time.Since(start)})
		return err
	}
	if err := together(othersCount, one); err != nil { // a call of each is before the storm
		return err
	}
	fmt.Println(addr)
	asked := make(chan struct{})
	go func() { // until the process ends
		_, _ = fmt.Scanln()
		close(asked)
	}()
	if err := together(othersCount, func(i int) error {
		for {
			if err := one(i); err != nil {
				return err
			}
			select {
			case <-asked:
				return nil
			default:
			}
		}
	}); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(slices.Concat(calls...))
}
