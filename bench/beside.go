package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/client"
)

// The two ends of a network of 10 Mbit/s each way.
const (
	farNamespace, farAddr   = "pollbridge-far", "10.213.7.1"
	nearNamespace, nearAddr = "pollbridge-near", "10.213.7.2"
	besidePort              = "8099"
	besideDelay             = "25ms" // each way
)

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

// measureBeside measures round trips beside a long message on a slow network.
// It needs root, for the network.
func measureBeside(ctx context.Context, cfg config) (*section, error) {
	s := &section{title: "Beside a long message"}
	defer func() {
		for _, name := range []string{farNamespace, nearNamespace} {
			_ = exec.Command("ip", "netns", "del", name).Run() // it may not be there
		}
	}()
	for _, c := range network {
		if err := command(ctx, ".", nil, c...); err != nil {
			return s, fmt.Errorf("no network of its own: %w", err)
		}
	}
	l, err := newLab(ctx, cfg, "ip", "netns", "exec", farNamespace)
	defer l.close()
	if err != nil {
		return s, err
	}
	bridge, err := l.bridge(ctx, "--allow-host", farAddr)
	if err != nil {
		return s, err
	}
	box, err := l.middlebox(ctx, farAddr+":"+besidePort, bridge.addr, besideDelay)
	if err != nil {
		return s, err
	}
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	s.table("p99 of a ping-pong's round trips", "alone", "beside 16 MiB down", "beside 16 MiB up")
	for _, transport := range []string{"ws", "longpoll"} {
		var got besideResult
		out, err := exec.CommandContext(ctx, "ip", "netns", "exec", nearNamespace, self, roleArg, "beside", "http://"+box.addr, transport).Output()
		if err == nil {
			err = json.Unmarshal(out, &got)
		}
		if err != nil {
			s.note("%s beside a long message: %v", transport, err)
			continue
		}
		s.row("Pollbridge "+transport, millis(got.Alone), millis(got.Down), millis(got.Up))
	}
	return s, nil
}

// besideResult has p99s in nanoseconds.
type besideResult struct{ Alone, Down, Up float64 }

// large is nearly the longest message that a bridge takes by default.
const large = 16<<20 - 64

// besideRole is the load, in a process of its own. It prints one besideResult.
func besideRole(url, transport string) error {
	channel, err := client.New(url, client.Config{Transports: []string{transport}})
	if err != nil {
		return err
	}
	defer channel.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pingPong, err := scenario{kind: pingPong, size: 10}.caller(ctx, channel)
	if err != nil {
		return err
	}
	// during makes round trips for as long as a transfer lasts.
	during := func(transfer func() error) (float64, error) {
		var times []time.Duration
		done := make(chan error, 1)
		go func() { done <- transfer() }()
		for {
			start := time.Now()
			if err := pingPong(); err != nil {
				return 0, err
			}
			times = append(times, time.Since(start))
			select {
			case err := <-done:
				return float64(percentile(times, 99)), err
			default:
			}
		}
	}
	alone, err1 := during(func() error { time.Sleep(5 * time.Second); return nil })
	down, err2 := during(func() error {
		m := new(message)
		err := channel.Invoke(ctx, sourceMethod, &message{Value: []byte(strconv.Itoa(large))}, m, grpc.MaxCallRecvMsgSize(2*large))
		if err == nil && len(m.Value) != large {
			err = errEcho
		}
		return err
	})
	up, err3 := during(func() error {
		return channel.Invoke(ctx, sinkMethod, &message{Value: make([]byte, large)}, new(message))
	})
	return errors.Join(err1, err2, err3, json.NewEncoder(os.Stdout).Encode(besideResult{alone, down, up}))
}
