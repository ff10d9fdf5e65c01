package model_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/pollbridge/pollbridge/internal/model"
)

// Delivery (D1, L1, L2): a bridge with frames for a client that polls. Requests
// and answers may be lost, copied, reordered and late.
const (
	frames = 3
	links  = 5
)

// full exhausts the sizes of docs/MODEL.md, in half a minute; else the models
// are a size smaller.
var full = flag.Bool("full", false, "exhaust the full sizes")

// lastLink is the number of exchanges that a client may use.
func lastLink() uint8 {
	if *full {
		return links
	}
	return links - 1
}

type delivery struct {
	// The bridge.
	made    uint8 // frames that it has for the client
	acked   uint8
	sentIn  [frames]uint8 // exchange in whose answer each frame was last sent; 0: not yet
	crosses [frames]uint8 // how often it was sent
	highX   uint8
	parked  bool // the exchange highX is parked
	await   uint8
	// The client.
	taken uint8
	ahead uint8 // frames kept ahead of order, by bit
	nextX uint8
	waits uint8 // exchanges that it waits for, by bit
	lossy bool  // it gave an exchange up
	// The network: what each request says, and the answers to each, as a set of
	// sets of frames.
	ackOf, awaitOf [links + 1]uint8
	answers        [links + 1]uint8
}

type deliveryDesign struct {
	noAwaiting bool // frames are sent again whenever they are not acked
	ackAhead   bool // the client acks the highest frame that came
	byArrival  bool // whatever arrives last takes the place of what is parked
	quiet      bool // no frames; no hold ends
}

func (d deliveryDesign) next(s delivery) []model.Step[delivery] {
	var steps []model.Step[delivery]
	add := func(name string, change func(*delivery)) {
		to := s
		change(&to)
		steps = append(steps, model.Step[delivery]{Name: name, To: to})
	}
	inFlight := 0
	for x := uint8(1); x < s.nextX; x++ {
		if s.waits&(1<<x) != 0 {
			inFlight++
		}
	}
	if s.nextX <= lastLink() && inFlight < 2 && (inFlight == 0 || !d.quiet) {
		add(fmt.Sprintf("client sends exchange %d", s.nextX), func(s *delivery) {
			x := s.nextX
			s.nextX++
			s.waits |= 1 << x
			s.ackOf[x], s.awaitOf[x] = d.ack(*s), lowest(*s)
		})
	}
	for x := uint8(1); x < s.nextX; x++ {
		add(fmt.Sprintf("the bridge takes exchange %d", x), func(s *delivery) { d.take(s, x, false) })
		if s.parked && x > s.highX && s.highX >= s.awaitOf[x] {
			add(fmt.Sprintf("the bridge takes exchange %d, the parked one first", x), func(s *delivery) { d.take(s, x, true) })
		}
		if s.waits&(1<<x) == 0 {
			continue
		}
		if !d.quiet {
			add(fmt.Sprintf("client gives exchange %d up", x), func(s *delivery) {
				s.waits &^= 1<<(x+1) - 1 // and older ones with it (L5)
				s.lossy = true
			})
		}
		for set := range uint8(1 << frames) {
			if s.answers[x]&(1<<set) != 0 {
				add(fmt.Sprintf("the answer to %d with frames %03b arrives", x, set), func(s *delivery) {
					// Another copy's answer may have had the frames.
					s.lossy = s.lossy || s.answers[x] != 1<<set
					s.waits &^= 1 << x
					receive(s, set)
				})
			}
		}
	}
	if d.quiet {
		return steps
	}
	if s.made < frames {
		add("the backend says something", func(s *delivery) { s.made++ })
	}
	if s.parked {
		add("the bridge answers", func(s *delivery) { d.answer(s, s.highX, true) })
	}
	return steps
}

// ack is what the client acks.
func (d deliveryDesign) ack(s delivery) uint8 {
	if !d.ackAhead || s.ahead == 0 {
		return s.taken
	}
	high := s.taken
	for f := range uint8(frames) {
		if s.ahead&(1<<f) != 0 {
			high = max(high, f+1)
		}
	}
	return high
}

