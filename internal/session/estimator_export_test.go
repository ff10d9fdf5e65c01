package session

import "time"

// Estimator is what a session learns of a path.
type Estimator struct{ estimator }

func NewEstimator() *Estimator { return new(Estimator) }

// Sample takes a frame's round-trip time and what was delivered meanwhile.
func (e *Estimator) Sample(now, rtt time.Duration, delivered uint64) {
	e.sample(now, rtt, delivered, rtt)
}

// Bound is the most that should be in flight.
func (e *Estimator) Bound() int { return e.bound() }
