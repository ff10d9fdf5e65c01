package tune_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
)

func TestBackoff(t *testing.T) {
	b := tune.Backoff{First: 100 * time.Millisecond, Max: time.Second, Factor: 2}
	for i, below := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
		if got := b.Next(); got < 0 || got >= below*time.Millisecond {
			t.Errorf("wait %d: %v, want less than %v ms", i+1, got, int64(below))
		}
	}
	b.Reset()
	if got := b.Next(); got >= 100*time.Millisecond {
		t.Errorf("wait after Reset: %v", got)
	}
	if got := tune.Jitter(0); got != 0 {
		t.Errorf("jitter of nothing: %v", got)
	}
}

func TestHold(t *testing.T) {
	const most = 25 * time.Second
	for name, c := range map[string]struct {
		cuts []time.Duration
		kept int
		want time.Duration
	}{
		"one cut teaches nothing":         {cuts: []time.Duration{10 * time.Second}, want: most},
		"two at a similar age do":         {cuts: []time.Duration{10 * time.Second, 9 * time.Second}, want: 6300 * time.Millisecond},
		"two at different ages do not":    {cuts: []time.Duration{20 * time.Second, 9 * time.Second}, want: most},
		"never below the least":           {cuts: []time.Duration{6 * time.Second, 6 * time.Second}, want: tune.MinHold},
		"19 clean ones change nothing":    {cuts: []time.Duration{20 * time.Second, 20 * time.Second}, kept: 19, want: 14 * time.Second},
		"20 clean ones lengthen it":       {cuts: []time.Duration{20 * time.Second, 20 * time.Second}, kept: 20, want: 16800 * time.Millisecond},
		"never beyond what is configured": {cuts: []time.Duration{20 * time.Second, 20 * time.Second}, kept: 100, want: most},
	} {
		t.Run(name, func(t *testing.T) {
			h := tune.Hold{Hold: most, Max: most}
			for _, age := range c.cuts {
				h.Cut(age)
			}
			for range c.kept {
				h.Kept()
			}
			if h.Hold != c.want {
				t.Errorf("hold %v, want %v", h.Hold, c.want)
			}
		})
	}
}

// A Downlink after each of a row of outcomes.
func TestDownlink(t *testing.T) {
	type step struct {
		what      string
		do        func(*tune.Downlink)
		size, ask int
	}
	now := time.Duration(0)
	passed := func(n int, more bool) func(*tune.Downlink) {
		return func(d *tune.Downlink) { d.Passed(n, time.Millisecond, more) }
	}
	failed := func(times int) func(*tune.Downlink) {
		return func(d *tune.Downlink) {
			for range times {
				now += time.Second
				d.Failed(now-time.Millisecond, now)
			}
		}
	}
	together := func(d *tune.Downlink) {
		now += time.Second
		for range 3 {
			d.Failed(now-time.Millisecond, now)
		}
	}
	const kib = 1 << 10
	full := func(n, times int) func(*tune.Downlink) {
		return func(d *tune.Downlink) {
			for range times {
				d.Passed(n, time.Millisecond, true)
			}
		}
	}
	for name, steps := range map[string][]step{
		"grows by long answers that come soon": {
			{"a short one", passed(32*kib, true), 64 * kib, 64 * kib},
			{"a slow one", func(d *tune.Downlink) { d.Passed(64*kib, time.Second, true) }, 64 * kib, 64 * kib},
			{"a long one", passed(33*kib, true), 128 * kib, 128 * kib},
			{"another", passed(128*kib, true), 256 * kib, 256 * kib},
			{"at the most", passed(256*kib, true), 256 * kib, 256 * kib},
		},
		"cut": {
			{"once", func(d *tune.Downlink) { d.Cut() }, 32 * kib, 32 * kib},
			{"a long one came", passed(32*kib, true), 64 * kib, 64 * kib},
		},
		"an outage tells nothing": {
			{"twice", failed(2), 64 * kib, 64 * kib},
			{"again and again", failed(9), 64 * kib, 4 * kib},
			{"an answer to which nothing is to come", passed(100, false), 64 * kib, 64 * kib},
		},
		"those that fail together tell no more than one": {
			{"three at once", together, 64 * kib, 64 * kib},
			{"again", together, 64 * kib, 64 * kib},
			{"again", together, 64 * kib, 4 * kib},
		},
		"a limit": {
			{"three failures", failed(3), 64 * kib, 4 * kib},
			{"a short one came, and more waits", passed(4*kib, true), 32 * kib, 32 * kib},
			{"seven full ones", full(32*kib, 7), 32 * kib, 32 * kib},
			{"the eighth tries again", full(32*kib, 1), 64 * kib, 64 * kib},
			{"three failures", failed(3), 64 * kib, 4 * kib},
			{"a short one came", passed(4*kib, true), 32 * kib, 32 * kib},
			{"fifteen full ones", full(32*kib, 15), 32 * kib, 32 * kib},
			{"the sixteenth", full(32*kib, 1), 64 * kib, 64 * kib},
			{"an answer nearly as long came", passed(60*kib, true), 128 * kib, 128 * kib},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := tune.Downlink{Size: 64 * kib, Max: 256 * kib}
			for i, s := range steps {
				s.do(&d)
				if d.Size != s.size || d.Ask() != s.ask {
					t.Errorf("step %d, %s: size %d, asks for %d, want %d, %d", i, s.what, d.Size, d.Ask(), s.size, s.ask)
				}
			}
		})
	}
}

