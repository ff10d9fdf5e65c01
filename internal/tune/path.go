package tune

import "time"

// Path estimates a path's round-trip time and rate from acked frames, with the
// filters of BBR: the maximum rate and the minimum round-trip time of the last
// rateWindow.
type Path struct {
	smoothedRTT   time.Duration // 0: not measured
	minRTT        time.Duration // 0: not measured
	minRTTAt      time.Duration
	probeRTTStart time.Duration // when the flight was reduced to measure minRTT (BBR's PROBE_RTT); 0: it is not
	maxRate       float64       // bytes per second; 0: not measured
	maxRateAt     time.Duration
}

// rateWindow is the window of the max-rate and the min-RTT filters.
const rateWindow = 10 * time.Second

// SmoothedRTT is the smoothed round-trip time; 0 before the first sample.
func (p *Path) SmoothedRTT() time.Duration { return p.smoothedRTT }

// Rate is the best rate of late in bytes per second; 0 before the first sample.
func (p *Path) Rate() float64 { return p.maxRate }

// RTT takes a measured round-trip time.
func (p *Path) RTT(now, sample time.Duration) {
	sample = max(sample, time.Microsecond)
	if p.smoothedRTT == 0 {
		p.smoothedRTT = sample
	} else {
		p.smoothedRTT += (sample - p.smoothedRTT) / 8
	}
	switch {
	case p.minRTT == 0, sample <= p.minRTT, p.probing() && now-sample >= p.probeRTTStart:
		p.minRTT, p.minRTTAt, p.probeRTTStart = sample, now, 0
	case !p.probing() && now-p.minRTTAt > rateWindow:
		p.probeRTTStart = now
	}
}

// probing reports whether little is sent so that minRTT can be measured.
func (p *Path) probing() bool { return p.probeRTTStart > 0 }

// BodyPassed notes that an exchange with a body of n bytes is over: a sample
// taken beside a long one would not tell the least round-trip time.
func (p *Path) BodyPassed(now time.Duration, n int) {
	if p.probing() && n > minBatch {
		p.probeRTTStart = now
	}
}

// Sample takes a frame's round-trip time, and how many bytes were delivered in
// what time since the frame was sent.
func (p *Path) Sample(now, rtt time.Duration, delivered uint64, took time.Duration) {
	p.RTT(now, rtt)
	if took <= 0 {
		return
	}
	rate := float64(delivered) / took.Seconds()
	if rate >= p.maxRate || now-p.maxRateAt > rateWindow {
		p.maxRate, p.maxRateAt = rate, now
	}
}

// AtLeast returns the longer of floor and n round-trip times: timers scale with
// the path and are never shorter than what a busy machine needs.
func (p *Path) AtLeast(floor time.Duration, n int) time.Duration {
	return max(floor, time.Duration(n)*p.smoothedRTT)
}

const (
	// minInFlight bytes may always be in flight.
	minInFlight = 64 << 10
	// minFlightTime is the time whose traffic may always be in flight: on a short
	// and fast path each end is busy for longer than the other takes to wake up.
	minFlightTime = 10 * time.Millisecond
	// probeInFlight is what is acked at once, and no more: two frames.
	probeInFlight = 2 * (16<<10 + 32)
)

// MaxInFlight returns how many bytes should be in flight on a lasting link at
// most, so that the kernel's buffers do not become the queue. Every so often it is
// little, since a minRTT measured behind a queue would lengthen the queue.
func (p *Path) MaxInFlight() int {
	if p.probing() {
		return probeInFlight
	}
	return max(minInFlight, int(p.maxRate*max(p.minRTT*3/2, minFlightTime).Seconds()))
}
