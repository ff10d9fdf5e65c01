package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// gcPercent lets the heap grow to five times what is live: a bridge's live
	// heap is small, and collecting it less often is what costs least.
	gcPercent = 400
	// memoryShare of the container's or machine's memory is where the
	// collector works harder instead.
	memoryShare = 0.9
)

// tuneMemory sets the garbage collector for a bridge. The environment's GOGC
// and GOMEMLIMIT win.
func tuneMemory(logger *slog.Logger) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	_, err := memlimit.Set(
		memlimit.WithRatio(memoryShare),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)),
	)
	if err != nil {
		logger.Warn("no memory limit was set; GOMEMLIMIT sets one", "err", err)
	}
}
