package e2e_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/simnet"
)

// inRow is a way to fail that strikes twenty times, one after the other.
type inRow struct {
	fault  simnet.Fault
	status int // of BadStatus
	kill   bool
}

const timesInRow = 20

func (f inRow) String() string {
	switch {
	case f.kill:
		return "cut at any byte"
	case f.status != 0:
		return fmt.Sprint("status ", f.status)
	}
	return string(f.fault)
}

// strike makes it happen. Sockets are spoiled when they open: those that are
// there are cut.
func (f inRow) strike(net *simnet.Network, choice []string) {
	profile := simnet.Profile{RTT: 20 * time.Millisecond, Cut: 4 * time.Second, Status: f.status}
	net.Change(profile)
	if f.kill {
		for n := range timesInRow {
			profile.Kill = 1 + n*n*7 // 1 to 2,528 bytes
			net.Change(profile)
			net.CutSockets()
			time.Sleep(2 * time.Second)
		}
		profile.Kill = 0
		net.Change(profile)
		net.CutSockets()
		return
	}
	net.Inject(slices.Repeat([]simnet.Fault{f.fault}, timesInRow)...)
	sockets := slices.Contains(simnet.SocketFaults(), f.fault)
	for began := time.Now(); net.Pending() > 0 && time.Since(began) < time.Hour; {
		if sockets || len(choice) != 1 {
			net.CutSockets()
		}
		time.Sleep(20 * time.Second)
	}
}

// TestResume_inRow: each way to fail, alone and twenty times in a row, in the
// middle of RPCs of all four kinds, changes nothing about them.
func TestResume_inRow(t *testing.T) {
	var all []inRow
	for _, fault := range append(simnet.ExchangeFaults(), simnet.SocketFaults()...) {
		if fault != simnet.BadStatus {
			all = append(all, inRow{fault: fault})
		}
	}
	for _, status := range simnet.Statuses() {
		all = append(all, inRow{fault: simnet.BadStatus, status: status})
	}
	all = append(all, inRow{kill: true})
	for i, f := range all {
		if !sampled(i) {
			continue
		}
		choice := []string{"longpoll"}
		if f.kill || slices.Contains(simnet.SocketFaults(), f.fault) {
			choice = []string{"ws"}
		}
		t.Run(f.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { f.run(t, choice) })
		})
	}
}

func (f inRow) run(t *testing.T, choice []string) {
	w := newWorld(t, choice, bridge.Config{})
	net := simnet.New(1, simnet.Profile{RTT: 20 * time.Millisecond})
	ch := w.inWeather(t, choice, net)
	play(t, kinds["unary"], ch, scene("plain"))
	want := map[string]string{}
	for kind, run := range kinds {
		want[kind] = play(t, run, w.Direct, scene("slow"))
	}
	before := w.Service.Counts().Started
	var calls sync.WaitGroup
	var made atomic.Int64
	var over atomic.Bool
	for kind, run := range kinds {
		calls.Go(func() {
			for ok := true; ok && !over.Load(); {
				made.Add(1)
				got := play(t, run, ch, scene("slow"))
				if ok = got == want[kind]; !ok {
					t.Errorf("%s: through the bridge:\n%.600s\ndirectly:\n%.600s", kind, got, want[kind])
				}
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	if n := w.Service.Counts().Active; n != int64(len(kinds)) {
		t.Errorf("%d RPCs are under way, want %d", n, len(kinds))
	}
	f.strike(net, choice)
	over.Store(true)
	calls.Wait()
	net.Calm()
	check(t, ch.Close())
	time.Sleep(6 * time.Minute) // copies of requests that are still under way
	if c := w.Service.Counts(); c.Started-before != made.Load() || c.Active != 0 {
		t.Errorf("%d RPCs started at the backend and %d are active, want %d and 0", c.Started-before, c.Active, made.Load())
	}
	if n := net.Counts()[f.fault]; !f.kill && n != timesInRow {
		t.Errorf("it struck %d times", n)
	}
}
