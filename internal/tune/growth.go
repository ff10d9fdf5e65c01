package tune

import "time"

// growth tells when a rate has stopped growing, as in BBR's STARTUP: it grew by
// less than a quarter in each of three round trips in which more would have been
// sent.
type growth struct {
	roundStart time.Duration
	rate       float64 // when it last grew
	flat       int8    // round trips in a row without growth
	filled     bool    // in this round trip more would have been sent
	over       bool    // it has stopped
}

const (
	growing       = 1.25
	maxFlatRounds = 3
)

// sampled takes the rate, as known when what was sent at that time was acked.
func (g *growth) sampled(now, sent time.Duration, rate float64) {
	if sent < g.roundStart {
		return
	}
	g.roundStart = now
	if g.over || !g.filled {
		return
	}
	g.filled = false
	if rate >= g.rate*growing {
		g.rate, g.flat = rate, 0
		return
	}
	g.flat++
	g.over = g.flat >= maxFlatRounds
}
