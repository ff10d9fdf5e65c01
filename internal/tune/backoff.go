package tune

import (
	"math/rand/v2"
	"time"
)

// Backoff spaces out attempts after failures, with full jitter.
type Backoff struct {
	First, Max time.Duration
	Factor     float64
	Failures   int // in a row
}

// Next returns how long to wait after one more failure.
func (b *Backoff) Next() time.Duration {
	d := float64(b.First)
	for range b.Failures {
		d = min(d*b.Factor, float64(b.Max))
	}
	b.Failures++
	return Jitter(time.Duration(d))
}

// Reset forgets the failures.
func (b *Backoff) Reset() { b.Failures = 0 }

// Jitter returns a random time below d; 0 if d is not positive.
func Jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // spreads load, hides nothing
}
