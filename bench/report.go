package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// page is the report.
type page struct {
	cfg      config
	load     string // of the machine when it began
	revision string // of the source then
	claims   []claim
	tables   []string
	notes    []string
}

func (p *page) add(f *found) {
	p.claims = append(p.claims, f.claims...)
	p.tables = append(p.tables, f.tables...)
	p.notes = append(p.notes, f.notes...)
}

// complete adds a line for each row of which nothing is known.
func (p *page) complete() {
	for row := range rowTitles {
		if !slices.ContainsFunc(p.claims, func(c claim) bool { return c.row == row }) {
			p.claims = append(p.claims, claim{row: row, what: "all", value: none, must: none, goal: none})
		}
	}
}

func (p *page) write(w io.Writer) {
	p.complete()
	fmt.Fprintln(w, "# Benchmarks")
	fmt.Fprintf(w, "\nWritten by `make bench` on %s in %.0f s: %s, %s/%s, %d CPUs (%s), load average at the start %s.\n",
		p.cfg.started.UTC().Format(time.DateOnly), time.Since(p.cfg.started).Seconds(),
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cpuModel(), p.load)
	fmt.Fprintf(w, "Revision %s. Medians of %d alternated rounds of %v. %s\n", p.revision, p.cfg.rounds, p.cfg.window, rivalVersions)
	fmt.Fprint(w, preface)
	fmt.Fprintln(w, "\n## Rows")
	fmt.Fprintln(w, "\n| # | work | figure | measured | must | goal | |")
	fmt.Fprintln(w, "|--:|---|---|--:|--:|--:|---|")
	slices.SortStableFunc(p.claims, func(a, b claim) int { return a.row - b.row })
	for i, c := range p.claims {
		number, title := "", ""
		if i == 0 || p.claims[i-1].row != c.row {
			number, title = fmt.Sprint(c.row), rowTitles[c.row]
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", number, title, c.what, c.figure(), c.bound(c.must), c.bound(c.goal), c.verdict())
	}
	p.writeReasons(w)
	if len(p.notes) > 0 {
		fmt.Fprintln(w, "\n## Not measured, and why")
		for _, n := range p.notes {
			fmt.Fprintf(w, "\n- %s", strings.ReplaceAll(n, "\n", "; "))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "\n## All figures")
	for _, t := range p.tables {
		fmt.Fprintf(w, "\n%s", t)
	}
	fmt.Fprintf(w, "\n%s", leftOut)
}

// writeReasons explains each row that misses its must.
func (p *page) writeReasons(w io.Writer) {
	missing := map[int]bool{}
	for _, c := range p.claims {
		if c.verdict() == "**misses its must**" {
			missing[c.row] = true
		}
	}
	if len(missing) == 0 {
		return
	}
	fmt.Fprintln(w, "\n## Why rows miss their must")
	for row := range len(rowTitles) + 1 {
		if missing[row] {
			reason := reasons[row]
			if reason == "" {
				reason = "No reason is known yet."
			}
			fmt.Fprintf(w, "\n- **%d.** %s", row, reason)
		}
	}
	fmt.Fprintln(w)
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

func revision() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
