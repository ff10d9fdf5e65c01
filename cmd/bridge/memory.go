package main

import (
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// gcPercent lets the heap grow to five times the live heap, which is small in
	// a bridge: less frequent collections cost less.
	gcPercent = 400
	// memoryShare is the share of the container's or machine's memory at which
	// the collector works harder instead.
	memoryShare = 0.9

	// releaseInterval is how often it is looked whether memory can go back to the
	// system: left alone, the runtime keeps what such a heap once had for long.
	releaseInterval = 30 * time.Second
	// releaseLeast is not worth the page faults when it is needed again.
	releaseLeast = 64 << 20
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

// releaser gives memory back to the system after a peak.
type releaser struct {
	samples []metrics.Sample
	before  bool // too much was free when it last looked
}

func newReleaser() *releaser {
	return &releaser{samples: []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}}
}

// look releases what is free once that was far more than what is used, twice in a
// row: right after a collection it is so for a moment in a busy bridge, too. It
// reports whether it did.
func (r *releaser) look() bool {
	metrics.Read(r.samples)
	free, used := r.samples[0].Value.Uint64(), r.samples[1].Value.Uint64()
	much := free > releaseLeast && free > 2*used
	due := much && r.before
	r.before = much && !due
	if due {
		debug.FreeOSMemory()
	}
	return due
}

// startReleasing looks now and then until stop is called.
func startReleasing() (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		r, tick := newReleaser(), time.NewTicker(releaseInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.look()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}
