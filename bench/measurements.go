package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A measurement fills some rows of the page. Its run says which.
type measurement struct {
	name  string
	slow  bool // left out of a quick run
	limit time.Duration
	run   func(ctx context.Context, cfg config) (*found, error)
}

// found is what a measurement found.
type found struct {
	claims []claim
	tables []string // Markdown, below the rows
	notes  []string
}

// measurements in the order in which they run.
var measurements = []measurement{
	{name: "rpc", limit: 6 * time.Minute, run: measureRPCs},
	{name: "browser", limit: 3 * time.Minute, run: measureBrowser},
	{name: "first", slow: true, limit: 3 * time.Minute, run: measureFirst},
	{name: "memory", slow: true, limit: 4 * time.Minute, run: measureMemory},
	{name: "growth", slow: true, limit: 3 * time.Minute, run: measureGrowth},
	{name: "storm", slow: true, limit: 2 * time.Minute, run: measureStorm},
	{name: "beside", slow: true, limit: 3 * time.Minute, run: measureBeside},
	{name: "binary", limit: 3 * time.Minute, run: measureBinary},
}

func names() string {
	var all []string
	for _, m := range measurements {
		all = append(all, m.name)
	}
	return strings.Join(all, ", ")
}

func (m measurement) wanted(cfg config) bool {
	if cfg.only != "" {
		return slices.Contains(strings.Split(cfg.only, ","), m.name)
	}
	return !(cfg.quick && m.slow)
}

// bounded runs the measurement within its limit. One that fails, or hangs, is
// reported and the others go on.
func (m measurement) bounded(ctx context.Context, cfg config) *found {
	ctx, cancel := context.WithCancel(ctx) // without a deadline, which RPCs would have to carry
	defer cancel()
	limit := time.AfterFunc(m.limit, cancel)
	defer limit.Stop()
	type outcome struct {
		found *found
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		f, err := m.run(ctx, cfg)
		done <- outcome{f, err}
	}()
	var o outcome
	select {
	case o = <-done:
	case <-time.After(m.limit + 20*time.Second):
		o.err = fmt.Errorf("did not end within %v", m.limit)
	}
	if o.found == nil {
		o.found = &found{}
	}
	if o.err != nil {
		cfg.log("%s: %v", m.name, o.err)
		o.found.notes = append(o.found.notes, fmt.Sprintf("%s: %v", m.name, o.err))
	}
	return o.found
}
