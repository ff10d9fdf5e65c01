package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// delay is the network's of row 18, each way.
const delay = 25 * time.Millisecond

// A firstCall is a page's first call: how, and of which method.
type firstCall struct{ way, kind, method string }

// firstCalls are the ways of row 18.
var firstCalls = []firstCall{
	{barePage, "post", ""},
	{"longpoll, idempotent", "longpoll", "read"},
	{"longpoll, other", "longpoll", "unary"},
	{"automatic, idempotent", "automatic", "read"},
	{"automatic, other", "automatic", "unary"},
}

// measureFirst fills row 18.
func measureFirst(ctx context.Context, cfg config) (*found, error) {
	b, err := newBrowserLab(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer b.close()
	box, err := cfg.middlebox(ctx)
	if err != nil {
		return nil, err
	}
	var far *process
	if err := b.foreign(ctx, &far, "middlebox", func(addr string) []string {
		return []string{box, "--listen", addr, "--upstream", "http://" + b.site.addr, "--delay", delay.String()}
	}); err != nil {
		return nil, err
	}
	var keys []key
	calls := map[string]firstCall{}
	for _, c := range firstCalls {
		keys, calls[c.way] = append(keys, key{firstAnswer, c.way}), c
	}
	r := alternate(ctx, cfg, keys, func(k key) (sample, error) { return b.first(far.addr, calls[k.way]) })
	return &found{claims: firstClaims(r), tables: []string{firstTable(r, keys)}, notes: r.notes()}, nil
}

// first takes one sample.
func (b *browserLab) first(addr string, call firstCall) (sample, error) {
	got, err := b.do(ask{What: "first", Page: "http://" + addr, Kind: call.kind, Method: call.method, Bytes: 100})
	return sample{p50: time.Duration(got.Millis * 1e6)}, err
}

func firstClaims(r *results) []claim {
	var claims []claim
	for _, transport := range []string{"longpoll", "automatic"} {
		claims = append(claims,
			atMost(18, transport+", idempotent: time ÷ bare fetch POST's", r.ratio(firstAnswer, transport+", idempotent", barePage, p50), " ×", 1.2, 1.05),
			atMost(18, transport+", other: time ÷ bare fetch POST's", r.ratio(firstAnswer, transport+", other", barePage, p50), " ×", 2.2, 2.05))
	}
	return append(claims, seen(18, "bare fetch POST", r.median(firstAnswer, barePage, p50)/1e6, " ms"))
}

// firstTable has all that was measured of row 18.
func firstTable(r *results, keys []key) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | time | × bare fetch POST |\n|---|--:|--:|\n", firstAnswer)
	for _, k := range keys {
		fmt.Fprintf(&b, "| %s | %s ms | %s |\n", k.way, figure(r.median(k.scenario, k.way, p50)/1e6), figure(r.ratio(k.scenario, k.way, barePage, p50)))
	}
	return b.String()
}
