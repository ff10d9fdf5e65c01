package model_test

import (
	"fmt"
	"testing"

	"github.com/pollbridge/pollbridge/internal/model"
)

// Switching (L2, L3): frames for a client that has exchanges and a WebSocket at
// the same time. The WebSocket may fall mute or die unseen by either side, and
// a new one may take its place; an exchange's answer may be lost.
const sockets = 2

type switching struct {
	// The bridge.
	made     uint8
	acked    uint8
	sentOn   [frames]uint8 // 0: not sent; 1: the exchange; 2…: WebSocket number n-1
	attached uint8         // its WebSocket; 0: none
	prefer   uint8         // the WebSocket that the client wants frames on; 0: exchanges
	parked   bool
	awaited  bool // the exchange in which frames were sent may still be answered
	// The client.
	taken  uint8
	ahead  uint8
	opened uint8 // WebSockets that it opened
	using  uint8 // the one that it uses; 0: none
	wants  uint8 // what it says in prefer
	polls  bool  // an exchange is in flight
	// The network.
	mute    bool               // the WebSocket in use carries nothing
	answer  uint8              // frames in the exchange's answer under way
	replied bool               // there is one
	wire    [sockets + 1]uint8 // frames under way on each WebSocket
}

type switchingDesign struct {
	trustSocket bool // frames stay with a WebSocket that is not preferred any more
	keepOnClose bool // frames stay with a WebSocket that was replaced
}

func (d switchingDesign) next(s switching) []model.Step[switching] {
	var steps []model.Step[switching]
	add := func(name string, change func(*switching)) {
		to := s
		change(&to)
		if to != s {
			steps = append(steps, model.Step[switching]{Name: name, To: to})
		}
	}
	if s.made < frames {
		add("the backend says something", func(s *switching) { s.made++ })
	}
	// Exchanges: their header tells ack, prefer and what is awaited.
	if !s.polls {
		add("client sends an exchange", func(s *switching) {
			s.polls = true
		})
	}
	if s.polls && !s.parked && !s.replied {
		add("the bridge takes the exchange", func(s *switching) {
			s.parked, s.awaited = true, false
			d.header(s)
		})
	}
	if s.polls {
		add("the exchange is lost", func(s *switching) { s.polls, s.parked, s.replied, s.answer = false, false, false, 0 })
	}
	if s.parked {
		add("the bridge answers the exchange", func(s *switching) {
			if !d.preferred(*s) {
				s.answer = d.send(s, 1)
			}
			s.parked, s.replied, s.awaited = false, true, true
		})
	}
	if s.replied {
		add("the answer arrives", func(s *switching) {
			take(s, s.answer)
			s.polls, s.replied, s.answer = false, false, 0
		})
	}
	// WebSockets.
	if s.opened < sockets {
		add("client opens a WebSocket", func(s *switching) {
			s.opened++
			s.using, s.wants, s.mute = s.opened, s.opened, false
		})
	}
	if s.using != 0 && !s.mute {
		add(fmt.Sprintf("a batch goes up WebSocket %d", s.using), func(s *switching) {
			if s.attached < s.using {
				s.attached = s.using
			}
			d.header(s)
		})
		add("the WebSocket falls mute", func(s *switching) { s.mute = true })
	}
	if s.using != 0 && s.wants != 0 {
		add("client leaves the WebSocket", func(s *switching) { s.wants = 0 })
	}
	if d.preferred(s) {
		add(fmt.Sprintf("the bridge sends on WebSocket %d", s.attached), func(s *switching) {
			on := s.attached
			set := d.send(s, on+1)
			if on == s.using && !s.mute {
				s.wire[on] |= set
			}
		})
	}
	for n := uint8(1); n <= sockets; n++ {
		if s.wire[n] != 0 {
			add(fmt.Sprintf("frames arrive on WebSocket %d", n), func(s *switching) {
				take(s, s.wire[n])
				s.wire[n] = 0
			})
		}
	}
	return steps
}

func (d switchingDesign) preferred(s switching) bool {
	return s.attached != 0 && s.prefer == s.attached
}

// header is what every batch of the client says.
func (d switchingDesign) header(s *switching) {
	s.acked = s.taken
	s.prefer = s.wants
}

// send gives the frames that go on a link now.
func (d switchingDesign) send(s *switching, on uint8) uint8 {
	var set uint8
	for f := s.acked; f < s.made; f++ {
		if d.lost(*s, s.sentOn[f]) {
			set |= 1 << f
			s.sentOn[f] = on
		}
	}
	return set
}

// lost tells whether a frame last sent on a link is to be sent again (L2).
func (d switchingDesign) lost(s switching, on uint8) bool {
	switch on {
	case 0:
		return true
	case 1:
		return !s.awaited
	}
	socket := on - 1
	if socket != s.attached {
		return !d.keepOnClose
	}
	return s.prefer != socket && !d.trustSocket
}

func take(s *switching, set uint8) {
	s.ahead |= set
	for s.taken < frames && s.ahead&(1<<s.taken) != 0 {
		s.taken++
	}
	s.ahead &^= 1<<s.taken - 1
}

func (d switchingDesign) check() model.Report {
	return model.Check(model.System[switching]{
		Next: d.next,
		Wrong: func(s switching) string {
			if s.acked > s.taken {
				return "a frame was dropped that the client has not taken"
			}
			return ""
		},
		Done: func(s switching) bool { return s.acked == frames },
	})
}

// L2, L3: whatever happens to WebSockets and exchanges, everything can still
// arrive.
func TestModel_switching(t *testing.T) {
	r := switchingDesign{}.check()
	t.Log(r)
	if r.Fault != "" {
		t.Error("a fault in the rules")
	}
}

func TestModel_switchingCatches(t *testing.T) {
	for name, d := range map[string]switchingDesign{
		"frames stay with a WebSocket that is left":     {trustSocket: true},
		"frames stay with a WebSocket that is replaced": {keepOnClose: true},
	} {
		r := d.check()
		if r.Fault != "nothing leads to the goal from here" {
			t.Errorf("%s: not caught: %s", name, r)
			continue
		}
		t.Logf("%s: %s", name, r)
	}
}
