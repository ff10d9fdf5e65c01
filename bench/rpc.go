package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Scenarios of rows 1 to 9.
const (
	oneSession   = "unary, 1 session, 64 in flight"
	manySessions = "unary, 64 sessions, 1 in flight on each"
	oneAtATime   = "unary, 1 in flight"
	onePingPong  = "bidi ping-pong, 1 stream"
	manyPingPong = "bidi ping-pong, 64 streams in 1 session"
	smallStream  = "server stream, messages received"
	largeStream  = "server stream of 64 KiB, messages received"
	largeUnary   = "unary of 64 KiB, 8 in flight"
)

func scenarios() []scenario {
	grpcWays := []string{native, proxy, ws, longpoll}
	return []scenario{
		{oneSession, unary, 1, 64, 100, []string{native, proxy, proxy400, ws, longpoll, lightWS}},
		{manySessions, unary, 64, 1, 100, []string{native, proxy, proxy400, ws, longpoll, lightWS, lightLongpoll, gwpHTTP, connectFront, socketioWS, socketioPoll, bareWS, barePOST}},
		{oneAtATime, unary, 1, 1, 100, append(grpcWays, lightWS, lightLongpoll, gwpHTTP, connectFront, bareWS, barePOST)},
		{onePingPong, pingPong, 1, 1, 100, append(grpcWays, gwpWS)},
		{manyPingPong, pingPong, 1, 64, 100, grpcWays},
		{smallStream, stream, 1, 1, 100, append(grpcWays, lightWS, gwpWS)},
		{largeStream, stream, 1, 1, 64 << 10, append(grpcWays, lightWS)},
		{largeUnary, unary, 1, 8, 64 << 10, grpcWays},
	}
}

