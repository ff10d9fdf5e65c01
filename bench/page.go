package main

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// page is the report.
type page struct {
	cfg      config
	load     string // of the machine when it began
	revision string
	sections []*section
}

// section is what a measurement found.
type section struct {
	title string
	text  strings.Builder // tables, in Markdown
	lines []string        // figures of Pollbridge, for benchstat
	notes []string        // what could not be measured, and why
}

func (s *section) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// table begins a table with these columns.
func (s *section) table(first string, columns ...string) {
	fmt.Fprintf(&s.text, "\n| %s | %s |\n|---%s|\n", first, strings.Join(columns, " | "), strings.Repeat("|--:", len(columns)))
}

func (s *section) row(first string, cells ...string) {
	fmt.Fprintf(&s.text, "| %s | %s |\n", first, strings.Join(cells, " | "))
}

// bench adds a line as Go writes those of benchmarks: values, each with its unit.
func (s *section) bench(name string, values ...any) {
	words := []string{"Benchmark" + strings.ToUpper(name[:1]) + strings.NewReplacer(" ", "_", ",", "").Replace(name[1:]), "1"}
	for i := 0; i < len(values); i += 2 {
		words = append(words, fmt.Sprintf("%.6g %s", values[i], values[i+1]))
	}
	s.lines = append(s.lines, strings.Join(words, " "))
}

// benchmarks returns the figures of Pollbridge for benchstat.
func (p *page) benchmarks() string {
	var b strings.Builder
	for _, s := range p.sections {
		for _, line := range s.lines {
			fmt.Fprintln(&b, line)
		}
	}
	return b.String()
}

// markdown returns the page.
func (p *page) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\n%s\n", preface)
	fmt.Fprintf(&b, "Measured on %s at revision %s in %.0f minutes: %s, %s/%s, %d CPUs (%s), load average at the start %s. Medians of %d alternated rounds of %v. %s.\n",
		p.cfg.started.UTC().Format(time.DateOnly), p.revision, time.Since(p.cfg.started).Minutes(),
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cpuModel(), p.load, p.cfg.rounds, p.cfg.window, versions())
	for _, s := range p.sections {
		if s.text.Len() > 0 {
			fmt.Fprintf(&b, "\n## %s\n\n%s\n%s", s.title, prose[s.title], &s.text)
		}
	}
	var notes []string
	for _, s := range p.sections {
		notes = append(notes, s.notes...)
	}
	if len(notes) > 0 {
		fmt.Fprintf(&b, "\n## Not measured\n\n")
		for _, n := range notes {
			fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(n, "\n", "; "))
		}
	}
	return b.String()
}

// figure shows three digits, or all before the point.
func figure(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case v == 0 || math.Abs(v) >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return strconv.FormatFloat(v, 'f', min(digits, 2), 64)
}

func micros(ns float64) string { return figure(ns/1e3) + " µs" }

func millis(ns float64) string { return figure(ns/1e6) + " ms" }

func kib(bytes float64) string { return figure(bytes/1024) + " KiB" }

// versions names what is compared, from this program's own modules.
func versions() string {
	all := []string{"grpcwebproxy " + grpcwebproxyVersion, "connect-web " + connectWebVersion}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if name, ok := map[string]string{"google.golang.org/grpc": "grpc-go", "connectrpc.com/connect": "connect-go"}[m.Path]; ok {
				all = append(all, name+" "+m.Version)
			}
		}
	}
	return strings.Join(all, ", ")
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

func cpuModel() string {
	b, _ := os.ReadFile("/proc/cpuinfo") // none on other systems
	for line := range bytes.Lines(b) {
		if key, value, ok := bytes.Cut(line, []byte(":")); ok && strings.TrimSpace(string(key)) == "model name" {
			return strings.TrimSpace(string(value))
		}
	}
	return "unknown model"
}

func revision(tree string) string {
	out, err := exec.Command("git", "-C", tree, "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
