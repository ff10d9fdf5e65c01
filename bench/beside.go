package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/client"
)

// The two ends of the network of row 16.
const (
	farNamespace, farAddr   = "pollbridge-far", "10.213.7.1"
	nearNamespace, nearAddr = "pollbridge-near", "10.213.7.2"
	farPort                 = "8099"
)

// network is what row 16 needs: two namespaces, and 10 Mbit/s each way between.
var network = [][]string{
	{"ip", "netns", "add", farNamespace},
	{"ip", "netns", "add", nearNamespace},
	{"ip", "link", "add", "pbfar", "netns", farNamespace, "type", "veth", "peer", "name", "pbnear", "netns", nearNamespace},
	{"ip", "-n", farNamespace, "link", "set", "lo", "up"},
	{"ip", "-n", farNamespace, "addr", "add", farAddr + "/24", "dev", "pbfar"},
	{"ip", "-n", farNamespace, "link", "set", "pbfar", "up"},
	{"ip", "-n", nearNamespace, "addr", "add", nearAddr + "/24", "dev", "pbnear"},
	{"ip", "-n", nearNamespace, "link", "set", "pbnear", "up"},
	{"tc", "-n", farNamespace, "qdisc", "add", "dev", "pbfar", "root", "tbf", "rate", "10mbit", "burst", "64k", "latency", "400ms"},
	{"tc", "-n", nearNamespace, "qdisc", "add", "dev", "pbnear", "root", "tbf", "rate", "10mbit", "burst", "64k", "latency", "400ms"},
}

// measureBeside fills row 16. It needs root.
func measureBeside(ctx context.Context, cfg config) (_ *found, err error) {
	defer func() {
		for _, name := range []string{farNamespace, nearNamespace} {
			_ = exec.Command("ip", "netns", "del", name).Run() // it may not be there
		}
	}()
	for _, command := range network {
		if err := runIn(ctx, ".", nil, command...); err != nil {
			return nil, fmt.Errorf("LEFT OUT, no network namespaces: %w", err)
		}
	}
	l := &lab{wrap: []string{"ip", "netns", "exec", farNamespace}}
	defer l.close()
	if l.backend, err = l.role(ctx, nil, "backend", "-"); err != nil {
		return nil, err
	}
	if l.bridge, err = l.role(ctx, nil, "bridge", l.backend.addr); err != nil {
		return nil, err
	}
	box, err := cfg.middlebox(ctx)
	if err != nil {
		return nil, err
	}
	middlebox := exec.CommandContext(ctx, "ip", "netns", "exec", farNamespace, box,
		"--listen", farAddr+":"+farPort, "--upstream", "http://"+l.bridge.addr, "--delay", "25ms")
	if err := middlebox.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, middlebox.Process.Kill()); _ = middlebox.Wait() }()
	time.Sleep(time.Second) // it listens

	f := &found{}
	for _, transport := range []string{"ws", "longpoll"} {
		r, err := besideOf(ctx, transport)
		if err != nil {
			return f, fmt.Errorf("%s: %w", transport, err)
		}
		f.claims = append(f.claims,
			atMost(16, transport+", message down: p99 − alone", r.Down-r.Alone, " ms", 150, 60),
			atMost(16, transport+", message up: p99 − alone", r.Up-r.Alone, " ms", 150, 60),
			seen(16, transport+", alone: p99", r.Alone, " ms"))
	}
	return f, nil
}

// besideResult has the ping-pong's p99s in milliseconds.
type besideResult struct{ Alone, Down, Up float64 }

// besideOf has a child in the near namespace measure.
func besideOf(ctx context.Context, transport string) (r besideResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithTimeout(ctx, 80*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "ip", "netns", "exec", nearNamespace, self, roleArg, "beside", "http://"+farAddr+":"+farPort, transport)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(out, &r)
}

// runBeside is the load of row 16, in a process of its own.
func runBeside(url, transport string) {
	r, err := beside(url, transport)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: beside:", err)
		os.Exit(1)
	}
}

// large is nearly the longest message that a bridge takes.
const large = 16<<20 - 64

func beside(url, transport string) (r besideResult, err error) {
	channel, err := client.New(url, client.Config{Transports: []string{transport}})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, channel.Close()) }()
	s := scenario{kind: pingPong, size: 10}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	call, err := s.caller(ctx, channel)
	if err != nil {
		return r, err
	}
	// until makes round trips as long as a message is under way.
	until := func(transfer func() error) (float64, error) {
		var wg sync.WaitGroup
		var transferred error
		done := make(chan struct{})
		wg.Go(func() {
			defer close(done)
			transferred = transfer()
		})
		var times []time.Duration
		for {
			start := time.Now()
			if err := call(); err != nil {
				return none, err
			}
			times = append(times, time.Since(start))
			select {
			case <-done:
				return percentile(times, 99) / 1e6, transferred
			default:
			}
		}
	}
	if r.Alone, err = until(func() error { time.Sleep(5 * time.Second); return nil }); err != nil {
		return r, err
	}
	if r.Down, err = until(func() error {
		m := new(message)
		err := channel.Invoke(ctx, sourceMethod, &message{Value: []byte(strconv.Itoa(large))}, m, grpc.MaxCallRecvMsgSize(2*large))
		if err == nil && len(m.Value) != large {
			err = errEcho
		}
		return err
	}); err != nil {
		return r, err
	}
	r.Up, err = until(func() error {
		return channel.Invoke(ctx, sinkMethod, &message{Value: make([]byte, large)}, new(message))
	})
	return r, err
}
