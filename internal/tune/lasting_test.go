package tune_test

import (
	"testing"

	"github.com/pollbridge/pollbridge/internal/tune"
)

// A Lasting after each of a row of links.
func TestLasting(t *testing.T) {
	const acked = 1 << 20
	type step struct {
		what string
		do   func(*tune.Lasting)
		size int
	}
	passed := func(n int) func(*tune.Lasting) { return func(l *tune.Lasting) { l.Passed(n) } }
	broke := func(n int) func(*tune.Lasting) { return func(l *tune.Lasting) { l.Broke(acked, n) } }
	times := func(n int, f func(*tune.Lasting)) func(*tune.Lasting) {
		return func(l *tune.Lasting) {
			for range n {
				f(l)
			}
		}
	}
	for name, steps := range map[string][]step{
		"cuts alone say nothing": {
			{"no batch was longer", times(100, broke(0)), 64 << 10},
			{"short ones", times(100, broke(4<<10)), 64 << 10},
			{"long ones, but such got through", times(100, func(l *tune.Lasting) { l.Broke(acked, 64<<10); l.Passed(60 << 10) }), 128 << 10},
		},
		"a length that breaks links": {
			{"once", broke(64 << 10), 64 << 10},
			{"twice", broke(60 << 10), 64 << 10},
			{"three times", broke(64 << 10), 30 << 10},
			{"shorter ones too", broke(30 << 10), 15 << 10},
			{"never below the least", times(20, broke(15<<10)), 4 << 10},
		},
		"it is tried again later": {
			{"refused", times(3, broke(64<<10)), 32 << 10},
			{"3 clean ones", times(3, passed(32<<10)), 32 << 10},
			{"the 4th", passed(32 << 10), 64 << 10},
			{"refused again", broke(64 << 10), 32 << 10},
			{"7 clean ones", times(7, passed(32<<10)), 32 << 10},
			{"the 8th", passed(32 << 10), 64 << 10},
			{"the trial got through", passed(64 << 10), 128 << 10},
			{"a break counts as the first again", broke(64 << 10), 128 << 10},
		},
		"a long one is refused by one break, for good": {
			{"a short one got through", passed(30 << 10), 64 << 10},
			{"a long one", passed(64 << 10), 128 << 10},
			{"a longer one", passed(100 << 10), 256 << 10},
			{"cuts alone", times(10, broke(0)), 256 << 10},
			{"a length that explains a break", broke(65 << 10), 64 << 10},
			{"clean ones", times(1000, passed(64<<10)), 64 << 10},
			{"others as ever", times(3, broke(64<<10)), 32 << 10},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := &tune.Lasting{Size: tune.FirstBatch, Max: tune.MaxLasting}
			for _, s := range steps {
				if s.do(l); l.Size != s.size {
					t.Fatalf("%s: size %d, want %d", s.what, l.Size, s.size)
				}
			}
		})
	}
}

// Where links broke twice with nothing acked, a new one sends one batch alone,
// until one has carried much.
func TestLasting_opened(t *testing.T) {
	l := &tune.Lasting{Size: 64 << 10, Max: 64 << 10}
	for i, careful := range []bool{false, false, true} {
		if l.Opened() != careful {
			t.Errorf("after %d barren links: careful %v", i, !careful)
		}
		l.Broke(0, 100)
	}
	if l.Acked(64<<10 - 1); !l.Opened() {
		t.Error("not careful after a link that carried little")
	}
	if l.Acked(64 << 10); l.Opened() {
		t.Error("careful after a link that carried much")
	}
}
