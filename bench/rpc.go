package main

import (
	"context"
	"slices"
)

// scenarios of RPCs, of 100 bytes unless they say otherwise.
func scenarios() []scenario {
	grpcWays := []string{native, proxy, rpcGRPC, ws, longpoll}
	return []scenario{
		{"unary, 1 session, 64 in flight", unary, 1, 64, 100, grpcWays},
		{"unary, 64 sessions, 1 in flight on each", unary, 64, 1, 100, append(grpcWays, gwpHTTP, connectFront, rpcWeb, rpcConnect)},
		{"unary, 1 in flight", unary, 1, 1, 100, append(grpcWays, gwpHTTP, connectFront, rpcWeb, rpcConnect)},
		{"bidi ping-pong, 1 stream", pingPong, 1, 1, 100, append(grpcWays, gwpWS)},
		{"bidi ping-pong, 64 streams in 1 session", pingPong, 1, 64, 100, grpcWays},
		{"server stream, messages received", stream, 1, 1, 100, append(grpcWays, gwpHTTP, gwpWS, connectFront, rpcWeb, rpcConnect)},
		{"server stream of 64 KiB, messages received", stream, 1, 1, 64 << 10, append(grpcWays, gwpHTTP, connectFront, rpcWeb, rpcConnect)},
		{"unary of 64 KiB, 8 in flight", unary, 1, 8, 64 << 10, grpcWays},
	}
}

// measureRPCs measures rates, times and costs of RPCs.
func measureRPCs(ctx context.Context, cfg config) (*section, error) {
	s := &section{title: "RPCs"}
	l, err := newLab(ctx, cfg)
	defer l.close()
	if err != nil {
		return s, err
	}
	ways, err := l.ways(ctx, s)
	if err != nil {
		return s, err
	}
	byName := map[string]scenario{}
	var keys []key
	for _, sc := range scenarios() {
		byName[sc.name] = sc
		for _, name := range sc.ways {
			if ways[name] != nil {
				keys = append(keys, key{sc.name, name})
			}
		}
	}
	r := alternate(ctx, cfg, s, keys, func(k key) (sample, error) {
		return byName[k.scenario].take(ctx, cfg, ways[k.way])
	})
	for _, sc := range scenarios() {
		s.rpcTable(sc.name, slices.DeleteFunc(slices.Clone(sc.ways), func(name string) bool { return len(r[key{sc.name, name}]) == 0 }), r)
	}
	return s, nil
}

// rpcTable has all that was measured of one scenario.
func (s *section) rpcTable(scenario string, ways []string, r results) {
	if len(ways) == 0 {
		return
	}
	s.table(scenario, "op/s", "× proxy", "p50", "p99", "hop's CPU per op", "× proxy", "allocations", "load's CPU")
	for _, name := range ways {
		k := key{scenario, name}
		cells := []string{
			figure(r.median(k, rate)), figure(r.ratio(k, proxy, rate)),
			micros(r.median(k, p50)), micros(r.median(k, p99)),
			"", "", "", micros(r.median(k, loadCPU)),
		}
		if name != native {
			cells[4], cells[5] = micros(r.median(k, hopCPU)), figure(r.ratio(k, proxy, hopCPU))
		}
		if n := r.median(k, mallocs); n > 0 {
			cells[6] = figure(n)
		}
		s.row(name, cells...)
		if name == ws || name == longpoll {
			s.bench(scenario+"/"+name, r.median(k, hopCPU), "hop-ns/op", r.median(k, rate), "op/s", r.median(k, p50), "p50-ns")
		}
	}
}
