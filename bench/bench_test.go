package main

import (
	"context"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if isRole(os.Args) {
		runRole(os.Args[2], os.Args[3:])
		return
	}
	os.Exit(m.Run())
}

// tiny measures as little as possible, of a bridge that it builds.
func tiny(t *testing.T) config {
	tree, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config{tree: tree, ownOnly: true, rounds: 1, window: time.Millisecond, crowd: 20, started: time.Now(), dir: t.TempDir()}
	if err := cfg.buildBridge(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestMeasurements keeps the benchmark from rotting: what needs nothing from
// outside is measured once, and leaves no figure out.
func TestMeasurements(t *testing.T) {
	cfg := tiny(t)
	for name, tt := range map[string]struct {
		run  func(context.Context, config) (*section, error)
		rows []string
	}{
		"rpc": {measureRPCs, rpcRows()},
		"memory": {measureMemory, []string{
			"Pollbridge ws: an idle session", "Pollbridge ws: a session with a quiet stream", "Pollbridge ws: a session whose reader stopped",
			"Pollbridge longpoll: an idle session", "Pollbridge longpoll: a session with a quiet stream",
			"Pollbridge longpoll over TLS: a session with a quiet stream", "Pollbridge longpoll: a session whose reader stopped",
			"grpc-go proxy: an idle connection", "grpc-go proxy: a connection with a quiet stream", "grpc-go proxy: a connection whose reader stopped",
		}},
		"growth": {measureGrowth, []string{"bridge's CPU for an RPC on one of them ÷ on one of 128", "bridge's CPU while all are idle, pings included"}},
		"storm": {measureStorm, []string{
			"resumed, and the stream went on with nothing lost | 100 %", "all were back after", "bridge's CPU time for each",
			"peak of resident memory ÷ before, garbage collected", "p99 of RPCs of 16 other sessions ÷ before",
		}},
		"one scenario": {func(ctx context.Context, cfg config) (*section, error) {
			cfg.scenarios, cfg.ways = "unary of 64 KiB", "^(grpc-go proxy|Pollbridge ws)$"
			return measureRPCs(ctx, cfg)
		}, []string{"unary of 64 KiB, 8 in flight", proxy, ws}},
		"cluster": {measureCluster, clusterRows()},
		"distance": {func(ctx context.Context, cfg config) (*section, error) {
			cfg.scenarios = "10 Mbit/s, 20ms"
			return measureDistance(ctx, cfg)
		}, []string{"one stream, 10 Mbit/s, 20ms there and back", native, ws, longpoll}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := tt.run(t.Context(), cfg)
			if err != nil || len(s.notes) > 0 {
				t.Fatalf("%v; not measured: %q", err, s.notes)
			}
			text := s.text.String()
			for _, row := range tt.rows {
				before, after, found := strings.Cut(text, "\n| "+row+" |")
				if !found {
					t.Errorf("no row %q after %q in\n%s", row, before, s.text.String())
				}
				text = after
			}
			if strings.Contains(s.text.String(), "–") {
				t.Errorf("figures are missing:\n%s", s.text.String())
			}
			if prose[s.title] == "" {
				t.Errorf("no prose introduces %q", s.title)
			}
		})
	}
}

// rpcRows are those of all scenarios, on the ways that need nothing from outside.
func rpcRows() []string {
	var rows []string
	for _, s := range scenarios() {
		rows = append(rows, s.name)
		for _, way := range s.ways {
			if slices.Contains([]string{native, proxy, ws, longpoll}, way) {
				rows = append(rows, way)
			}
		}
	}
	return rows
}

func clusterRows() []string {
	var rows []string
	for _, s := range clusterScenarios() {
		rows = append(rows, s.name, "ws at its owner", "ws forwarded", "longpoll at its owner", "longpoll forwarded")
	}
	return append(rows, "20 sessions with a quiet stream, whose polls are parked", atOwner, forwarded)
}

func TestAlternate(t *testing.T) {
	var order []string
	s := &section{}
	r := alternate(t.Context(), config{rounds: 3, started: time.Now()}, s, []key{{"s", "a"}, {"s", "b"}}, func(k key) (sample, error) {
		order = append(order, k.way)
		if k.way == "b" && len(order) > 2 {
			return sample{}, errors.New("broken")
		}
		return sample{rate: float64(len(order))}, nil
	})
	if got, want := strings.Join(order, ""), "ababa"; got != want { // b fails in the second round, and is left alone then
		t.Errorf("samples were taken of %s, want %s", got, want)
	}
	if got := len(r[key{"s", "a"}]); got != 3 {
		t.Errorf("%d samples of a, want 3", got)
	}
	if want := []string{"s, b: round 2: broken"}; !slices.Equal(s.notes, want) {
		t.Errorf("notes %q, want %q", s.notes, want)
	}
}

// TestRatio holds that ratios are those of one round, not of two medians.
func TestRatio(t *testing.T) {
	own := key{"s", "own"}
	r := results{
		own:            {{rate: 10}, {rate: 200}, {rate: 30}},
		{"s", "other"}: {{rate: 5}, {rate: 100}, {rate: 10}, {rate: 1}},
	}
	if got := r.ratio(own, "other", rate); got != 2 {
		t.Errorf("ratio %v, want 2", got)
	}
	if got := r.median(own, rate); got != 30 {
		t.Errorf("median %v, want 30", got)
	}
	if got := r.ratio(own, "nobody", rate); !math.IsNaN(got) {
		t.Errorf("ratio to nothing %v", got)
	}
}

func TestPage(t *testing.T) {
	s := &section{title: "RPCs"}
	r := results{
		{"unary", proxy}: {{rate: 1000, p50: time.Millisecond, hop: 80 * time.Microsecond, mallocs: 150}},
		{"unary", ws}:    {{rate: 2000, p50: 500 * time.Microsecond, hop: 20 * time.Microsecond}},
	}
	s.rpcTable("unary", []string{proxy, ws}, r)
	s.note("Nobody: not\nthere")
	p := &page{cfg: config{started: time.Now()}, sections: []*section{s}}
	for _, want := range []string{
		"## RPCs\n",
		"| grpc-go proxy | 1000 | 1.00 | 1000 µs | 0 µs | 80.0 µs | 1.00 | 150 | 0 µs |\n",
		"| Pollbridge ws | 2000 | 2.00 | 500 µs | 0 µs | 20.0 µs | 0.25 |  | 0 µs |\n",
		"## Not measured\n\n- Nobody: not; there\n",
	} {
		if got := p.markdown(); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if got, want := p.benchmarks(), "BenchmarkUnary/Pollbridge_ws 1 20000 hop-ns/op 2000 op/s 500000 p50-ns\n"; got != want {
		t.Errorf("for benchstat %q, want %q", got, want)
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.0123: "0.01", 1.234: "1.23", 12.34: "12.3", 123.4: "123", -59.54: "-59.5", math.NaN(): "–"} {
		if got := figure(v); got != want {
			t.Errorf("%v is shown as %q, want %q", v, got, want)
		}
	}
}

// TestProse holds that no section is introduced that does not exist.
func TestProse(t *testing.T) {
	if got, want := len(slices.Collect(maps.Keys(prose))), len(measurements); got != want {
		t.Errorf("%d sections have prose, %d are measured", got, want)
	}
}
