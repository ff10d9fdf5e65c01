package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// proxyPath is the path that others are compared with.
const proxyPath = "grpc-go proxy"

const nativePath = "native"

// report prints a table in Markdown.
func report(w io.Writer, cfg config, lab *lab, samples map[key][]sample) {
	fmt.Fprintf(w, "%s, %d CPUs, %s/%s. Messages of %d bytes, one session or connection; medians of %d rounds of %v.\n",
		runtime.Version(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, cfg.size, cfg.rounds, cfg.window)
	fmt.Fprintln(w, "The hop is the proxy or the bridge. Compare ratios, not figures of two runs.")
	for _, s := range scenarios {
		fmt.Fprintf(w, "\n| %s | calls/s | x native | x proxy | p50 | p99 | hop CPU | x proxy | hop mallocs | client CPU |\n", s.name)
		fmt.Fprintln(w, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
		for _, p := range lab.paths {
			row(w, p, samples, s.name)
		}
	}
}

func row(w io.Writer, p path, samples map[key][]sample, scenario string) {
	own := samples[key{scenario, p.name}]
	native := samples[key{scenario, nativePath}]
	proxy := samples[key{scenario, proxyPath}]
	rate := func(s sample) float64 { return s.rate }
	hopCPU := func(s sample) float64 { return float64(s.hop.cpu) }

	hop, hopRatio, mallocs := "", "", ""
	if p.hop != nil {
		hop = micros(median(own, hopCPU))
		hopRatio = fmt.Sprintf("%.2f", medianRatio(own, proxy, hopCPU))
		mallocs = fmt.Sprintf("%.0f", median(own, func(s sample) float64 { return s.hop.mallocs }))
	}
	fmt.Fprintf(w, "| %s | %.0f | %.2f | %.2f | %s | %s | %s | %s | %s | %s |\n", p.name,
		median(own, rate), medianRatio(own, native, rate), medianRatio(own, proxy, rate),
		micros(median(own, func(s sample) float64 { return float64(s.p50) })),
		micros(median(own, func(s sample) float64 { return float64(s.p99) })),
		hop, hopRatio, mallocs,
		micros(median(own, func(s sample) float64 { return float64(s.client.cpu) })))
}

func micros(ns float64) string { return fmt.Sprintf("%.1f µs", ns/float64(time.Microsecond)) }

func median(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return middle(values)
}

// medianRatio is the median of the ratios within a round.
func medianRatio(samples, base []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i := range samples {
		values[i] = of(samples[i]) / of(base[i])
	}
	return middle(values)
}

func middle(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