// lowest is the header field `awaiting`.
func lowest(s delivery) uint8 {
	for x := uint8(1); x < s.nextX; x++ {
		if s.waits&(1<<x) != 0 {
			return x
		}
	}
	return s.nextX
}

func receive(s *delivery, set uint8) {
	s.ahead |= set
	for s.taken < frames && s.ahead&(1<<s.taken) != 0 {
		s.ahead &^= 1 << s.taken
		s.taken++
	}
	for f := range s.taken {
		s.ahead &^= 1 << f
	}
}

// take is the bridge's part of rule L1. full: the parked exchange had frames to take
// when x came.
func (d deliveryDesign) take(s *delivery, x uint8, full bool) {
	s.acked = max(s.acked, s.ackOf[x])
	s.await = max(s.await, s.awaitOf[x])
	switch {
	case x > s.highX || d.byArrival:
		if s.parked {
			d.answer(s, s.highX, full)
		}
		s.highX, s.parked = x, true
	case x == s.highX && s.parked:
		// a copy joins the parked one
	case x == s.highX:
		d.again(s, x)
	default:
		s.answers[x] |= 1
	}
}

// answer answers the exchange x, with frames or empty.
func (d deliveryDesign) answer(s *delivery, x uint8, full bool) {
	var set uint8
	if full {
		for f := s.acked; f < s.made; f++ {
			if s.sentIn[f] == 0 || d.noAwaiting || s.sentIn[f] < s.await {
				set |= 1 << f
				s.sentIn[f] = x
				s.crosses[f] = min(s.crosses[f]+1, 2)
			}
		}
	}
	s.answers[x] |= 1 << set
	s.parked = false
}

// again answers a copy of an exchange that was answered: with the same frames.
func (d deliveryDesign) again(s *delivery, x uint8) {
	var set uint8
	for f := s.acked; f < frames; f++ {
		if s.sentIn[f] == x {
			set |= 1 << f
		}
	}
	s.answers[x] |= 1 << set
}

func (d deliveryDesign) check() model.Report {
	return model.Check(model.System[delivery]{
		Start: delivery{nextX: 1},
		Next:  d.next,
		Wrong: func(s delivery) string {
			switch {
			case s.acked > s.taken:
				return "a frame was dropped that the client has not taken"
			case d.quiet && s.nextX > lastLink():
				return "a quiet client sends one exchange after another"
			case !s.lossy && s.crosses != [frames]uint8{} && twice(s):
				return "a frame crossed twice although nothing was lost"
			}
			return ""
		},
		Done: d.goal(),
	})
}

func twice(s delivery) bool {
	for _, n := range s.crosses {
		if n > 1 {
			return true
		}
	}
	return false
}

// goal: every frame arrives, unless the exchanges of the model are used up.
func (d deliveryDesign) goal() func(delivery) bool {
	if d.quiet {
		return nil
	}
	return func(s delivery) bool { return s.taken == frames || s.nextX > lastLink() }
}

// D1, L1, L2: no frame is dropped untaken, none crosses twice without need,
// and nothing gets stuck.
func TestModel_delivery(t *testing.T) {
	r := deliveryDesign{}.check()
	t.Log(r)
	if r.Fault != "" {
		t.Error("a fault in the rules")
	}
}

// L1: copies make no further requests in a quiet session.
func TestModel_quiet(t *testing.T) {
	r := deliveryDesign{quiet: true}.check()
	t.Log(r)
	if r.Fault != "" {
		t.Error("a fault in the rules")
	}
}

func TestModel_deliveryCatches(t *testing.T) {
	for name, c := range map[string]struct {
		design deliveryDesign
		fault  string
	}{
		"no awaiting":            {deliveryDesign{noAwaiting: true}, "a frame crossed twice although nothing was lost"},
		"ack ahead of order":     {deliveryDesign{ackAhead: true}, "a frame was dropped that the client has not taken"},
		"superseding by arrival": {deliveryDesign{byArrival: true, quiet: true}, "a quiet client sends one exchange after another"},
	} {
		r := c.design.check()
		if r.Fault != c.fault {
			t.Errorf("%s: not caught: %s", name, r)
			continue
		}
		t.Logf("%s: %s", name, r)
	}
}
