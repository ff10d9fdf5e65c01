// Command bench measures what Pollbridge costs: unary and ping-pong RPCs to one
// gRPC server, natively, through a minimal transparent gRPC proxy, and through
// Pollbridge on each transport. Server, proxy and bridge are processes of their
// own, all started here; this one makes the load. Rounds alternate over the
// paths, and what is printed are medians and medians of the ratios of one
// round, since machines change speed by more than what is to be seen.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() {
	if isRole(os.Args) {
		serveRole(os.Args[2:])
		return
	}
	cfg := config{}
	flag.IntVar(&cfg.rounds, "rounds", 5, "alternated rounds")
	flag.DurationVar(&cfg.window, "window", 700*time.Millisecond, "time that a sample is measured")
	flag.DurationVar(&cfg.warmup, "warmup", 150*time.Millisecond, "load before each sample")
	flag.IntVar(&cfg.size, "size", 100, "bytes of a message")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// config says how long to measure.
type config struct {
	rounds         int
	window, warmup time.Duration
	size           int
}

func run(ctx context.Context, cfg config) error {
	lab, err := newLab(ctx)
	if err != nil {
		return err
	}
	defer lab.close()
	samples, err := measure(ctx, cfg, lab)
	if err != nil {
		return err
	}
	report(os.Stdout, cfg, lab, samples)
	return nil
}

// measure takes one sample of each scenario on each path in each round.
func measure(ctx context.Context, cfg config, lab *lab) (map[key][]sample, error) {
	samples := map[key][]sample{}
	for round := range cfg.rounds {
		for _, s := range scenarios {
			for _, p := range lab.paths {
				got, err := s.sample(ctx, cfg, p)
				if err != nil {
					return nil, fmt.Errorf("round %d, %s, %s: %w", round+1, s.name, p.name, err)
				}
				samples[key{s.name, p.name}] = append(samples[key{s.name, p.name}], got)
			}
		}
	}
	return samples, nil
}

type key struct{ scenario, path string }
