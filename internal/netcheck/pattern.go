package netcheck

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	steadyCount = 12
	lateBase    = time.Second // what is late by more than this and 5 round trips is late
	manyAtOnce  = 10
	fewAtOnce   = 5
	pairs       = 3
)

// steady makes one request after the other: what strikes each nth shows. It
// measures the round trip too.
func (r *runner) steady(ctx context.Context) {
	var replies []*reply
	for range steadyCount {
		replies = append(replies, r.send(ctx, request{}))
	}
	var took []time.Duration
	for _, p := range replies {
		if p.kind == fine {
			took = append(took, p.took)
		}
	}
	slices.Sort(took)
	bad := map[kind][]*reply{}
	for _, p := range replies {
		if p.kind != fine {
			bad[p.kind] = append(bad[p.kind], p)
		} else if p.took > lateBase+5*took[0] {
			bad[late] = append(bad[late], p)
		}
	}
	took = took[:max(0, len(took)-len(bad[late]))]
	if len(took) > 0 {
		r.rtt, r.jitter = took[len(took)/2], took[len(took)-1]-took[0]
	}
	r.saySteady(ctx, bad)
}

// late is the kind of an answer that took far longer than others.
const late kind = "late"

// saySteady tells of the most frequent trouble.
func (r *runner) saySteady(ctx context.Context, bad map[kind][]*reply) {
	var worst kind
	for _, k := range []kind{status, page, stale, mute, cut, eof, short, late} {
		if len(bad[k]) > len(bad[worst]) {
			worst = k
		}
	}
	count := strconv.Itoa(steadyCount)
	if worst == fine {
		r.say("steady", "ok", map[string]string{"count": count})
		return
	}
	last := bad[worst][len(bad[worst])-1]
	facts := map[string]string{
		"count": count, "bad": strconv.Itoa(len(bad[worst])), "status": strconv.Itoa(last.status),
		"problem": last.glimpse, "longest": inTime(last.took),
	}
	outcome := string(worst)
	switch worst {
	case status:
		outcome = "refused"
		if r.arrived(ctx, last.n) {
			outcome = "lost"
		}
	case eof, short:
		outcome = string(cut)
	default:
	}
	r.say("steady", outcome, facts)
}

// arrived tells whether a request got to the bridge.
func (r *runner) arrived(ctx context.Context, n int) bool {
	record, ok := r.record(ctx)
	return ok && slices.ContainsFunc(record.Arrivals, func(a Arrival) bool { return a.N == n })
}

// errors wants an error of the bridge's own.
func (r *runner) errors(ctx context.Context) {
	p := r.tries(ctx, 3, request{ask: Ask{Status: http.StatusNotFound}})
	if p.kind != fine {
		r.say("errors", "rewritten", map[string]string{"status": strconv.Itoa(p.status)})
		return
	}
	r.say("errors", "ok", nil)
}

// types sends each kind of body, and asks as a browser does before a page of
// another origin may.
func (r *runner) types(ctx context.Context) {
	binary := make([]byte, 1024)
	for i := range binary {
		binary[i] = byte(i)
	}
	if p := r.tries(ctx, 3, request{payload: binary}); p.kind != fine || p.answer.Sum != checksum(binary) {
		r.say("types", "binary", nil)
		return
	}
	text := []byte(strings.Repeat("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", 16))
	if p := r.tries(ctx, 3, request{payload: text, kind: "text/plain"}); p.kind != fine || p.answer.Sum != checksum(text) {
		r.say("types", "text", nil)
		return
	}
	code, said := 0, ""
	for range 3 {
		if code, said = r.preflight(ctx); code == http.StatusNoContent {
			r.say("types", "ok", nil)
			return
		}
	}
	facts := map[string]string{"status": strconv.Itoa(code), "problem": said}
	if said != "" {
		r.say("types", "origin", facts)
		return
	}
	r.say("types", "preflight", facts)
}

// preflight returns the status that came, and what the bridge itself said to
// refuse it.
func (r *runner) preflight(ctx context.Context) (status int, said string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodOptions, r.cfg.URL+"/v1/check/echo", nil)
	if err != nil {
		return 0, ""
	}
	to, err := url.Parse(r.cfg.URL)
	if err != nil {
		return 0, ""
	}
	req.Header = r.cfg.Header.Clone()
	req.Header.Set("Origin", to.Scheme+"://"+to.Host)
	req.Header.Set("Access-Control-Request-Method", http.MethodPost)
	req.Header.Set("Access-Control-Request-Headers", "content-type")
	resp, err := r.cfg.Requests.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	if resp.StatusCode == http.StatusForbidden && resp.Header.Get("Pollbridge") != "" {
		said = strings.TrimSpace(string(body))
	}
	return resp.StatusCode, said
}

