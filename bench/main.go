// Command bench measures Pollbridge beside gRPC itself, a transparent gRPC
// proxy, and the fronts that browsers use today. It writes one page of Markdown.
//
// What is measured, what loads it and the backend are processes of their own.
// Rounds alternate over the ways, and what counts are medians of the ratios
// within a round, since machines change speed by more than what is to be seen.
//
//	go -C bench run . -help
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

func main() {
	if isRole(os.Args) {
		runRole(os.Args[2], os.Args[3:])
		return
	}
	debug.SetGCPercent(400) // the load is not what is measured
	cfg := config{started: time.Now()}
	flag.StringVar(&cfg.tree, "tree", "..", "checkout whose bridge and JavaScript client are measured")
	flag.StringVar(&cfg.only, "only", "", "comma-separated measurements, of "+strings.Join(names(), ", ")+"; default: all")
	flag.StringVar(&cfg.scenarios, "scenarios", "", "regular expression of the RPC scenarios to measure")
	flag.StringVar(&cfg.ways, "ways", "", "regular expression of the ways to measure")
	flag.IntVar(&cfg.rounds, "rounds", 5, "alternated rounds")
	flag.DurationVar(&cfg.window, "window", 500*time.Millisecond, "time that a sample is measured")
	flag.IntVar(&cfg.crowd, "crowd", 10_000, "sessions in memory, growth and storm")
	flag.BoolVar(&cfg.ownOnly, "own-only", false, "without other people's programs: nothing is installed")
	flag.StringVar(&cfg.profiles, "profiles", "", "directory for profiles of the bridge (pprof) and of pages (.cpuprofile)")
	out := flag.String("out", "", "file for the page; default: standard output")
	format := flag.String("format", "page", "page, or go: the figures of Pollbridge as Go writes those of benchmarks, for benchstat")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, cfg, *out, *format); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// config says what to measure, and for how long.
type config struct {
	started   time.Time
	tree      string
	only      string
	scenarios string
	ways      string
	rounds    int
	window    time.Duration
	crowd     int
	ownOnly   bool
	profiles  string

	dir   string // of what is built, until the end
	cache string // of installed rivals
}

// warmup is how long each way is used before a sample.
func (c config) warmup() time.Duration { return c.window / 4 }

// log writes progress to stderr.
func (c config) log(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0f s  %s\n", time.Since(c.started).Seconds(), fmt.Sprintf(format, args...))
}

// A measurement fills a section of the page.
type measurement struct {
	name  string
	limit time.Duration
	run   func(ctx context.Context, cfg config) (*section, error)
}

// measurements in the order of the page.
var measurements = []measurement{
	{"rpc", 10 * time.Minute, measureRPCs},
	{"browser", 3 * time.Minute, measureBrowser},
	{"first", 3 * time.Minute, measureFirst},
	{"memory", 8 * time.Minute, measureMemory},
	{"growth", 4 * time.Minute, measureGrowth},
	{"storm", 3 * time.Minute, measureStorm},
	{"cluster", 6 * time.Minute, measureCluster},
	{"beside", 3 * time.Minute, measureBeside},
	{"distance", 20 * time.Minute, measureDistance},
}

func names() []string {
	var all []string
	for _, m := range measurements {
		all = append(all, m.name)
	}
	return all
}

func run(ctx context.Context, cfg config, out, format string) (err error) {
	if cfg.tree, err = filepath.Abs(cfg.tree); err != nil {
		return err
	}
	if err := cfg.prepare(ctx); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(cfg.dir) }()
	p := &page{cfg: cfg, load: loadAverage(), revision: revision(cfg.tree)}
	for _, m := range measurements {
		if cfg.only == "" || slices.Contains(strings.Split(cfg.only, ","), m.name) {
			cfg.log("%s", m.name)
			p.sections = append(p.sections, m.bounded(ctx, cfg))
		}
	}
	text := p.markdown()
	if format == "go" {
		text = p.benchmarks()
	}
	if out == "" {
		_, err = os.Stdout.WriteString(text)
		return err
	}
	return os.WriteFile(out, []byte(text), 0o644)
}

// prepare builds what is measured.
func (c *config) prepare(ctx context.Context) (err error) {
	if c.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	c.cache = filepath.Join(cache, "pollbridge-bench")
	if err := os.MkdirAll(c.cache, 0o755); err != nil {
		return err
	}
	return c.buildBridge(ctx)
}

// bounded runs the measurement within its limit. One that fails is noted, and
// the others go on.
func (m measurement) bounded(ctx context.Context, cfg config) *section {
	ctx, cancel := context.WithCancel(ctx) // without a deadline, which RPCs would carry
	defer cancel()
	limit := time.AfterFunc(m.limit, cancel)
	defer limit.Stop()
	s, err := m.run(ctx, cfg)
	if s == nil {
		s = &section{}
	}
	if err != nil {
		s.note("%s: %v", m.name, err)
	}
	for _, n := range s.notes {
		cfg.log("NOT MEASURED  %s", n)
	}
	return s
}
