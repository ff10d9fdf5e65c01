package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if isRole(os.Args) {
		serveRole(os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

// TestRun keeps the benchmark from rotting: each scenario once on each path.
func TestRun(t *testing.T) {
	cfg := config{rounds: 1, window: time.Millisecond, warmup: time.Millisecond, size: 100}
	lab, err := newLab(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer lab.close()
	samples, err := measure(t.Context(), cfg, lab)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(samples), len(scenarios)*4; got != want {
		t.Errorf("%d samples, want %d", got, want)
	}
	var out strings.Builder
	report(&out, cfg, lab, samples)
	for _, p := range lab.paths {
		if n := strings.Count(out.String(), "\n| "+p.name+" |"); n != len(scenarios) {
			t.Errorf("the report has %d rows for %s, want %d", n, p.name, len(scenarios))
		}
	}
}

func TestMiddle(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 2, 3}, 2.5},
	} {
		if got := middle(c.values); got != c.want {
			t.Errorf("middle(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}
