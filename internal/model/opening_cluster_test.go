package model_test

import (
	"fmt"
	"testing"

	"github.com/pollbridge/pollbridge/internal/model"
)

// Opening in a cluster: as opening, but with two bridges. The network keeps every
// request for ever and delivers it to whichever bridge it likes; a bridge carries
// what is another's to its owner by the instance in the incarnation, and the network
// between them keeps, repeats and loses as well. Each bridge may lapse its session and
// be restarted, once.
type clusterOpening struct {
	bridges [2]clusterBridge
	starts  uint8 // of the RPC that is not early
	// The client.
	welcomed uint8 // incarnation that it knows, by its place in incarnations; 0: none
	gaveUp   bool
	done     bool
	// The networks: what was sent by whoever, for ever.
	hello    bool
	open     uint16 // OPENs, as bits by the incarnation in them
	carried  uint16 // OPENs between bridges, likewise
	welcomes uint16 // likewise
	ends     uint16 // answers with the RPC's end, likewise
	unknown  bool
	wrongly  bool // unknown was said of a session that lives
}

type clusterBridge struct {
	instance uint8 // 0, 1: whether it was restarted
	alive    bool
	life     uint8 // of the session
	taken    bool
	away     bool // its NATS server died, and it has no other yet: nobody subscribes to its subject
}

// clusterLives bounds how often each instance makes the session.
const clusterLives = 2

// incarnationOf gives the incarnation of a life: its place, from 1.
func incarnationOf(bridge int, b clusterBridge) uint8 {
	return 1 + uint8(bridge)*2*clusterLives + b.instance*clusterLives + b.life - 1
}

// ownerOf gives the bridge and instance of an incarnation.
func ownerOf(incarnation uint8) (bridge int, instance uint8) {
	n := incarnation - 1
	return int(n / (2 * clusterLives)), n / clusterLives % 2
}

type clusterDesign struct {
	takeForeign   bool // a bridge takes an OPEN whose incarnation is another's
	silenceIsGone bool // an OPEN that is lost between bridges is answered with unknown
	absenceIsGone bool // an OPEN for a bridge that is away is answered with unknown
}

func (d clusterDesign) next(s clusterOpening) []model.Step[clusterOpening] {
	var steps []model.Step[clusterOpening]
	add := func(name string, change func(*clusterOpening)) {
		to := s
		change(&to)
		steps = append(steps, model.Step[clusterOpening]{Name: name, To: to})
	}
	if !s.gaveUp && !s.done {
		if s.welcomed == 0 {
			add("client sends Hello with an early OPEN", func(s *clusterOpening) { s.hello = true })
		} else {
			add("client sends OPEN", func(s *clusterOpening) { s.open |= 1 << s.welcomed })
		}
		add("client gives up", func(s *clusterOpening) { s.gaveUp = true })
	}
	for i := uint8(1); i <= 4*clusterLives; i++ {
		if s.welcomes&(1<<i) != 0 && s.welcomed == 0 && !s.gaveUp {
			add(fmt.Sprintf("Welcome with incarnation %d arrives", i), func(s *clusterOpening) { s.welcomed = i })
		}
		if s.ends&(1<<i) != 0 && s.welcomed != 0 && !s.gaveUp && (i == s.welcomed) {
			add(fmt.Sprintf("END of incarnation %d arrives", i), func(s *clusterOpening) { s.done = true })
		}
	}
	if s.unknown && !s.gaveUp {
		add("unknown arrives", func(s *clusterOpening) { s.gaveUp = true })
	}
	for at := range s.bridges {
		d.bridge(s, at, add)
	}
	return steps
}

