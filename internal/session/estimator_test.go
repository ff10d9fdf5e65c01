package session_test

import (
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/session"
)

// A path of 50 ms and 1.25 MB/s, on which as much is always in flight as the
// estimator allows: what is measured is the queue too.
func TestBoundBehindItsOwnQueue(t *testing.T) {
	const (
		base = 50 * time.Millisecond
		rate = 1_250_000 // bytes per second
	)
	e := session.NewEstimator()
	flight, worst := 64<<10, 0
	for now := time.Second; now < 5*time.Minute; {
		took := max(base, time.Duration(flight)*time.Second/rate)
		now += took
		e.Sample(now, took, uint64(float64(rate)*took.Seconds()))
		flight = e.Bound()
		worst = max(worst, flight)
	}
	if limit := 3 * 62_500; worst > limit {
		t.Fatalf("%d bytes were in flight, want at most three times the path's %d", worst, limit/3)
	}
}

func TestBoundOfAShortPath(t *testing.T) {
	e := session.NewEstimator()
	e.Sample(time.Second, 100*time.Microsecond, 10_000)
	if got, want := e.Bound(), 1_000_000; got != want {
		t.Fatalf("bound %d on a path of 100 MB/s, want what it carries in 10 ms: %d", got, want)
	}
}

func TestBoundOfALongerPath(t *testing.T) {
	e := session.NewEstimator()
	now := time.Second
	e.Sample(now, 10*time.Millisecond, 100_000)
	for range 400 {
		now += 100 * time.Millisecond
		e.Sample(now, 100*time.Millisecond, 100_000)
	}
	if got, want := e.Bound(), 150_000; got != want {
		t.Fatalf("bound %d after the path became longer, want %d", got, want)
	}
}
