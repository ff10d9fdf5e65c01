package tune_test

import (
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
)

// A window grows to four times what its reader consumes in a round trip, and
// shrinks again for a slow one.
func TestWindow(t *testing.T) {
	const rtt = 100 * time.Millisecond
	w := tune.Window{Size: 64 << 10, Min: 64 << 10, Max: 8 << 20}
	now, consumed := time.Duration(0), uint64(0)
	read := func(rate int, during time.Duration) {
		for end := now + during; now < end; {
			now += rtt / 100
			consumed += uint64(rate) / 1000
			w.Size = w.Next(now, rtt, consumed)
		}
	}
	for _, c := range []struct {
		what        string
		rate        int // bytes per second
		during      time.Duration
		least, most int
	}{
		{"a slow reader", 100_000, 10 * time.Second, 64 << 10, 64 << 10},
		{"one of 5 MB/s", 5_000_000, 3 * time.Second, 2 << 20, 4 << 20},
		{"one of 50 MB/s", 50_000_000, 3 * time.Second, 8 << 20, 8 << 20},
		{"5 MB/s again", 5_000_000, 3 * time.Second, 8 << 20, 8 << 20},
		{"1 MB/s", 1_000_000, 30 * time.Second, 1 << 20, 4 << 20},
		{"slow again", 20_000, 10 * time.Minute, 64 << 10, 64 << 10},
	} {
		if read(c.rate, c.during); w.Size < c.least || w.Size > c.most {
			t.Errorf("%s: a window of %d bytes, want %d to %d", c.what, w.Size, c.least, c.most)
		}
	}
}
