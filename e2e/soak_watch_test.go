package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The processes that are never restarted.
const (
	lasting = "bridge3"
	clients = "clients"
	node    = "node"
)

// growth is how many times as much as before a process may have at the end, see
// checkGrowth.
const growth = 1.5

// reading is what one process has, at one time.
type reading struct {
	resident, descriptors, goroutines float64
	sessions, streams, links          float64 // of bridges
	forwarded                         float64
}

// watch reads what processes have.
type watch struct {
	*soak
	readings map[string][]reading // by process
}

func newWatch(s *soak) *watch { return &watch{soak: s, readings: make(map[string][]reading)} }

// run prints a report each minute, or oftener in a short soak.
func (w *watch) run(over <-chan struct{}) {
	tick := time.NewTicker(min(time.Minute, *soakFor/10))
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		now := w.look()
		for name, r := range now {
			w.readings[name] = append(w.readings[name], r)
		}
		w.print(now)
	}
}

// look reads all processes that answer.
func (w *watch) look() map[string]reading {
	now := map[string]reading{clients: ownReading()}
	for i, b := range w.bridges {
		if r, err := b.reading(); err == nil { // else it is being restarted
			now[fmt.Sprintf("bridge%d", i+1)] = r
		}
	}
	if w.node != nil {
		now[node] = processReading(w.node.cmd.Process.Pid)
	}
	return now
}

func (w *watch) print(now map[string]reading) {
	for i := range w.bridges {
		name := fmt.Sprintf("bridge%d", i+1)
		if r, ok := now[name]; ok {
			w.say("%s resident_mib=%.1f descriptors=%.0f goroutines=%.0f sessions=%.0f streams=%.0f forwarded=%.0f",
				name, r.resident/(1<<20), r.descriptors, r.goroutines, r.sessions, r.streams, r.forwarded)
		}
	}
	r := now[clients]
	w.say("%s resident_mib=%.1f descriptors=%.0f goroutines=%.0f", clients, r.resident/(1<<20), r.descriptors, r.goroutines)
	if r, ok := now[node]; ok {
		w.say("%s resident_mib=%.1f descriptors=%.0f", node, r.resident/(1<<20), r.descriptors)
	}
	w.say("total %s cuts=%d", w.counts.String(), w.relay.cuts.Load())
}

// checkGrowth compares the medians of the last quarter of the time with those of the
// second one: both have the same load, over whole rounds of restarts if the soak is long
// enough. What grows by half in that time is a leak; less may be chance, such as the
// moment of a collection.
func (w *watch) checkGrowth(t *testing.T) {
	t.Helper()
	if *soakFor < 10*time.Minute {
		w.say("too short to tell growth")
		return
	}
	for _, f := range []struct {
		name string
		of   func(reading) float64
	}{
		{"MiB resident", func(r reading) float64 { return r.resident / (1 << 20) }},
		{"descriptors", func(r reading) float64 { return r.descriptors }},
		{"goroutines", func(r reading) float64 { return r.goroutines }},
	} {
		for _, name := range []string{lasting, clients, node} {
			before, after := w.median(name, f.of, 1), w.median(name, f.of, 3)
			w.say("%s: %.1f %s in the second quarter, %.1f in the last", name, before, f.name, after)
			if after > growth*before {
				t.Errorf("%s: %.1f %s have become %.1f, more than %v times as many", name, before, f.name, after, growth)
			}
		}
	}
}

// median returns the middle of what a process had in a quarter of the time, 0 to 3.
func (w *watch) median(name string, of func(reading) float64, quarter int) float64 {
	all := w.readings[name]
	var values []float64
	for _, r := range all[quarter*len(all)/4 : (quarter+1)*len(all)/4] {
		values = append(values, of(r))
	}
	if len(values) == 0 {
		return 0 // there is no Node
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// awaitIdle waits until no bridge has a session, and until each has as many descriptors
// and goroutines as before the first one, but for channels to the backend, of which load
// has it make more, and for the goroutines that it keeps for the next RPCs.
func (w *watch) awaitIdle(t *testing.T, before map[string]reading) {
	t.Helper()
	for name, was := range before {
		for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
			r := w.look()[name]
			if r.sessions+r.streams+r.links == 0 && r.descriptors <= was.descriptors+20 && r.goroutines <= was.goroutines+100 {
				w.say("%s idle again: descriptors=%.0f of %.0f, goroutines=%.0f of %.0f", name, r.descriptors, was.descriptors, r.goroutines, was.goroutines)
				break
			}
			if time.Since(began) > 2*time.Minute {
				w.profile(name)
				t.Errorf("%s has %+v, and had %+v before the first client", name, r, was)
				break
			}
		}
	}
}

// reading asks the bridge's admin listener.
func (b *bridgeProcess) reading() (reading, error) {
	resp, err := http.Get(b.admin + "/metrics")
	if err != nil {
		return reading{}, err
	}
	defer resp.Body.Close()
	var r reading
	fields := map[string]*float64{
		"process_resident_memory_bytes": &r.resident, "process_open_fds": &r.descriptors, "go_goroutines": &r.goroutines,
		"pollbridge_sessions": &r.sessions, "pollbridge_streams": &r.streams, "pollbridge_links": &r.links,
		"pollbridge_cluster_links_forwarded_total": &r.forwarded,
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		series, text, _ := strings.Cut(lines.Text(), " ")
		name, _, _ := strings.Cut(series, "{")
		if field := fields[name]; field != nil {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return reading{}, err
			}
			*field += value
		}
	}
	return r, lines.Err()
}

// ownReading is of the process that has the Go clients and the relay.
func ownReading() reading {
	r := processReading(os.Getpid())
	r.goroutines = float64(runtime.NumGoroutine())
	return r
}

// processReading is what the system says of a process.
func processReading(pid int) reading {
	var r reading
	if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid)); err == nil {
		r.descriptors = float64(len(open))
	}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if fields := strings.Fields(string(text)); len(fields) > 1 {
		pages, _ := strconv.Atoi(fields[1])
		r.resident = float64(pages * os.Getpagesize())
	}
	return r
}

// profile prints the goroutines of a bridge.
func (w *watch) profile(name string) {
	for i, b := range w.bridges {
		if name != fmt.Sprintf("bridge%d", i+1) {
			continue
		}
		if resp, err := http.Get(b.admin + "/debug/pprof/goroutine?debug=1"); err == nil {
			_, _ = io.Copy(os.Stdout, resp.Body)
			resp.Body.Close()
		}
	}
}
