package e2e_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

// The choices of transports that every row runs with.
const (
	automatic = "automatic"
	longpoll  = "longpoll"
	ws        = "ws"
)

var choices = map[string][]string{automatic: nil, longpoll: {"longpoll"}, ws: {"ws"}}

// pace is how fast the RPCs of a cell go: one step between two messages.
type pace time.Duration

const (
	inBubble  = pace(700 * time.Millisecond)
	onSockets = pace(200 * time.Millisecond)
)

// rpc is an RPC of a cell.
type rpc struct {
	kind string
	scenario
}

func (p pace) millis() int64 { return time.Duration(p).Milliseconds() }

// waves are the RPCs of a cell: one of each kind, all at once, with messages
// both ways, small and not so small; then two that say nothing for a while,
// because networks do their worst to what is quiet.
func (p pace) waves() [][]rpc {
	step := time.Duration(p)
	delay := uint32(p.millis())
	return [][]rpc{{
		{"unary", scenario{size: 2000, requests: 1, script: &echopb.Script{Headers: pairs, Trailers: pairs}}},
		{"server-stream", scenario{size: 5000, requests: 1, script: &echopb.Script{Replies: 10, DelayMs: delay, Headers: pairs, HeadersFirst: true}}},
		{"client-stream", scenario{size: 40_000, requests: 6, pause: step, script: &echopb.Script{Trailers: pairs}}},
		{"bidi", scenario{size: 3000, requests: 10, pause: step, script: &echopb.Script{}}},
	}, {
		{"unary", scenario{size: 100, requests: 1, script: &echopb.Script{DelayMs: 9 * delay, Headers: pairs, Trailers: pairs}}},
		{"bidi", scenario{size: 3000, requests: 3, pause: 8 * step, script: &echopb.Script{}}},
	}}
}

// fit makes the times of a profile fit the pace.
func (p pace) fit(f middlebox.Profile) middlebox.Profile {
	for _, d := range []*time.Duration{&f.Cut, &f.IdleDrop, &f.BlackHole, &f.DupDelay, &f.Late, &f.Reorder} {
		if *d > time.Nanosecond {
			*d = time.Duration(float64(*d) * float64(p) / float64(inBubble))
		}
	}
	return f
}

// result is a caller's view of one RPC.
type result struct{ kind, transcript string }

// playAll plays the waves, one after the other.
func playAll(cc grpc.ClientConnInterface, waves [][]rpc) []result {
	var results []result
	for _, wave := range waves {
		got := make([]result, len(wave))
		var all sync.WaitGroup
		for i, one := range wave {
			all.Go(func() { got[i] = result{one.kind, kinds[one.kind](context.Background(), cc, one.scenario).String()} })
		}
		all.Wait()
		results = append(results, got...)
	}
	return results
}

// directly plays the RPCs with nothing between.
func directly(t *testing.T, p pace) []result {
	var got []result
	synctest.Test(t, func(t *testing.T) { got = playAll(newWorld(t, nil, bridge.Config{}).Direct, p.waves()) })
	return got
}

// cell is one row with one choice of transports.
type cell struct {
	row
	choice string
	pace   pace
	want   []result // directly
}

// run plays the cell and reports what is wrong with it.
func (c cell) run(entrance, front transporttest.Network, report func(format string, args ...any)) {
	f, err := middlebox.Parse(c.profile)
	if err != nil {
		report("%v", err)
		return
	}
	user := client.Config{Transports: choices[c.choice]}
	if c.pace == onSockets {
		user.Hold = time.Second // real time is dear
	}
	s, err := newStreet(c.way, middlebox.Config{Profile: c.pace.fit(f), Seed: 1}, user, entrance, front)
	if err != nil {
		report("%v", err)
		return
	}
	waves := c.pace.waves()
	if c.fails[c.choice] != "" {
		waves = waves[:1] // to be lost once is enough
	}
	for i, got := range playAll(s.user, waves) {
		c.judge(c.want[i], got, report)
	}
	if carried := s.user.State().Transport; c.pace == inBubble && c.choice == automatic && c.carried != "" && carried != c.carried {
		report("carried by %s at the end, want %s", carried, c.carried)
	}
	c.struck(s.box.Counts(), report)
	s.box.Set(middlebox.Profile{})
	c.startedOnce(s, report)
	if err := s.close(); err != nil {
		report("%v", err)
	}
}

// judge holds an RPC to the only two outcomes there are.
func (c cell) judge(want, got result, report func(string, ...any)) {
	names, fails := c.fails[c.choice]
	switch {
	case !fails && got != want:
		report("%s: through the bridge:\n%.900s\ndirectly:\n%.300s", got.kind, got.transcript, want.transcript)
	case fails && !(strings.Contains(got.transcript, "status  code:14 ") && strings.Contains(got.transcript, names)):
		report("%s: %.900s\nwant UNAVAILABLE that names %q", got.kind, got.transcript, names)
	}
}

// startedOnce holds that the RPCs of a cell where all work started at the
// service once each, though copies of requests arrive minutes later.
func (c cell) startedOnce(s *street, report func(string, ...any)) {
	if c.fails[c.choice] != "" {
		return
	}
	if c.pace == inBubble {
		_ = s.user.Close()
		time.Sleep(6 * time.Minute)
	}
	if n := s.service.Counts(); n.Started != int64(len(c.want)) || n.Active != 0 {
		report("%d RPCs started at the service and %d are active, want %d and 0", n.Started, n.Active, len(c.want))
	}
}

// struck holds that the network was as bad as the row says.
func (c cell) struck(n middlebox.Counts, report func(string, ...any)) {
	if c.fails[c.choice] != "" {
		return // the status shows what struck
	}
	for word := range strings.FieldsSeq(c.profile) {
		name, _, _ := strings.Cut(word, "=")
		if slices.Contains(needs[name], c.choice) && n.Struck[name] == 0 {
			report("%s never struck: %+v", name, n)
		}
	}
}

// TestMatrix plays each kind of RPC through each network, with each choice of
// transports: each works as directly, or where nothing can get through ends
// with one UNAVAILABLE that names what was seen.
func TestMatrix(t *testing.T) {
	want := directly(t, inBubble)
	i := 0
	for _, r := range rows {
		for _, choice := range slices.Sorted(maps.Keys(choices)) {
			if i++; !sampled(i) {
				continue
			}
			t.Run(r.name+"/"+choice, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := cell{row: r, choice: choice, pace: inBubble, want: want}
					c.run(transporttest.Pipes(t), transporttest.Pipes(t), t.Errorf)
				})
			})
		}
	}
}

// TestMatrix_sockets plays each behaviour once over real sockets, all side by
// side, as TestMatrix does in bubbles. Combinations, whose names have a comma,
// are left to that.
func TestMatrix_sockets(t *testing.T) {
	long(t)
	want := directly(t, onSockets)
	var cells sync.WaitGroup
	for _, r := range rows {
		if strings.Contains(r.name, ",") {
			continue
		}
		cells.Go(func() {
			c := cell{row: r, choice: automatic, pace: onSockets, want: want}
			c.run(transporttest.TCP(t), transporttest.TCP(t), func(format string, args ...any) {
				t.Errorf(r.name+": "+format, args...)
			})
		})
	}
	cells.Wait()
}