func measureRPCs(ctx context.Context, cfg config) (*found, error) {
	l, err := newLab(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if !cfg.ownOnly {
		l.addRivals(ctx, cfg, map[string]adder{"grpcwebproxy": l.addGRPCWebProxy, "connect-go": l.addConnect, "Socket.IO": l.addSocketIO})
	}
	ways := map[string]*way{}
	for _, w := range append(l.ours(), l.rivals()...) {
		ways[w.name] = w
	}
	r := measure(ctx, cfg, scenarios(), ways)
	f := &found{notes: append(l.missing, r.notes()...)}
	f.claims = rpcClaims(r)
	for _, s := range scenarios() {
		f.tables = append(f.tables, r.table(s, ways))
	}
	return f, nil
}

// notes says which samples are not there, and why.
func (r *results) notes() []string {
	var notes []string
	for k, err := range r.errs {
		notes = append(notes, fmt.Sprintf("%s, %s: %v", k.scenario, k.way, err))
	}
	return slices.Sorted(slices.Values(notes))
}

func rate(s sample) float64      { return s.rate }
func p50(s sample) float64       { return float64(s.p50) }
func p99(s sample) float64       { return float64(s.p99) }
func hopCPU(s sample) float64    { return float64(s.hop.cpu) }
func clientCPU(s sample) float64 { return float64(s.client.cpu) }
func mallocs(s sample) float64 {
	return s.hop.mallocs
}
func httpRequests(s sample) float64 { return s.hop.requests }

// median is that of one figure.
func (r *results) median(scenario, way string, of func(sample) float64) float64 {
	var values []float64
	for _, s := range r.samples[key{scenario, way}] {
		values = append(values, of(s))
	}
	return middle(values)
}

// ratio is the median of the ratios within a round.
func (r *results) ratio(scenario, way, base string, of func(sample) float64) float64 {
	own, others := r.samples[key{scenario, way}], r.samples[key{scenario, base}]
	var values []float64
	for i := range min(len(own), len(others)) {
		values = append(values, of(own[i])/of(others[i]))
	}
	return middle(values)
}

func rpcClaims(r *results) []claim {
	x := " ×"
	return []claim{
		atMost(1, "hop CPU ÷ proxy's", r.ratio(oneSession, ws, proxy, hopCPU), x, 0.60, 0.50),
		atLeast(1, "RPC/s ÷ proxy's", r.ratio(oneSession, ws, proxy, rate), x, 1.6, 1.8),
		seen(1, "hop CPU ÷ proxy's, light client", r.ratio(oneSession, lightWS, proxy, hopCPU), x),
		seen(1, "RPC/s ÷ proxy's, light client", r.ratio(oneSession, lightWS, proxy, rate), x),
		seen(1, "hop CPU ÷ proxy's with GOGC=400", r.ratio(oneSession, ws, proxy400, hopCPU), x),
		atMost(2, "hop CPU ÷ proxy's", r.ratio(manySessions, ws, proxy, hopCPU), x, 0.50, 0.42),
		atLeast(2, "RPC/s ÷ proxy's", r.ratio(manySessions, ws, proxy, rate), x, 2.0, 2.2),
		atLeast(2, "RPC/s ÷ direct", r.ratio(manySessions, ws, native, rate), x, none, 1.0),
		seen(2, "hop CPU ÷ proxy's, light client", r.ratio(manySessions, lightWS, proxy, hopCPU), x),
		seen(2, "RPC/s ÷ proxy's, light client", r.ratio(manySessions, lightWS, proxy, rate), x),
		seen(2, "hop CPU ÷ proxy's with GOGC=400", r.ratio(manySessions, ws, proxy400, hopCPU), x),
		atMost(3, "p50 ÷ proxy's", r.ratio(oneAtATime, ws, proxy, p50), x, 0.70, 0.60),
		seen(3, "p50 ÷ proxy's, light client", r.ratio(oneAtATime, lightWS, proxy, p50), x),
		atLeast(4, "1 stream: round trips/s ÷ proxy's", r.ratio(onePingPong, ws, proxy, rate), x, 1.2, 1.4),
		atLeast(4, "64 streams: round trips/s ÷ proxy's", r.ratio(manyPingPong, ws, proxy, rate), x, 1.0, 1.2),
		atLeast(5, "messages/s ÷ proxy's", r.ratio(smallStream, ws, proxy, rate), x, 1.6, 1.8),
		atLeast(5, "messages/s ÷ grpcwebproxy's WebSocket", r.ratio(smallStream, ws, gwpWS, rate), x, 8, 10),
		seen(5, "messages/s ÷ proxy's, light client", r.ratio(smallStream, lightWS, proxy, rate), x),
		atLeast(6, "server stream: messages/s ÷ proxy's", r.ratio(largeStream, ws, proxy, rate), x, 1.6, 2.0),
		seen(6, "server stream: messages/s ÷ proxy's, light client", r.ratio(largeStream, lightWS, proxy, rate), x),
		atMost(6, "unary: hop CPU ÷ proxy's", r.ratio(largeUnary, ws, proxy, hopCPU), x, 1.0, 0.9),
		atLeast(7, "longpoll RPC/s ÷ our ws", r.ratio(oneSession, longpoll, ws, rate), x, 0.85, 0.95),
		seen(7, "HTTP requests per RPC", r.median(oneSession, longpoll, httpRequests), ""),
		atLeast(8, "RPC/s ÷ Socket.IO polling's (both light clients)", r.ratio(manySessions, lightLongpoll, socketioPoll, rate), x, 1.2, 1.5),
		atLeast(8, "RPC/s ÷ grpcwebproxy's (both light clients)", r.ratio(manySessions, lightLongpoll, gwpHTTP, rate), x, 1.4, 1.6),
		atMost(9, "p50 ÷ our ws", r.ratio(oneAtATime, longpoll, ws, p50), x, 1.25, 1.12),
		seen(9, "p50 ÷ our ws, light clients", r.ratio(oneAtATime, lightLongpoll, lightWS, p50), x),
		atMost(9, "HTTP requests per RPC", r.median(oneAtATime, longpoll, httpRequests), "", 1.02, none),
		atMost(13, "allocations per unary RPC", r.median(oneSession, ws, mallocs), "", 100, 80),
		seen(13, "allocations per unary RPC, 64 sessions", r.median(manySessions, ws, mallocs), ""),
		seen(13, "allocations per unary RPC, proxy", r.median(oneSession, proxy, mallocs), ""),
		atMost(13, "allocations per streamed message", r.median(smallStream, ws, mallocs), "", 5, 4),
		seen(13, "allocations per streamed message, proxy", r.median(smallStream, proxy, mallocs), ""),
	}
}

// table has all that was measured of one scenario.
func (r *results) table(s scenario, ways map[string]*way) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | op/s | × direct | × proxy | p50 | p99 | hop CPU per op | × proxy | hop allocs | client CPU |\n", s.name)
	fmt.Fprintln(&b, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, name := range s.ways {
		if len(r.samples[key{s.name, name}]) == 0 {
			fmt.Fprintf(&b, "| %s | not measured | | | | | | | | |\n", name)
			continue
		}
		hop, ratio, allocs := "", "", ""
		if w := ways[name]; w.hop != nil {
			hop, ratio = micros(r.median(s.name, name, hopCPU)), figure(r.ratio(s.name, name, proxy, hopCPU))
			if w.hop.lines != nil {
				allocs = figure(r.median(s.name, name, mallocs))
			}
		}
		fmt.Fprintf(&b, "| %s | %.0f | %s | %s | %s | %s | %s | %s | %s | %s |\n", name, r.median(s.name, name, rate),
			figure(r.ratio(s.name, name, native, rate)), figure(r.ratio(s.name, name, proxy, rate)),
			micros(r.median(s.name, name, p50)), micros(r.median(s.name, name, p99)), hop, ratio, allocs,
			micros(r.median(s.name, name, clientCPU)))
	}
	return b.String()
}
