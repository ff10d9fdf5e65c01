package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// gcPercent lets the heap grow to five times the live heap, which is small in
	// a bridge: less frequent collections cost less.
	gcPercent = 400
	// memoryShare is the share of the container's or machine's memory at which
	// the collector works harder instead.
	memoryShare = 0.9
)

// tuneMemory configures the garbage collector for a bridge. GOGC and GOMEMLIMIT in
// the environment take precedence.
func tuneMemory(logger *slog.Logger) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	_, err := memlimit.Set(
		memlimit.WithRatio(memoryShare),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)),
	)
	if err != nil {
		logger.Warn("memory limit unknown; set one with GOMEMLIMIT", "err", err)
	}
}
