package session

import (
	"math/rand/v2"
	"time"
)

// backoff spaces out attempts after failures, with full jitter.
type backoff struct {
	first, most time.Duration
	factor      float64
	failures    int
}

// next is how long to wait after one more failure.
func (b *backoff) next() time.Duration {
	d := float64(b.first)
	for range b.failures {
		d = min(d*b.factor, float64(b.most))
	}
	b.failures++
	return jitter(time.Duration(d))
}

func (b *backoff) reset() { b.failures = 0 }

// jitter is a random time up to d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // spreads load, hides nothing
}

// holdTuner learns how long exchanges may be held on this network.
type holdTuner struct {
	hold, most time.Duration
	last       time.Duration // age of the last cut; 0: none yet
	clean      int           // polls since that went well
}

const (
	leastHold  = 5 * time.Second
	cleanPolls = 20
)

// cut notes that an exchange of that age was cut off. Two at a similar age
// teach the hold.
func (h *holdTuner) cut(age time.Duration) {
	similar := h.last > 0 && age > h.last*4/5 && age < h.last*5/4
	h.last, h.clean = age, 0
	if similar {
		h.hold = min(h.hold, max(leastHold, age*7/10))
	}
}

// kept notes that an exchange was answered at its hold's end.
func (h *holdTuner) kept() {
	if h.clean++; h.clean >= cleanPolls {
		h.clean = 0
		h.hold = min(h.most, h.hold*6/5)
	}
}

// sizeTuner learns how large a batch this network takes.
type sizeTuner struct{ size, most int }

const (
	firstBatch = 64 << 10
	mostBatch  = 512 << 10
	leastBatch = 4 << 10
	quickAck   = time.Second
)

func (t *sizeTuner) failed() { t.size = max(t.size/2, leastBatch) }

func (t *sizeTuner) grow() { t.size = min(t.size*2, t.most) }

// passed notes that a batch of n bytes was acked after d.
func (t *sizeTuner) passed(n int, d time.Duration) {
	if n > t.size/2 && d < quickAck {
		t.grow()
	}
}
