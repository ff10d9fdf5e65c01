package tune

import "time"

// Pace keeps the bodies of one direction short enough for what waits behind
// them: nothing of a body counts before its end, and two are in flight, or more
// where two of the longest do not fill the path.
type Pace struct {
	Passage
	maxRate   float64 // bytes per second; 0: not known
	maxRateAt time.Duration
	growth    growth // of maxRate
	bunch     bunch
	max       int // the length that Bodies returned last
	short     int // bodies in a row that were not longer than half of it
}

// Passage is how many bytes got through in one direction, and when the last of
// them did.
type Passage struct {
	total uint64
	At    time.Duration
}

const (
	// MinPacedBody is the length below which bodies are not cut for others' sake:
	// a break of a shorter one could not be told from losses unrelated to length.
	MinPacedBody = minRefusable + 8<<10
	// minBodyTime is how long a body may take where a round trip is shorter.
	minBodyTime = 40 * time.Millisecond
	// minBodies is how many bodies are in flight at least.
	minBodies = 2
)

// Passed notes that a body of n bytes got through, and what had got through
// before it was sent. A short one says nothing of the rate.
func (p *Pace) Passed(now time.Duration, n int, before Passage) {
	p.total += uint64(n)
	p.At = now
	if p.short++; n > p.max/2 {
		p.short = 0
	}
	if n < MinPacedBody/2 {
		return
	}
	passed := p.total - before.total
	rate := float64(passed) / max(now-before.At, time.Microsecond).Seconds()
	if rate >= p.maxRate || now-p.maxRateAt > rateWindow {
		if rate < p.maxRate/2 {
			p.growth = growth{}
		}
		p.maxRate, p.maxRateAt = rate, now
	}
	if p.short == 0 && passed >= uint64(n+MinPacedBody/2) { // with another beside it
		p.growth.filled = true
	}
	p.growth.sampled(now, before.At, p.maxRate)
	p.bunch.acked(now, n, p.maxRate, true)
}

// Bodies returns how long a body may be, size at most, and how many to have in
// flight, most at most: two that each take nearly a round trip nearly fill a path. Where
// they would be longer than size, or bodies come in bunches, there are as many more as
// together are as long, while one of as many is longer than half of what it may be.
func (p *Pace) Bodies(size, most int, path *Path) (length, n int) {
	p.max, n = p.bodies(size, most, path)
	return p.max, n
}

func (p *Pace) bodies(size, most int, path *Path) (length, n int) {
	switch {
	case p.maxRate == 0:
		return size, minBodies
	case path.probing():
		return min(size, minBatch), minBodies
	}
	took := path.minRTT * 9 / 10
	if !p.growth.over {
		took = path.minRTT * 5 / 4 // two in flight: the rate more than doubles where the path lets it
	}
	all := minBodies * int(min(p.maxRate*max(took, minBodyTime).Seconds(), mostCarried/minBodies))
	n = minBodies
	if p.short < most {
		n = min(max((all+size-1)/size, minBodies), most)
	}
	length = min(size, max(MinPacedBody, all/n))
	if p.short < most { // in a bunch they came as late as that
		n = min(n+(int(p.bunch.size)+length/2)/length, most)
	}
	return length, n
}

// Upload learns how long requests take to be sent.
type Upload struct {
	rate float64 // smoothed, bytes per second; 0: not known
}

// Passed notes that n bytes were acked after d. Short ones say nothing.
func (u *Upload) Passed(n int, d time.Duration) {
	if n < FirstBatch/4 {
		return
	}
	rate := float64(n) / max(d, time.Microsecond).Seconds()
	if u.rate == 0 {
		u.rate = rate
		return
	}
	u.rate += (rate - u.rate) / 4
}

// Time returns how long n bytes may take.
func (u *Upload) Time(n int) time.Duration { return UploadTime(n, u.rate) }

const (
	// freeUpload bytes take no time worth counting.
	freeUpload = 4 << 10
	// unknownRate, in bytes per second, is assumed before the rate is measured.
	unknownRate = 4 << 10
)

// UploadTime returns how long n bytes may take at half the given rate, in bytes
// per second; 0: not known.
func UploadTime(n int, rate float64) time.Duration {
	if n <= freeUpload {
		return 0
	}
	if rate /= 2; rate == 0 {
		rate = unknownRate
	}
	return time.Duration(float64(n-freeUpload) / rate * float64(time.Second))
}
