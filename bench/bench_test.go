package main

import (
	"bytes"
	"errors"
	"math"
	"os"
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

func TestAlternate(t *testing.T) {
	cfg := config{rounds: 3, started: time.Now(), ways: "a,b"}
	broken := errors.New("broken")
	var order []string
	r := alternate(t.Context(), cfg, []key{{"s", "a"}, {"s", "b"}, {"s", "unwanted"}}, func(k key) (sample, error) {
		order = append(order, k.way)
		if k.way == "b" && len(order) > 2 {
			return sample{}, broken
		}
		return sample{rate: float64(len(order))}, nil
	})
	if got, want := strings.Join(order, ""), "ababa"; got != want { // b fails in the second round, and is left alone then
		t.Errorf("samples were taken of %s, want %s", got, want)
	}
	if got := len(r.samples[key{"s", "a"}]); got != 3 {
		t.Errorf("%d samples of a, want 3", got)
	}
	if got, want := r.notes(), []string{"s, b: round 2: broken"}; !slices.Equal(got, want) {
		t.Errorf("notes %q, want %q", got, want)
	}
}

// TestRatio holds that ratios are those of one round, not of two medians.
func TestRatio(t *testing.T) {
	r := &results{samples: map[key][]sample{
		{"s", "own"}:   {{rate: 10}, {rate: 200}, {rate: 30}},
		{"s", "other"}: {{rate: 5}, {rate: 100}, {rate: 10}, {rate: 1}},
	}}
	if got := r.ratio("s", "own", "other", rate); got != 2 {
		t.Errorf("ratio %v, want 2", got)
	}
	if got := r.median("s", "own", rate); got != 30 {
		t.Errorf("median %v, want 30", got)
	}
	if got := r.ratio("s", "own", "nobody", rate); !math.IsNaN(got) {
		t.Errorf("ratio to nothing %v", got)
	}
}

func TestBrowserRows(t *testing.T) {
	at := func(messages float64, task time.Duration) []sample {
		return []sample{{rate: messages, client: perOperation{cpu: task}}}
	}
	keys := []key{{browserStream, webWS}, {browserStream, connectWeb}, {browserStream, grpcWeb}}
	r := &results{samples: map[key][]sample{
		keys[0]: at(3000, 2*time.Microsecond),
		keys[1]: at(1000, 4*time.Microsecond),
	}}
	wantLine(t, browserTable(r, keys),
		"| Pollbridge ws | 3000 | 3.00 | 2.00 µs | 0.50 |",
		"| connect-web by connect-go | 1000 | 1.00 | 4.00 µs | 1.00 |",
		"| grpc-web by grpcwebproxy | not measured | | | |")
	p := &page{cfg: config{started: time.Now()}}
	p.add(&found{claims: browserClaims(r)})
	var out bytes.Buffer
	p.write(&out)
	wantLine(t, out.String(),
		"| 17 | "+rowTitles[17]+" | ws: messages/s ÷ connect-web by connect-go | 3.00 × | ≥ 1.50 | ≥ 3.00 | reaches its goal |",
		"|  |  | ws: main-thread time per message ÷ connect-web by connect-go | 0.50 × | ≤ 1.00 |  | meets its must |",
		"|  |  | ws: messages/s ÷ grpc-web by grpcwebproxy | – | ≥ 1.50 | ≥ 3.00 | not measured |")
}

func TestFirstRows(t *testing.T) {
	r := &results{samples: map[key][]sample{}}
	var keys []key
	for i, c := range firstCalls {
		k := key{firstAnswer, c.way}
		keys = append(keys, k)
		r.samples[k] = []sample{{p50: time.Duration(i+1) * 50 * time.Millisecond}}
	}
	wantLine(t, firstTable(r, keys), "| "+barePage+" | 50.0 ms | 1.00 |", "| longpoll, idempotent | 100 ms | 2.00 |")
	verdicts := []string{}
	for _, c := range firstClaims(r) {
		verdicts = append(verdicts, c.verdict())
	}
	const misses = "**misses its must**"
	if want := []string{misses, misses, misses, misses, ""}; !slices.Equal(verdicts, want) {
		t.Errorf("verdicts %q, want %q", verdicts, want)
	}
}

func wantLine(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}
