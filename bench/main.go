// Command bench measures Pollbridge beside what else there is: gRPC itself, a
// minimal transparent gRPC proxy, and the rivals that it installs. Bridge,
// load and backend are processes of their own. Rounds alternate over the ways,
// and what is judged are medians of the ratios of one round, since machines
// change speed by more than what is to be seen. It writes one page in Markdown.
//
// Run it from the repository's root; see `go run ./bench -help`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"time"
)

func main() {
	if isRole(os.Args) {
		runRole(os.Args[2], os.Args[3:])
		return
	}
	debug.SetGCPercent(400) // the load should not be what is measured
	cfg := config{started: time.Now()}
	out := flag.String("out", "", "file for the page; default: stdout")
	quick := flag.Bool("quick", false, "fewer and shorter rounds, and only rows that are soon measured")
	flag.IntVar(&cfg.rounds, "rounds", 5, "alternated rounds")
	flag.DurationVar(&cfg.window, "window", 500*time.Millisecond, "time that a sample is measured")
	flag.StringVar(&cfg.only, "only", "", "comma-separated names of measurements: "+names())
	flag.IntVar(&cfg.crowd, "crowd", 10_000, "sessions of rows 10 to 15")
	flag.BoolVar(&cfg.ownOnly, "own-only", false, "without rivals: nothing is installed")
	flag.StringVar(&cfg.ways, "ways", "", "comma-separated names of the ways to measure; default: all")
	flag.StringVar(&cfg.scenarios, "scenarios", "", "regular expression of the scenarios to measure")
	flag.StringVar(&cfg.profile, "profile", "", "directory for profiles of CPU and allocations of load and hop, one each for the last sample on each way, and of the memory and the CPU of each crowd")
	flag.Parse()
	cfg.warmup = cfg.window / 4
	if *quick {
		cfg.quick, cfg.rounds, cfg.window, cfg.warmup = true, 2, 250*time.Millisecond, 60*time.Millisecond
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, cfg, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// config says what to measure, and for how long.
type config struct {
	started        time.Time
	quick          bool
	ownOnly        bool // no rivals
	rounds         int
	window, warmup time.Duration
	crowd          int
	only           string
	ways           string
	scenarios      string
	cache          string // directory of installed rivals
	profile        string
}

// log tells of progress on stderr.
func (c config) log(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%5.0f s  %s\n", time.Since(c.started).Seconds(), fmt.Sprintf(format, args...))
}

func run(ctx context.Context, cfg config, out string) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cfg.cache = filepath.Join(cache, "pollbridge-bench")
	if err := os.MkdirAll(cfg.cache, 0o755); err != nil {
		return err
	}
	page := &page{cfg: cfg, load: loadAverage(), revision: revision()}
	for _, m := range measurements {
		if !m.wanted(cfg) {
			continue
		}
		cfg.log("%s", m.name)
		page.add(m.bounded(ctx, cfg))
	}
	if out == "" {
		page.write(os.Stdout)
		return nil
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	page.write(f)
	return f.Close()
}
