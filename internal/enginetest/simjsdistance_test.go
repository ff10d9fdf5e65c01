package enginetest_test

import (
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/transport"
)

// onNode runs f with the TypeScript engine on a path, both ways and on both transports.
func (f far) onNode(t *testing.T, run func(far, *testing.T)) {
	if *simJS == "" {
		t.Skip("-sim.js is not given")
	}
	n := startNode(t, *simJS)
	f.each(func(f far) {
		t.Run(f.String(), func(t *testing.T) {
			f.start = n.client(t, 1)
			run(f, t)
		})
	})
}

// TestSimJS_distance holds the TypeScript engine to TestDistance_fills.
func TestSimJS_distance(t *testing.T) {
	t.Parallel()
	for _, f := range []far{
		{rtt: 20 * time.Millisecond, mbit: 50},
		{rtt: 100 * time.Millisecond, mbit: 10},
		{rtt: 100 * time.Millisecond, mbit: 50},
		{rtt: 100 * time.Millisecond, mbit: 200},
		{rtt: 300 * time.Millisecond, mbit: 50},
	} {
		if f.mbit == 200 && *simJSEvery > 1 {
			continue // it takes as long as all others: ./test.sh full has it
		}
		f.onNode(t, func(f far, t *testing.T) { f.fills(t, max(4*time.Second, 20*f.rtt)) })
	}
}

// TestSimJS_shares holds it to TestDistance_shares.
func TestSimJS_shares(t *testing.T) {
	t.Parallel()
	far{rtt: 100 * time.Millisecond, mbit: 50, streams: 8}.onNode(t, far.shares)
}

// TestSimJS_losses holds it to TestDistance_losses.
func TestSimJS_losses(t *testing.T) {
	t.Parallel()
	lossy(10*time.Millisecond).onNode(t, far.losses)
}

// TestSimJS_stalls holds it to TestDistance_stalls.
func TestSimJS_stalls(t *testing.T) {
	t.Parallel()
	if *simJS == "" {
		t.Skip("-sim.js is not given")
	}
	stalls(t, startNode(t, *simJS).client(t, 1))
}

// TestSimJS_unlimited holds it to TestDistance_unlimited.
func TestSimJS_unlimited(t *testing.T) {
	t.Parallel()
	far{rtt: 100 * time.Millisecond}.onNode(t, func(f far, t *testing.T) { f.unlimited(t) })
}

// TestSimJS_busyEnds holds it to TestDistance_busyEnds.
func TestSimJS_busyEnds(t *testing.T) {
	t.Parallel()
	far{rtt: 20 * time.Millisecond, mbit: 50, jitter: 100 * time.Millisecond}.onNode(t, func(f far, t *testing.T) {
		if f.kind == transport.WS {
			f.fills(t, 4*time.Second)
		}
	})
}

// TestSimJS_beside holds it to TestBeside, with a message of the length that a client
// takes by default.
func TestSimJS_beside(t *testing.T) {
	t.Parallel()
	if *simJS == "" {
		t.Skip("-sim.js is not given")
	}
	beside{long: 16 << 20, far: far{start: startNode(t, *simJS).client(t, 1)}}.each(t)
}