// An Uplink after each of a row of outcomes.
func TestUplink(t *testing.T) {
	type step struct {
		what string
		do   func(*tune.Uplink)
		size int
	}
	passed := func(n int) func(*tune.Uplink) {
		return func(u *tune.Uplink) { u.Passed(n, time.Millisecond) }
	}
	failed := func(n int) func(*tune.Uplink) { return func(u *tune.Uplink) { u.Failed(n) } }
	for name, steps := range map[string][]step{
		"grows to the most": {
			{"a slow one", func(u *tune.Uplink) { u.Passed(64<<10, time.Second) }, 64 << 10},
			{"a short one", passed(32 << 10), 64 << 10},
			{"a full one", passed(64 << 10), 128 << 10},
			{"another", passed(128 << 10), 256 << 10},
			{"another", passed(256 << 10), 512 << 10},
			{"another", passed(512 << 10), 1 << 20},
			{"another", passed(1 << 20), 2 << 20},
			{"at the most", passed(2 << 20), 2 << 20},
		},
		"a break tells of a long one only": {
			{"32 KiB broke", func(u *tune.Uplink) { u.Broke(32 << 10) }, 64 << 10},
			{"more broke", func(u *tune.Uplink) { u.Broke(32<<10 + 1) }, 16 << 10},
		},
		"a break of what got through before tells nothing": {
			{"passed", passed(64 << 10), 128 << 10},
			{"a little more broke", func(u *tune.Uplink) { u.Broke(64<<10 + 100) }, 128 << 10},
			{"the same broke", func(u *tune.Uplink) { u.Broke(64 << 10) }, 128 << 10},
		},
		"other failures need a proof": {
			{"once", failed(64 << 10), 64 << 10},
			{"twice", failed(64 << 10), 64 << 10},
			{"three times", failed(64 << 10), 64 << 10},
			{"what has no frames got through", func(u *tune.Uplink) { u.Proof(true) }, 64 << 10},
			{"frames again did not", failed(64 << 10), 32 << 10},
		},
		"where nothing gets through they mean nothing": {
			{"three times", func(u *tune.Uplink) { u.Failed(64 << 10); u.Failed(64 << 10); u.Failed(64 << 10) }, 64 << 10},
			{"what has no frames neither", func(u *tune.Uplink) { u.Proof(false) }, 64 << 10},
			{"frames", failed(64 << 10), 64 << 10},
		},
		"the bridge states its limit": {
			{"too long", func(u *tune.Uplink) { u.OverLimit(64<<10, 10<<10) }, 10 << 10},
			{"it never grows beyond", passed(10 << 10), 10 << 10},
			{"no limit stated", func(u *tune.Uplink) { u.OverLimit(10<<10, 0) }, 5 << 10},
		},
		"over 1 MiB one refusal is enough": {
			{"five full ones", func(u *tune.Uplink) {
				for n := 64 << 10; n <= 1<<20; n *= 2 {
					u.Passed(n, time.Millisecond)
				}
			}, 2 << 20},
			{"refused", func(u *tune.Uplink) { u.Refused(2 << 20) }, 1 << 20},
			{"100 clean ones", repeat(100, passed(1<<20)), 1 << 20},
		},
		"the bridge states its limit before": {
			{"its limit", func(u *tune.Uplink) { u.Bound(100_000) }, 64 << 10},
			{"a full one", passed(64 << 10), 100_000},
			{"another", passed(100_000), 100_000},
			{"a limit under the least", func(u *tune.Uplink) { u.Bound(1) }, tune.MinUplink},
		},
		"never below the least": {
			{"too long", func(u *tune.Uplink) { u.Refused(1 << 10) }, 1 << 10},
			{"again", func(u *tune.Uplink) { u.Refused(1 << 10) }, 1 << 10},
		},
		"a refused length is tried again later": {
			{"refused", func(u *tune.Uplink) { u.Refused(64 << 10) }, 32 << 10},
			{"7 clean ones", repeat(7, passed(32<<10)), 32 << 10},
			{"the 8th", passed(32 << 10), 64 << 10},
			{"refused again", func(u *tune.Uplink) { u.Refused(64 << 10) }, 32 << 10},
			{"15 clean ones", repeat(15, passed(32<<10)), 32 << 10},
			{"the 16th", passed(32 << 10), 64 << 10},
			{"the trial got through", passed(64 << 10), 128 << 10},
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := &tune.Uplink{Size: tune.FirstBatch, Max: tune.LongBatch}
			for _, s := range steps {
				s.do(u)
				if u.Size != s.size {
					t.Fatalf("%s: size %d, want %d", s.what, u.Size, s.size)
				}
			}
		})
	}
}

