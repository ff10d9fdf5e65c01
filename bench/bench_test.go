package main

import (
	"bytes"
	"math"
	"os"
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

// TestRPCs keeps the benchmark from rotting: each scenario once on each way
// that needs nothing from outside.
func TestRPCs(t *testing.T) {
	cfg := config{ownOnly: true, rounds: 1, window: time.Millisecond, warmup: time.Millisecond, started: time.Now()}
	f, err := measureRPCs(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.notes) > 0 {
		t.Errorf("not measured: %q", f.notes)
	}
	rivals := map[string]bool{gwpHTTP: true, gwpWS: true, connectFront: true, socketioWS: true, socketioPoll: true}
	for i, s := range scenarios() {
		for _, name := range s.ways {
			missing := strings.Contains(f.tables[i], "| "+name+" | not measured")
			if missing != rivals[name] {
				t.Errorf("%s, %s: missing is %v", s.name, name, missing)
			}
		}
	}
}

func TestPage(t *testing.T) {
	p := &page{cfg: config{started: time.Now()}}
	p.add(&found{claims: []claim{
		atMost(1, "cost", 0.7, " ×", 0.6, 0.5),
		atLeast(1, "gain", 2, " ×", 1, 2),
	}})
	var out bytes.Buffer
	p.write(&out)
	for _, want := range []string{
		"| 1 | " + rowTitles[1] + " | cost | 0.70 × | ≤ 0.60 | ≤ 0.50 | **misses its must** |",
		"|  |  | gain | 2.00 × | ≥ 1.00 | ≥ 2.00 | reaches its goal |",
		"| 2 | " + rowTitles[2] + " | all | – |  |  | not measured |",
		"- **1.** ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line %q in\n%s", want, &out)
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
	if got := middle(nil); !math.IsNaN(got) {
		t.Errorf("middle of nothing = %v", got)
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.123: "0.12", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 45678: "45678"} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) = %s, want %s", v, got, want)
		}
	}
}
