package main

import (
	"log/slog"
	"os"
	"runtime"
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
	// leastPercent is what a heap may grow by, however large it is.
	leastPercent = 50
	// leastGarbage is how many bytes the heap may grow by in any case, within
	// gcPercent: else by as many as may be buffered.
	leastGarbage = 128 << 20
	// memoryShare is the share of the container's or machine's memory at which
	// the collector works harder instead.
	memoryShare = 0.9

	// releaseInterval is how often it is looked whether memory can go back to the
	// system: left alone, the runtime keeps what such a heap once had for long.
	releaseInterval = 30 * time.Second
	// releaseLeast is not worth the page faults when it is needed again.
	releaseLeast = 64 << 20
)

// tuneMemory configures the garbage collector for a bridge that buffers so many
// bytes. GOGC and GOMEMLIMIT in the environment take precedence.
func tuneMemory(logger *slog.Logger, buffered int64) {
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
		(&pacer{garbage: max(leastGarbage, uint64(buffered)), percent: gcPercent}).arm()
	}
	_, err := memlimit.Set(
		memlimit.WithRatio(memoryShare),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)),
	)
	if err != nil {
		logger.Warn("memory limit unknown; set one with GOMEMLIMIT", "err", err)
	}
}

// pacer sets after each collection how far the heap may grow until the next, so
// that what is resident does not grow with gcPercent when much is buffered.
type pacer struct {
	garbage uint64 // bytes
	percent int    // what is set
}

// arm has the pacer look after the next collection, and each that follows.
func (p *pacer) arm() {
	runtime.SetFinalizer(&struct{ next *pacer }{p}, func(s *struct{ next *pacer }) {
		s.next.look()
		s.next.arm()
	})
}

func (p *pacer) look() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := p.growth(live[0].Value.Uint64())
	if percent != p.percent {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
}

// growth is the percentage by which a heap with so many bytes alive may grow.
func (p *pacer) growth(live uint64) int {
	return max(leastPercent, int(min(gcPercent, 100*p.garbage/max(1, live))))
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
