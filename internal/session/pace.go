package session

import "time"

// pace keeps the bodies of one direction short enough for what waits behind
// them: nothing of a body counts before its end, and two are in flight.
type pace struct {
	passage
	rate   float64 // bytes a second, the best of late; 0: not known
	rateAt time.Duration
}

// passage is what got through in one direction, and when the last of it did.
type passage struct {
	total uint64
	at    time.Duration
}

const (
	// leastBody is the shortest that a body is made for others' sake: of one as
	// long, a break tells something.
	leastBody = plainFloor + 8<<10
	// bodyTime is how long a body may take where a round trip is shorter.
	bodyTime = 40 * time.Millisecond
)

// passed notes that a body of n bytes got through, and what had got through
// before it was sent. A short one says nothing of the rate.
func (p *pace) passed(now time.Duration, n int, before passage) {
	p.total += uint64(n)
	p.at = now
	if n < leastBody/2 {
		return
	}
	rate := float64(p.total-before.total) / max(now-before.at, time.Microsecond).Seconds()
	if rate >= p.rate || now-p.rateAt > memory {
		p.rate, p.rateAt = rate, now
	}
}

// bound is how long a body may be, size at most. Two that each take nearly a
// round trip nearly fill a path.
func (p *pace) bound(size int, path *estimator) int {
	switch {
	case p.rate == 0:
		return size
	case path.drained > 0:
		return min(size, leastBatch)
	}
	took := max(path.least*4/5, bodyTime)
	return min(size, max(leastBody, int(p.rate*took.Seconds())))
}

// measure learns the uplink's rate.
func (e *exchanges) measure(x *exchange, took time.Duration) {
	if x.size < firstBatch/4 {
		return
	}
	rate := float64(x.size) / max(took, time.Microsecond).Seconds()
	if e.rate == 0 {
		e.rate = rate
		return
	}
	e.rate += (rate - e.rate) / 4
}

// freeUpload is what an uplink carries in no time worth counting.
const freeUpload = 4 << 10

// unknownRate is what an uplink is taken for before it is measured.
const unknownRate = 4 << 10

// uploadTime is what n bytes may take at half the measured rate.
func uploadTime(n int, rate float64) time.Duration {
	if n <= freeUpload {
		return 0
	}
	if rate /= 2; rate == 0 {
		rate = unknownRate
	}
	return time.Duration(float64(n-freeUpload) / rate * float64(time.Second))
}