func TestUplink_wantsProof(t *testing.T) {
	u := &tune.Uplink{Size: tune.FirstBatch, Max: tune.MaxBatch}
	for i, want := range []bool{false, false, true} {
		if u.Failed(10 << 10); u.WantsProof() != want {
			t.Errorf("after %d failures: wants a proof: %v", i+1, !want)
		}
	}
	if u.Passed(10<<10, time.Millisecond); u.WantsProof() {
		t.Error("wants a proof after one as long got through")
	}
}

func repeat(n int, f func(*tune.Uplink)) func(*tune.Uplink) {
	return func(u *tune.Uplink) {
		for range n {
			f(u)
		}
	}
}

// Bodies are as long as the path carries in most of a round trip.
func TestPace(t *testing.T) {
	var path tune.Path
	path.RTT(time.Second, 100*time.Millisecond)
	var p tune.Pace
	if got, _ := p.Bodies(512<<10, 2, &path); got != 512<<10 {
		t.Errorf("before anything was measured: %d bytes, want no bound", got)
	}
	p.Passed(time.Second, tune.MinPacedBody/2-1, tune.Passage{})
	if got, _ := p.Bodies(512<<10, 2, &path); got != 512<<10 {
		t.Errorf("after a short body: %d bytes, want no bound", got)
	}
	before := p.Passage
	p.Passed(2*time.Second, 1_000_000, before)
	if got, _ := p.Bodies(512<<10, 2, &path); got != 125_000 {
		t.Errorf("on a path of 1 MB/s and 100 ms, at first: %d bytes, want 125000", got)
	}
	for i := range 4 {
		before = p.Passage
		p.Passed(2*time.Second+time.Duration(i+1)*100*time.Millisecond, 100_000, before)
	}
	if got, _ := p.Bodies(512<<10, 2, &path); got != 125_000 {
		t.Errorf("with one body in flight: %d bytes, want 125000", got)
	}
	older := p.Passage
	for i := range 10 {
		before, older = older, p.Passage
		p.Passed(2*time.Second+time.Duration(i+5)*100*time.Millisecond, 100_000, before)
	}
	if got, _ := p.Bodies(512<<10, 2, &path); got != 90_000 {
		t.Errorf("on a path of 1 MB/s and 100 ms: %d bytes, want 90000", got)
	}
	if got, _ := p.Bodies(10_000, 2, &path); got != 10_000 {
		t.Errorf("%d bytes, more than the size learnt", got)
	}
	before = p.Passage
	p.Passed(14*time.Second, 50_000, before)
	if got, _ := p.Bodies(512<<10, 2, &path); got != tune.MinPacedBody {
		t.Errorf("on a path that became slow: %d bytes, want %d", got, tune.MinPacedBody)
	}
}

// Where two bodies of the longest do not fill a path there are more, while they come
// long.
func TestPace_bodies(t *testing.T) {
	const size, rate = 100_000, 4_000_000 // bytes, bytes a second
	var path tune.Path
	path.RTT(time.Second, 100*time.Millisecond)
	for _, c := range []struct {
		what          string
		short         int // bodies that came last
		most          int
		length, count int
	}{
		{"at first, 2.5 of what the path holds", 0, 16, size, 10},
		{"as many as may be", 0, 8, size, 8},
		{"two", 0, 2, size, 2},
		{"after a few short ones", 7, 8, size, 8},
		{"after as many short ones", 8, 8, size, 2},
	} {
		var p tune.Pace
		p.Bodies(size, c.most, &path)
		p.Passed(time.Second, rate, tune.Passage{})
		for range c.short {
			p.Passed(2*time.Second, tune.MinPacedBody/2, p.Passage)
		}
		if length, n := p.Bodies(size, c.most, &path); length != c.length || n != c.count {
			t.Errorf("%s: %d bodies of %d bytes, want %d of %d", c.what, n, length, c.count, c.length)
		}
	}
}

