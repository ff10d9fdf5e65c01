package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// measureBinary fills row 19 from the real binary.
func measureBinary(ctx context.Context, cfg config) (*found, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "bridge")
	if err := runIn(ctx, ".", nil, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./cmd/bridge"); err != nil {
		return nil, err
	}
	info, err := os.Stat(program)
	if err != nil {
		return nil, err
	}
	var times []float64
	for range max(cfg.rounds, 3) {
		took, err := startTime(ctx, program)
		if err != nil {
			return nil, err
		}
		times = append(times, took.Seconds()*1e3)
	}
	return &found{claims: []claim{
		atMost(19, "size of the binary (-trimpath -ldflags='-s -w')", float64(info.Size())/1e6, " MB", 30, 20),
		atMost(19, "start to the line that says listening", middle(times), " ms", 100, 50),
	}}, nil
}

// startTime is how long the binary takes to listen.
func startTime(ctx context.Context, program string) (time.Duration, error) {
	c := exec.CommandContext(ctx, program, "serve", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:1")
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := c.Start(); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(start)
	err = errors.Join(err, c.Process.Kill())
	_ = c.Wait() // killed
	if err == nil && !strings.HasPrefix(line, "listening on ") {
		err = fmt.Errorf("bridge serve said %q", line)
	}
	return took, err
}
