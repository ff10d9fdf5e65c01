package model_test

import (
	"cmp"
	"fmt"
	"testing"

	"github.com/pollbridge/pollbridge/internal/model"
)

// Credit (D2 to D4): two streams of one session towards one receiver. The first
// stream's reader may have stopped for ever; the second one's reads. A unit is a
// fragment; the window takes two, a long message has four.
const (
	window = 2
	long   = 4
	budget = 4 // units for messages longer than the window
)

// flow is one stream's state.
type flow struct {
	sent     uint8 // units sent
	arrived  uint8
	consumed uint8
	limit    uint8 // what the sender knows
	granted  uint8 // what the receiver has granted
	reserved uint8 // units of the budget that it holds
}

type credit struct{ a, b flow }

// creditDesign says what the streams carry and how credit is given.
type creditDesign struct {
	first, second []uint8 // lengths of the messages
	stopped       bool    // the first stream's reader reads nothing
	shared        bool    // one window for both streams
	onConsumption bool    // credit only for what was consumed
	pieceByPiece  bool    // the budget is taken as fragments come
	tuned         bool    // a window may double, or fall to a half, whenever credit is given
	revoked       bool    // credit that was given is taken back with that
}

func sum(lengths []uint8) uint8 {
	var n uint8
	for _, l := range lengths {
		n += l
	}
	return n
}

// message finds the message that the unit at offset belongs to.
func message(lengths []uint8, offset uint8) (start, end uint8) {
	for _, l := range lengths {
		if offset < start+l {
			return start, start + l
		}
		start += l
	}
	return start, start
}

func (d creditDesign) next(s credit) []model.Step[credit] {
	var steps []model.Step[credit]
	for i, name := range []string{"first", "second"} {
		lengths := [][]uint8{d.first, d.second}[i]
		pick := func(s *credit) *flow { return []*flow{&s.a, &s.b}[i] }
		add := func(what string, change func(*credit, *flow)) {
			to := s
			change(&to, pick(&to))
			if to != s {
				steps = append(steps, model.Step[credit]{Name: fmt.Sprintf("%s: %s", name, what), To: to})
			}
		}
		f := *pick(&s)
		if f.sent < sum(lengths) && d.maySend(s, f) {
			add("a fragment is sent", func(_ *credit, f *flow) { f.sent++ })
		}
		if f.arrived < f.sent {
			add("a fragment arrives", func(s *credit, f *flow) {
				f.arrived++
				d.extend(s, f, lengths)
			})
		}
		if f.limit < f.granted {
			add("WINDOW arrives", func(_ *credit, f *flow) { f.limit = f.granted })
		}
		if _, end := message(lengths, f.consumed); f.arrived >= end && end > f.consumed && (i > 0 || !d.stopped) {
			for _, w := range d.windows() {
				add(fmt.Sprintf("a message is consumed, the window is %d", w), func(s *credit, f *flow) {
					f.consumed, f.reserved = end, 0
					f.granted = d.grant(f.granted, f.consumed+w)
					d.extend(s, &s.a, d.first)
					d.extend(s, &s.b, d.second)
				})
			}
		}
	}
	return steps
}

// windows lists what a window may be when credit is given.
func (d creditDesign) windows() []uint8 {
	if d.tuned {
		return []uint8{window / 2, window, 2 * window}
	}
	return []uint8{window}
}

// grant returns the limit after credit up to a new one.
func (d creditDesign) grant(old, limit uint8) uint8 {
	if d.revoked {
		return limit
	}
	return max(old, limit)
}

func (d creditDesign) maySend(s credit, f flow) bool {
	if d.shared {
		return s.a.sent-s.a.consumed+s.b.sent-s.b.consumed < window
	}
	return f.sent < f.limit
}

// extend is rule D4: the message that is being put together may come whole.
func (d creditDesign) extend(s *credit, f *flow, lengths []uint8) {
	start, end := message(lengths, f.consumed)
	if d.onConsumption || f.arrived <= start || end <= f.granted || f.arrived >= end {
		return
	}
	free := uint8(budget) - s.a.reserved - s.b.reserved
	if d.pieceByPiece {
		if free > 0 && f.arrived >= f.granted {
			f.reserved++
			f.granted++
		}
		return
	}
	if free >= end-start {
		f.reserved = end - start
		f.granted = end
	}
}

func (d creditDesign) check() model.Report {
	first := flow{limit: window, granted: window}
	return model.Check(model.System[credit]{
		Start: credit{first, first},
		Next:  d.next,
		Wrong: func(s credit) string {
			if !d.shared && (s.a.sent > s.a.granted || s.b.sent > s.b.granted) {
				return "more was sent than granted"
			}
			if s.a.reserved+s.b.reserved > budget {
				return "the budget is overdrawn"
			}
			return ""
		},
		Done: func(s credit) bool {
			return s.b.consumed == sum(d.second) && (d.stopped || s.a.consumed == sum(d.first))
		},
	})
}

// D3, D4: a reader that stopped holds nobody up, and messages longer than the
// window arrive, also several at once.
func TestModel_credit(t *testing.T) {
	for name, d := range map[string]creditDesign{
		"a stopped neighbour":   {first: []uint8{1, 1, 1}, second: []uint8{1, long, 1}, stopped: true},
		"two long messages":     {first: []uint8{long, 1, long}, second: []uint8{long, long}},
		"long behind short":     {first: []uint8{1, long}, second: []uint8{2, 2, long}},
		"windows that change":   {first: []uint8{1, long, 1, 2}, second: []uint8{2, 1, long}, tuned: true},
		"short messages, a lot": {first: []uint8{1, 1, 1, 1, 1, 1, 1, 1}, second: []uint8{2, 2, 2, 2}},
	} {
		r := d.check()
		t.Logf("%s: %s", name, r)
		if r.Fault != "" {
			t.Errorf("%s: a fault in the rules", name)
		}
	}
}

// fault is what is found in a design that is wrong; empty: something gets stuck.
func (d creditDesign) fault() string {
	if d.revoked {
		return "more was sent than granted"
	}
	return ""
}

func TestModel_creditCatches(t *testing.T) {
	for name, d := range map[string]creditDesign{
		"one window for both streams":     {first: []uint8{1, 1, 1}, second: []uint8{1, 1}, stopped: true, shared: true},
		"credit on consumption only":      {first: []uint8{1}, second: []uint8{long}, onConsumption: true},
		"the budget taken piece by piece": {first: []uint8{long + 2}, second: []uint8{long + 2}, pieceByPiece: true},
		"credit that is taken back":       {first: []uint8{1, 1, 1, 1}, second: []uint8{1}, tuned: true, revoked: true},
		"one window, and a long message":  {first: []uint8{1}, second: []uint8{long}, shared: true},
	} {
		r := d.check()
		if want := cmp.Or(d.fault(), "nothing leads to the goal from here"); r.Fault != want {
			t.Errorf("%s: not caught: %s", name, r)
			continue
		}
		t.Logf("%s: %s", name, r)
	}
}
