package session

import "time"

// estimator learns a path's round-trip time and rate from acked frames.
type estimator struct {
	smooth  time.Duration // smoothed round-trip time; 0: not measured
	least   time.Duration // least round-trip time of late
	leastAt time.Duration
	drained time.Duration // since when little is sent, for least to be measured; 0: it is not
	rate    float64       // bytes per second, the best of late
	rateAt  time.Duration
}

// memory is how long the best of late counts.
const memory = 10 * time.Second

// rtt takes a measured round-trip time.
func (e *estimator) rtt(now, sample time.Duration) {
	sample = max(sample, time.Microsecond)
	if e.smooth == 0 {
		e.smooth = sample
	} else {
		e.smooth += (sample - e.smooth) / 8
	}
	switch {
	case e.least == 0, sample <= e.least, e.drained > 0 && now-sample >= e.drained:
		e.least, e.leastAt, e.drained = sample, now, 0
	case e.drained == 0 && now-e.leastAt > memory:
		e.drained = now
	}
}

// emptied notes that an exchange with a body of n bytes is over: what was in
// flight beside a long one does not tell the least round-trip time.
func (e *estimator) emptied(now time.Duration, n int) {
	if e.drained > 0 && n > leastBatch {
		e.drained = now
	}
}

// sample takes a frame's round-trip time, and what was delivered meanwhile in
// what time.
func (e *estimator) sample(now, rtt time.Duration, delivered uint64, took time.Duration) {
	e.rtt(now, rtt)
	if took <= 0 {
		return
	}
	rate := float64(delivered) / took.Seconds()
	if rate >= e.rate || now-e.rateAt > memory {
		e.rate, e.rateAt = rate, now
	}
}

// atLeast is the longer of a floor and n round-trip times: timers scale with
// the path and are never shorter than what a busy machine needs.
func (e *estimator) atLeast(floor time.Duration, n int) time.Duration {
	return max(floor, time.Duration(n)*e.smooth)
}

// A WebSocket may always have minFlight in flight, and what its path carries
// in leastFlight: on a short and fast path each end is so busy for longer than
// the other takes to be woken.
const (
	minFlight   = 64 << 10
	leastFlight = 10 * time.Millisecond

	// drainedFlight is what is acked at once, and no more.
	drainedFlight = 2 * frameRoom
)

// bound is the most that should be in flight on a WebSocket, so that the
// kernel's buffers do not become the queue. Every so often it is little, since
// a round-trip time that is measured behind a queue would lengthen the queue.
func (e *estimator) bound() int {
	if e.drained > 0 {
		return drainedFlight
	}
	return max(minFlight, int(e.rate*max(e.least*3/2, leastFlight).Seconds()))
}

// flight is what was handed to a WebSocket and is not acked.
type flight struct {
	x      uint64
	flying int
	passed int // acked since the batches last grew
}

// growAfter is how many batches must have been acked until they grow.
const growAfter = 4

// acked notes that n bytes of the flight arrived: batches may be longer.
func (fl *flight) acked(n int, batch *sizeTuner) {
	if fl.passed += n; fl.passed >= growAfter*batch.size {
		fl.passed = 0
		batch.grow()
	}
}

func (fl *flight) add(f *sentFrame) {
	if fl != nil && f.on.ws && f.on.x == fl.x {
		fl.flying += f.cost
	}
}

// remove reports whether the frame was in this flight.
func (fl *flight) remove(f *sentFrame) bool {
	if fl == nil || !f.on.ws || f.on.x != fl.x {
		return false
	}
	fl.flying -= f.cost
	return true
}
