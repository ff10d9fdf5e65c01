package tune

import (
	"math"
	"time"
)

// Meter counts bytes, and how many pass per second: an average of which what is
// meterSpan old counts 1/e.
type Meter struct {
	total uint64
	rate  float64
	at    time.Duration // of rate
}

const meterSpan = 3 * time.Second

// Add counts n bytes.
func (m *Meter) Add(now time.Duration, n int) {
	m.rate = m.Rate(now) + float64(n)/meterSpan.Seconds()
	m.total, m.at = m.total+uint64(n), now
}

// Total is how many bytes were counted.
func (m *Meter) Total() uint64 { return m.total }

// Rate is how many bytes pass per second.
func (m *Meter) Rate(now time.Duration) float64 {
	if m.rate == 0 {
		return 0
	}
	return m.rate * math.Exp(-float64(now-m.at)/float64(meterSpan))
}