func TestUpload(t *testing.T) {
	var u tune.Upload
	for _, c := range []struct {
		what string
		n    int
		want time.Duration
	}{
		{"a short one is free", 4 << 10, 0},
		{"before the rate is known", 12 << 10, 2 * time.Second},
	} {
		if got := u.Time(c.n); got != c.want {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
	u.Passed(1<<10, time.Second) // says nothing
	u.Passed(64<<10, time.Second)
	if got := u.Time(36 << 10); got != time.Second {
		t.Errorf("at 64 KiB/s: %v, want 1s at half of it", got)
	}
}

// What is only tried again is nothing that another session should begin with.
func TestUplink_learnt(t *testing.T) {
	u := &tune.Uplink{Size: 64 << 10, Max: 64 << 10}
	u.Refused(40_000)
	for u.Size == 20_000 {
		u.Passed(20_000, time.Millisecond)
	}
	if u.Size != 40_000 || u.Learnt() != 20_000 {
		t.Errorf("size %d and learnt %d in a trial, want 40000 and 20000", u.Size, u.Learnt())
	}
	u.Passed(40_000, time.Millisecond)
	if u.Learnt() < 40_000 {
		t.Errorf("learnt %d after the trial", u.Learnt())
	}
}

// On a bad network a length is found too long by chance now and then: that is certain
// only of a frame that failed eight times in a row while exchanges without frames got
// through in between. What gets through, and an exchange without frames that does not,
// end the row.
func TestUplink_certain(t *testing.T) {
	// failures returns how many times in a row 20,000 bytes must fail.
	failures := func(u *tune.Uplink) (n int) {
		for n < 100 {
			if u.WantsProof() {
				u.Proof(true)
			}
			if n++; u.Failed(20_000) {
				break
			}
		}
		return n
	}
	const first, certain = 4, 4 + 7 // to find a length too long at all; to be certain after it
	for name, test := range map[string]struct {
		before func(*tune.Uplink)
		want   int
	}{
		"in a row":                    {func(*tune.Uplink) {}, first + certain},
		"after one that passed":       {func(u *tune.Uplink) { u.Passed(20_000, time.Millisecond) }, certain},
		"after a proof that failed":   {func(u *tune.Uplink) { u.Proof(false) }, certain},
		"after a shorter that passed": {func(u *tune.Uplink) { u.Passed(2_000, time.Millisecond) }, 1},
		"after one that was certain":  {func(u *tune.Uplink) { u.Failed(20_000) }, certain},
	} {
		t.Run(name, func(t *testing.T) {
			u := &tune.Uplink{Size: 64 << 10, Max: 64 << 10}
			if name != "in a row" {
				for range first + certain - 1 {
					if u.WantsProof() {
						u.Proof(true)
					}
					if u.Failed(20_000) {
						t.Fatal("certain too soon")
					}
				}
				u.Proof(true)
			}
			test.before(u)
			if n := failures(u); n != test.want {
				t.Errorf("certain after %d failures, want %d", n, test.want)
			}
		})
	}
}

// Where bodies come in bunches, as from a connection that stood still, there are as many
// more as came ahead of the rate, for as long as that counts.
func TestPace_bunches(t *testing.T) {
	const length, rate = 100_000, 1_000_000 // bytes, bytes a second
	var path tune.Path
	path.RTT(time.Second, 100*time.Millisecond)
	var p tune.Pace
	now := time.Second
	p.Passed(now, rate, tune.Passage{})
	for _, c := range []struct {
		what  string
		after []time.Duration // they come
		most  int
		count int
	}{
		{"at the path's rate", []time.Duration{100, 100, 100, 100}, 8, 2},
		{"a little early", []time.Duration{70, 100}, 8, 2},
		{"two at once", []time.Duration{200, 0}, 8, 3},
		{"four within half the time of one", []time.Duration{400, 10, 20, 20}, 8, 4},
		{"as many as may be", []time.Duration{400, 0, 0}, 4, 4},
		{"never more than two", []time.Duration{400, 0, 0}, 2, 2},
		{"after 10 s", slices.Repeat([]time.Duration{100}, 101), 8, 2},
		{"later than the rate", slices.Repeat([]time.Duration{99, 900}, 20), 8, 2},
	} {
		for _, after := range c.after {
			now += after * time.Millisecond
			p.Passed(now, length, tune.Passage{})
		}
		if _, n := p.Bodies(1<<20, c.most, &path); n != c.count {
			t.Errorf("%s: %d bodies, want %d", c.what, n, c.count)
		}
	}
}

// After a reset two bodies are in flight again once one nearly as long got through: the
// next are as long as the path was measured, not as the last.
func TestUplink_afterReset(t *testing.T) {
	u := tune.Uplink{Size: tune.MaxBatch, Max: tune.MaxBatch}
	u.Passed(560_000, time.Second/2)
	u.Broke(534_096)
	u.Broke(534_036)
	u.Passed(400<<10, time.Second/2)
	if !u.Alone() {
		t.Error("a body that is much shorter shows that longer ones get through")
	}
	u.Passed(518_205, time.Second/2)
	if u.Alone() {
		t.Error("one body in flight after one nearly as long got through")
	}
}
