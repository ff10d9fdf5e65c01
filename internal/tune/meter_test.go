package tune_test

import (
	"math"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
)

func TestMeter(t *testing.T) {
	m := new(tune.Meter)
	if m.Total() != 0 || m.Rate(time.Hour) != 0 {
		t.Fatalf("new: %d bytes, %v per second", m.Total(), m.Rate(time.Hour))
	}
	now := time.Minute
	for range 300 { // 10,000 bytes per second for 30 s
		now += 100 * time.Millisecond
		m.Add(now, 1000)
	}
	if got := m.Rate(now); m.Total() != 300_000 || math.Abs(got-10_000) > 200 {
		t.Errorf("%d bytes, %v per second, want 300000 and some 10000", m.Total(), got)
	}
	if got := m.Rate(now + 3*time.Second); math.Abs(got-10_000/math.E) > 100 {
		t.Errorf("%v per second after 3 s of silence, want 1/e of it", got)
	}
	if got := m.Rate(now + time.Minute); got > 1 {
		t.Errorf("%v per second after a minute of silence, want next to nothing", got)
	}
}
