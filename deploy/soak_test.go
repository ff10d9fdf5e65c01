package deploy_test

import (
	"bufio"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

var soakLog = flag.String("soak", "", "what make soak-real printed: draw docs/img/soak.png of it, and put its count into docs/SIMULATION.md")

// soakFigures are what a soak has printed.
type soakFigures struct {
	curves map[string]map[string]plotter.XYs // by figure and process, over minutes
	total  map[string]float64                // the last count
	took   time.Duration
}

// TestSoak_picture draws the picture of a soak for the docs.
func TestSoak_picture(t *testing.T) {
	if *soakLog == "" {
		t.Skip("-soak names the log of a soak")
	}
	s := readSoak(t, *soakLog)
	panels := []struct{ title, figure, processes string }{
		{"Memory of bridges, MiB", "resident_mib", "^bridge"},
		{"Descriptors of bridges", "descriptors", "^bridge"},
		{"Goroutines of bridges", "goroutines", "^bridge"},
		{"Memory of clients, MiB", "resident_mib", "^(clients|node)$"},
		{"Descriptors of clients and relay", "descriptors", "^(clients|node)$"},
		{"Goroutines of Go clients and relay", "goroutines", "^clients$"},
	}
	drawn := make([]*plot.Plot, len(panels))
	for i, panel := range panels {
		drawn[i] = s.draw(t, panel.title, panel.figure, regexp.MustCompile(panel.processes))
	}
	save(t, drawn, "../docs/img/soak.png")
	s.caption(t, "../docs/SIMULATION.md")
}

// readSoak reads the lines that begin with a time: a name, and figures as KEY=NUMBER.
func readSoak(t *testing.T, file string) *soakFigures {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &soakFigures{curves: make(map[string]map[string]plotter.XYs), total: make(map[string]float64)}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 {
			continue
		}
		at, err := time.ParseDuration(fields[0])
		if err != nil {
			continue
		}
		for _, field := range fields[2:] {
			key, text, _ := strings.Cut(field, "=")
			if value, err := strconv.ParseFloat(text, 64); err == nil {
				s.add(at, fields[1], key, value)
			}
		}
	}
	return s
}

func (s *soakFigures) add(at time.Duration, process, key string, value float64) {
	if process == "total" {
		s.total[key] = value
		s.took = at
		return
	}
	if s.curves[key] == nil {
		s.curves[key] = make(map[string]plotter.XYs)
	}
	s.curves[key][process] = append(s.curves[key][process], plotter.XY{X: at.Minutes(), Y: value})
}

// draw draws a figure of some processes.
func (s *soakFigures) draw(t *testing.T, title, figure string, processes *regexp.Regexp) *plot.Plot {
	t.Helper()
	p := plot.New()
	p.Title.Text, p.X.Label.Text = title, "minutes"
	p.Legend.Top, p.Legend.Left = true, true
	color := 0
	for _, process := range slices.Sorted(maps.Keys(s.curves[figure])) {
		if !processes.MatchString(process) {
			continue
		}
		line, err := plotter.NewLine(s.curves[figure][process])
		if err != nil {
			t.Fatal(err)
		}
		line.Color, line.Width = plotutil.Color(color), vg.Points(1.5)
		color++
		p.Add(line)
		p.Legend.Add(process, line)
	}
	if color == 0 {
		t.Fatalf("%s has no %s of %v", *soakLog, figure, processes)
	}
	p.Y.Min, p.Y.Max = 0, 1.4*p.Y.Max // room for the legend
	return p
}

// caption replaces what a page says of the soak.
func (s *soakFigures) caption(t *testing.T, page string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- soak: make soak-picture -->\n", "<!-- end of soak -->"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for a soak", page)
	}
	caption := fmt.Sprintf("![memory, descriptors and goroutines of each process, by minute](img/soak.png)\n\n"+
		"%.0f minutes: %.0f messages in %.0f RPCs, %.0f connections cut, %.0f bridges restarted, %.0f certificates and %.0f keys replaced, %.0f RPCs with an expired token made again, %.0f clients, %.0f of which vanished: "+
		"**%.0f messages lost, %.0f repeated, %.0f reordered, %.0f altered; %.0f RPCs failed.**\n",
		s.took.Minutes(), s.total["messages"], s.total["rpcs"], s.total["cuts"], s.total["restarts"], s.total["certificates"], s.total["keys"],
		s.total["expired"], s.total["channels"], s.total["abandoned"],
		s.total["lost"], s.total["repeated"], s.total["reordered"], s.total["altered"], s.total["failed"])
	if err := os.WriteFile(page, []byte(before+begin+caption+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