// cache asks twice for what is never the same.
func (r *runner) cache(ctx context.Context) {
	first, second := r.nonce(ctx), r.nonce(ctx)
	if first != "" && first == second {
		r.say("cache", "cached", nil)
		return
	}
	r.say("cache", "ok", nil)
}

func (r *runner) nonce(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 3*askLimit)
	defer cancel()
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.cfg.URL+"/v1/check/nonce", nil)
		if err != nil {
			return ""
		}
		req.Header = r.cfg.Header.Clone()
		resp, err := r.cfg.Requests.Do(req)
		if err != nil {
			continue
		}
		body, err := readBody(resp, 0)
		resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK && len(body) > 0 && body[0] != '<' {
			return string(body)
		}
	}
	return ""
}

// parallel counts how many requests the bridge has at once.
func (r *runner) parallel(ctx context.Context) {
	hold := 1500*time.Millisecond + 2*r.rtt
	var all sync.WaitGroup
	for range manyAtOnce {
		all.Go(func() {
			r.send(ctx, request{ask: Ask{HoldMillis: int(hold.Milliseconds())}, limit: askLimit + manyAtOnce*hold})
		})
	}
	all.Wait()
	record, ok := r.record(ctx)
	if !ok {
		return
	}
	facts := map[string]string{"peak": strconv.Itoa(record.Peak)}
	switch {
	case record.Peak <= 1:
		r.say("parallel", "one", facts)
	case record.Peak < fewAtOnce:
		r.say("parallel", "few", facts)
	default:
		r.say("parallel", "ok", facts)
	}
}

// order sends pairs of requests, the second well after the first. One request
// between the pairs lets what strikes every second one meet both of a pair.
func (r *runner) order(ctx context.Context) {
	apart := max(500*time.Millisecond, 2*r.rtt)
	var firsts []*reply
	var seconds []*reply
	for range pairs {
		var one *reply
		var both sync.WaitGroup
		both.Go(func() { one = r.send(ctx, request{ask: Ask{HoldMillis: int(2 * apart.Milliseconds())}}) })
		pause(ctx, apart)
		two := r.send(ctx, request{})
		both.Wait()
		r.send(ctx, request{})
		firsts, seconds = append(firsts, one), append(seconds, two)
	}
	record, _ := r.record(ctx)
	for i := range firsts {
		if record != nil && record.overtaken(firsts[i].n, seconds[i].n, apart) {
			r.say("order", "reordered", nil)
			return
		}
	}
	r.say("order", "ok", nil)
}

// overtaken tells that two came before one, and one right after it: one that
// came long after was not held back for two, but late.
func (r *Record) overtaken(one, two int, apart time.Duration) bool {
	at := map[int]int{}
	for _, a := range r.Arrivals {
		at[a.N] = a.Millis
	}
	first, ok1 := at[one]
	second, ok2 := at[two]
	before := slices.IndexFunc(r.Arrivals, func(a Arrival) bool { return a.N == two }) <
		slices.IndexFunc(r.Arrivals, func(a Arrival) bool { return a.N == one })
	return ok1 && ok2 && before && first-second < int(apart.Milliseconds())
}

// abort gives a request up and asks whether the bridge was told.
func (r *runner) abort(ctx context.Context) {
	apart := 300*time.Millisecond + 2*r.rtt
	came := false
	for range 3 {
		given, cancel := context.WithTimeout(ctx, apart)
		p := r.send(given, request{ask: Ask{HoldMillis: int((askLimit + 10*apart).Milliseconds())}})
		cancel()
		pause(ctx, 2*apart)
		record, _ := r.record(ctx)
		if record == nil {
			continue
		}
		if slices.Contains(record.Gone, p.n) {
			r.say("abort", "ok", nil)
			return
		}
		came = came || slices.ContainsFunc(record.Arrivals, func(a Arrival) bool { return a.N == p.n })
	}
	if came {
		r.say("abort", "untold", nil)
		return
	}
	r.say("abort", "unknown", nil)
}

// copies asks at the end what came more than once.
func (r *runner) copies(ctx context.Context) {
	record, ok := r.record(ctx)
	if !ok {
		r.say("copies", "unknown", nil)
		return
	}
	facts := map[string]string{
		"copies": strconv.Itoa(record.Copies),
		"late":   inTime(time.Duration(record.LatestMillis) * time.Millisecond),
	}
	switch {
	case record.Copies == 0:
		r.say("copies", "ok", nil)
	case record.LatestMillis >= lateCopy:
		r.say("copies", "late", facts)
	default:
		r.say("copies", "twice", facts)
	}
}

// lateCopy is from how many milliseconds on a copy is late.
const lateCopy = 500

// pause waits, but not beyond ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
