package tune_test

import (
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
)

// A path of 50 ms and 1.25 MB/s, on which as much is always in flight as the
// estimator allows: what is measured is the queue too.
func TestPath_behindItsOwnQueue(t *testing.T) {
	const (
		base = 50 * time.Millisecond
		rate = 1_250_000 // bytes per second
	)
	e := new(tune.Path)
	flight, worst := 64<<10, 0
	for now := time.Second; now < 5*time.Minute; {
		took := max(base, time.Duration(flight)*time.Second/rate)
		now += took
		e.Sample(now, took, uint64(float64(rate)*took.Seconds()), took)
		flight = e.MaxInFlight()
		worst = max(worst, flight)
	}
	if limit := 3 * 62_500; worst > limit {
		t.Fatalf("%d bytes were in flight, want at most three times the path's %d", worst, limit/3)
	}
}

func TestPath_short(t *testing.T) {
	e := new(tune.Path)
	e.Sample(time.Second, 100*time.Microsecond, 10_000, 100*time.Microsecond)
	if got, want := e.MaxInFlight(), 1_000_000; got != want {
		t.Fatalf("bound %d on a path of 100 MB/s, want what it carries in 10 ms: %d", got, want)
	}
}

func TestPath_longer(t *testing.T) {
	e := new(tune.Path)
	now := time.Second
	e.Sample(now, 10*time.Millisecond, 100_000, 10*time.Millisecond)
	for range 400 {
		now += 100 * time.Millisecond
		e.Sample(now, 100*time.Millisecond, 100_000, 100*time.Millisecond)
	}
	if got, want := e.MaxInFlight(), 150_000; got != want {
		t.Fatalf("bound %d after the path became longer, want %d", got, want)
	}
}
