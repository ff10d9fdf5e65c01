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
	flight, worst, later := 64<<10, 0, 0
	for now := time.Second; now < 5*time.Minute; {
		took := max(base, time.Duration(flight)*time.Second/rate)
		now += took
		e.Sample(now, took, 0, uint64(float64(rate)*took.Seconds()), took)
		e.Filled()
		flight = e.MaxInFlight()
		worst = max(worst, flight)
		if now > 2*time.Second {
			later = max(later, flight)
		}
	}
	if limit := 62_500; worst > limit*16/5 || later > limit*2 {
		t.Fatalf("%d bytes were in flight, and %d after the start, want at most 3.2 and 2 times the path's %d", worst, later, limit)
	}
}

func TestPath_short(t *testing.T) {
	e := new(tune.Path)
	e.Sample(time.Second, 100*time.Microsecond, 0, 10_000, 100*time.Microsecond)
	if got, want := e.MaxInFlight(), 1_000_000; got != want {
		t.Fatalf("bound %d on a path of 100 MB/s, want what it carries in 10 ms: %d", got, want)
	}
}

func TestPath_longer(t *testing.T) {
	e := new(tune.Path)
	now := time.Second
	e.Sample(now, 10*time.Millisecond, 0, 100_000, 10*time.Millisecond)
	for range 400 {
		now += 100 * time.Millisecond
		e.Filled()
		e.Sample(now, 100*time.Millisecond, 0, 100_000, 100*time.Millisecond)
	}
	if got, want := e.MaxInFlight(), 150_000; got != want {
		t.Fatalf("bound %d after the path became longer, want %d", got, want)
	}
}

// What is in flight at least doubles each round trip until the path is full,
// whatever the pauses in between, and leaves half of it while the RTT is measured.
func TestPath_start(t *testing.T) {
	const (
		rtt  = 100 * time.Millisecond
		rate = 100_000_000 // bytes per second
	)
	e := new(tune.Path)
	now, trips := time.Second, 0
	for ; e.MaxInFlight() < rate/10; trips++ {
		if trips > 10 {
			t.Fatalf("%d bytes in flight after %d round trips, the path takes %d", e.MaxInFlight(), trips, rate/10)
		}
		for range 5 { // ping-pong: nothing held it up
			now += rtt
			e.Sample(now, rtt, 0, 100, rtt)
		}
		flight := min(e.MaxInFlight(), rate/10)
		e.Filled()
		now += rtt
		e.Sample(now, rtt, 0, uint64(flight), rtt)
	}
	for range 4 {
		e.Filled()
		now += rtt
		e.Sample(now, rtt, 0, rate/10, rtt)
	}
	if got, want := e.MaxInFlight(), rate/10*3/2; got != want {
		t.Errorf("%d bytes in flight after the start, want %d", got, want)
	}
	now += 11 * time.Second
	e.Sample(now, 2*rtt, 0, rate/5, 2*rtt)
	if got, want := e.MaxInFlight(), rate/20; got != want {
		t.Errorf("%d bytes in flight while the least RTT is measured, want %d", got, want)
	}
}

// Acks that come in bunches, since an end is busy for longer than a round trip takes, do
// not keep what is in flight short.
func TestPath_bunches(t *testing.T) {
	const rtt, busy, frame = 20 * time.Millisecond, 100 * time.Millisecond, 16 << 10
	var p tune.Path
	p.RTT(0, rtt)
	flight := p.MaxInFlight()
	for now := busy; now < 4*time.Second && flight < 1<<20; now += busy {
		p.Filled()
		for acked := 0; acked < flight; acked += frame {
			p.Sample(now, busy, frame, uint64(flight), busy)
		}
		flight = p.MaxInFlight()
	}
	if flight < 1<<20 {
		t.Errorf("%d bytes in flight after 40 bunches, want 1 MiB", flight)
	}
}

// A batch is as long as the path carries in 2 ms, from 64 KiB on, and a quarter of what
// may be in flight.
func TestPath_maxBatch(t *testing.T) {
	for _, c := range []struct {
		rtt  time.Duration
		rate uint64 // bytes per second
		want int
	}{
		{20 * time.Millisecond, 1_000_000, 16 << 10}, // 64 KiB may be in flight
		{20 * time.Millisecond, 25_000_000, 64 << 10},
		{20 * time.Millisecond, 100_000_000, 200_000},
		{100 * time.Microsecond, 400_000_000, 800_000},
	} {
		var p tune.Path
		p.Sample(time.Second, c.rtt, 0, c.rate/1000, time.Millisecond)
		if got := p.MaxBatch(); got != c.want {
			t.Errorf("%d bytes a second: batches of %d bytes, want %d", c.rate, got, c.want)
		}
	}
}
