package model_test

import (
	"fmt"
	"testing"

	"github.com/pollbridge/pollbridge/internal/model"
)

// Opening (O1 to O4, E1): one client, one session ID, two RPCs of which the
// second is not early; a bridge that may lapse the session and be restarted.
// The network keeps every request for ever and delivers it as often as it likes.
type opening struct {
	// The bridge: its instance, and the session on it.
	instance uint8 // 1 or 2
	alive    bool
	life     uint8 // of the session: how often it was made
	taken    bool  // the RPC's OPEN was taken in this life
	starts   uint8
	// The client.
	welcomed uint8 // incarnation that it knows; 0: none
	gaveUp   bool
	done     bool // it has the RPC's end
	// The network: requests that were sent, by what they carry, and answers.
	hello    bool
	open     [lives + 1]bool // OPEN with that incarnation; 0: with Hello
	welcomes [lives + 1]bool
	ends     bool
	unknown  bool
}

// lives bounds how often the session is made.
const lives = 3

type openingDesign struct{ noIncarnation, perInstance, openWithHello bool }

// incarnation is what the Welcome says.
func (d openingDesign) incarnation(s opening) uint8 {
	if d.perInstance {
		return s.instance
	}
	return s.life
}

func (d openingDesign) next(s opening) []model.Step[opening] {
	var steps []model.Step[opening]
	add := func(name string, change func(*opening)) {
		to := s
		change(&to)
		steps = append(steps, model.Step[opening]{Name: name, To: to})
	}
	// The client.
	if !s.gaveUp && !s.done {
		if s.welcomed == 0 {
			add("client sends Hello", func(s *opening) { s.hello = true })
			if d.openWithHello {
				add("client sends Hello with OPEN", func(s *opening) { s.open[0] = true })
			}
		} else {
			add("client sends OPEN", func(s *opening) { s.open[s.welcomed] = true })
		}
		add("client gives up", func(s *opening) { s.gaveUp = true })
	}
	for i := uint8(1); i <= lives; i++ {
		if s.welcomes[i] && s.welcomed == 0 && !s.gaveUp {
			add(fmt.Sprintf("Welcome with incarnation %d arrives", i), func(s *opening) { s.welcomed = i })
		}
	}
	if s.ends && s.welcomed != 0 && !s.gaveUp {
		add("END arrives", func(s *opening) { s.done = true })
	}
	if s.unknown && !s.gaveUp {
		add("unknown arrives", func(s *opening) { s.gaveUp = true })
	}
	// The bridge takes any request that was ever sent.
	if s.hello {
		add("Hello is taken", func(s *opening) { d.hello(s) })
	}
	for i := range s.open {
		if s.open[i] {
			add(fmt.Sprintf("OPEN with incarnation %d is taken", i), func(s *opening) { d.take(s, uint8(i)) })
		}
	}
	if s.alive {
		add("the session lapses", func(s *opening) { s.alive, s.taken = false, false })
	}
	if s.instance == 1 {
		add("the bridge is restarted", func(s *opening) { s.instance, s.alive, s.taken = 2, false, false })
	}
	return steps
}

func (d openingDesign) hello(s *opening) {
	if !s.alive && s.life == lives {
		return // the end of the model
	}
	if !s.alive {
		s.alive = true
		s.life++
	}
	s.welcomes[d.incarnation(*s)] = true
}

func (d openingDesign) take(s *opening, incarnation uint8) {
	if incarnation == 0 || d.noIncarnation {
		d.hello(s)
	} else if incarnation != d.incarnation(*s) || !s.alive {
		s.unknown = true
		return
	}
	if s.alive && !s.taken {
		s.taken = true
		s.starts++
	}
	s.ends = true
}

func (d openingDesign) check() model.Report {
	return model.Check(model.System[opening]{
		Start: opening{instance: 1},
		Next:  d.next,
		Wrong: func(s opening) string {
			if s.starts > 1 {
				return "the RPC was started twice"
			}
			return ""
		},
		Done: func(s opening) bool { return s.done || s.gaveUp },
	})
}

// O3, O4: an RPC starts at most once, whatever is repeated and however late.
func TestModel_opening(t *testing.T) {
	r := openingDesign{}.check()
	t.Log(r)
	if r.Fault != "" {
		t.Error("a fault in the rules")
	}
}

func TestModel_openingCatches(t *testing.T) {
	for name, d := range map[string]openingDesign{
		"no incarnation":                    {noIncarnation: true},
		"one incarnation for all sessions":  {perInstance: true},
		"OPEN before the Welcome, unmarked": {openWithHello: true},
	} {
		r := d.check()
		if r.Fault != "the RPC was started twice" {
			t.Errorf("%s: not caught: %s", name, r)
			continue
		}
		t.Logf("%s: %s", name, r)
	}
}
