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
	growth        growth // of maxRate
	bunch         bunch
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

// Sample takes the round-trip time of a frame of n bytes that was acked, and how many
// bytes were delivered in what time since it was sent.
func (p *Path) Sample(now, rtt time.Duration, n int, delivered uint64, took time.Duration) {
	p.RTT(now, rtt)
	defer func() { p.bunch.acked(now, n, p.maxRate, false) }()
	if took <= 0 {
		return
	}
	rate := float64(delivered) / took.Seconds()
	if rate >= p.maxRate || now-p.maxRateAt > rateWindow {
		if rate < p.maxRate/2 {
			p.growth = growth{}
		}
		p.maxRate, p.maxRateAt = rate, now
	}
	p.growth.sampled(now, now-rtt, p.maxRate)
}

// bunch is by how much what was acked ran ahead of the rate, at most of late: BBR's
// estimate of ack aggregation (bbr_update_ack_aggregation of Linux). Acks come in
// bunches where an end, or what is between, is busy for longer than a round trip takes.
type bunch struct {
	size  int32 // bytes
	count int32 // bytes acked since start
	first int32 // of these, in the body that came then: it took its own time before
	at    time.Duration
	start time.Duration // of what is counted
}

// longestBunch bounds a bunch, as Linux does: a rate that is believed a little too low
// is none.
const longestBunch = 100 * time.Millisecond

// acked notes that n bytes were acked on a path of that rate, or came as a whole body.
func (b *bunch) acked(now time.Duration, n int, rate float64, body bool) {
	expected := int32(min(rate*(now-b.start).Seconds(), mostCarried))
	if b.count <= expected || now-b.start > longestBunch {
		b.start, b.count, b.first, expected = now, 0, 0, 0
		if body {
			b.first = int32(n)
		}
	}
	b.count += int32(n)
	if size := max(b.count-b.first-expected, 0); size >= b.size || now-b.at > rateWindow {
		b.size, b.at = size, now
	}
}

// Filled notes that more would have been sent but for MaxInFlight.
func (p *Path) Filled() { p.growth.filled = true }

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
	// probeInFlight is the least while minRTT is measured: two frames.
	probeInFlight = 2 * (16<<10 + 32)
)

// MaxInFlight returns how many bytes should be in flight on a lasting link at
// most, so that the kernel's buffers do not become the queue: three times what the
// rate fills the path with while that grows, and one and a half times from then on; or
// what fills it and as much as was acked in a bunch, half as much more while the rate grows.
// Every so often it is half of it, which leaves no queue, since a minRTT measured
// behind a queue would lengthen the queue.
func (p *Path) MaxInFlight() int {
	bunched := p.carries(p.minRTT) + int(p.bunch.size)
	switch {
	case p.probing():
		return max(probeInFlight, p.carries(p.minRTT/2))
	case p.growth.over:
		return max(minInFlight, p.carries(max(p.minRTT*3/2, minFlightTime)), bunched)
	}
	return max(minInFlight, p.carries(max(p.minRTT*3, minFlightTime)), bunched*3/2)
}

// batchTime is how long a batch over FirstBatch may take to be written: what is short
// waits behind it.
const batchTime = 2 * time.Millisecond

// MaxBatch returns how many bytes a batch on a lasting link should have at most: what
// the path carries in batchTime, or FirstBatch; and a quarter of what may be in flight,
// since nothing of a batch is acked before its end. With halves the path would stand
// idle, and be taken for a slower one.
func (p *Path) MaxBatch() int {
	return min(max(FirstBatch, p.carries(batchTime)), p.MaxInFlight()/4)
}

// carries returns how many bytes the path carries in that time.
func (p *Path) carries(d time.Duration) int {
	return int(min(p.maxRate*d.Seconds(), mostCarried))
}

// mostCarried bounds estimates, so that they fit an int.
const mostCarried = 1 << 30