// bridge adds what a bridge may do.
func (d clusterDesign) bridge(s clusterOpening, at int, add func(string, func(*clusterOpening))) {
	b := s.bridges[at]
	if s.hello {
		add(fmt.Sprintf("Hello is taken at %d", at), func(s *clusterOpening) { s.welcome(at) })
	}
	for i := uint8(1); i <= 4*clusterLives; i++ {
		owner, instance := ownerOf(i)
		own := owner == at && instance == b.instance
		if s.open&(1<<i) != 0 {
			switch {
			case own || d.takeForeign && b.alive:
				add(fmt.Sprintf("OPEN with incarnation %d is taken at %d", i, at), func(s *clusterOpening) { d.take(s, at, i) })
			case owner != at && s.bridges[owner].instance == instance && s.bridges[owner].away: // a link error
				if d.absenceIsGone {
					add(fmt.Sprintf("OPEN with incarnation %d finds nobody from %d", i, at), func(s *clusterOpening) { s.refuse(i) })
				}
			case owner != at && s.bridges[owner].instance == instance:
				add(fmt.Sprintf("OPEN with incarnation %d is carried on from %d", i, at), func(s *clusterOpening) { s.carried |= 1 << i })
				if d.silenceIsGone {
					add(fmt.Sprintf("OPEN with incarnation %d is lost between bridges", i), func(s *clusterOpening) { s.refuse(i) })
				}
			default: // nobody subscribes to that instance any more
				add(fmt.Sprintf("OPEN with incarnation %d is unknown at %d", i, at), func(s *clusterOpening) { s.refuse(i) })
			}
		}
		if s.carried&(1<<i) != 0 && own {
			add(fmt.Sprintf("OPEN with incarnation %d arrives at %d", i, at), func(s *clusterOpening) { d.take(s, at, i) })
		}
	}
	if b.alive {
		add(fmt.Sprintf("the session lapses at %d", at), func(s *clusterOpening) { s.bridges[at].alive, s.bridges[at].taken = false, false })
	}
	if b.away {
		add(fmt.Sprintf("bridge %d has another NATS server", at), func(s *clusterOpening) { s.bridges[at].away = false })
	} else {
		add(fmt.Sprintf("the NATS server of bridge %d dies", at), func(s *clusterOpening) { s.bridges[at].away = true })
	}
	if b.instance == 0 {
		add(fmt.Sprintf("bridge %d is restarted", at), func(s *clusterOpening) { s.bridges[at] = clusterBridge{instance: 1} })
	}
}

func (s *clusterOpening) welcome(at int) {
	b := &s.bridges[at]
	if !b.alive && b.life == clusterLives {
		return // the end of the model
	}
	if !b.alive {
		b.alive = true
		b.life++
	}
	s.welcomes |= 1 << incarnationOf(at, *b)
}

// refuse answers a request with unknown.
func (s *clusterOpening) refuse(incarnation uint8) {
	s.unknown = true
	owner, instance := ownerOf(incarnation)
	b := s.bridges[owner]
	s.wrongly = s.wrongly || b.alive && b.instance == instance && incarnationOf(owner, b) == incarnation
}

func (d clusterDesign) take(s *clusterOpening, at int, incarnation uint8) {
	b := &s.bridges[at]
	if !b.alive || !d.takeForeign && incarnation != incarnationOf(at, *b) {
		s.refuse(incarnation)
		return
	}
	if !b.taken {
		b.taken = true
		s.starts++
	}
	s.ends |= 1 << incarnationOf(at, *b)
}

func (d clusterDesign) check() model.Report {
	return model.Check(model.System[clusterOpening]{
		Next: d.next,
		Wrong: func(s clusterOpening) string {
			switch {
			case s.starts > 1:
				return "the RPC was started twice"
			case s.wrongly:
				return "a session that lives was called unknown"
			}
			return ""
		},
		Done: func(s clusterOpening) bool { return s.done || s.gaveUp },
	})
}

// O2 to O4 in a cluster: an RPC that is not early starts at most once, also where
// Hellos made sessions of one ID at two bridges.
func TestModel_openingCluster(t *testing.T) {
	r := clusterDesign{}.check()
	t.Log(r)
	if r.Fault != "" {
		t.Error("a fault in the rules")
	}
}

func TestModel_openingClusterCatches(t *testing.T) {
	for name, c := range map[string]struct {
		design clusterDesign
		fault  string
	}{
		"a foreign OPEN is taken where it lands":  {clusterDesign{takeForeign: true}, "the RPC was started twice"},
		"a bridge that is away is taken for gone": {clusterDesign{absenceIsGone: true}, "a session that lives was called unknown"},
		"silence of an owner means unknown":       {clusterDesign{silenceIsGone: true}, "a session that lives was called unknown"},
	} {
		r := c.design.check()
		if r.Fault != c.fault {
			t.Errorf("%s: not caught: %s", name, r)
			continue
		}
		t.Logf("%s: %s", name, r)
	}
}
