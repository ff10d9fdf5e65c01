package netcheck

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// defaultHolds are the waits that a check tries, side by side.
var defaultHolds = []time.Duration{10 * time.Second, 25 * time.Second, 40 * time.Second, 55 * time.Second}

// ErrUnauthenticated is wrapped by what Config.Session returns when the bridge
// wants a credential.
var ErrUnauthenticated = errors.New("the bridge wants a credential")

// Config says how a check reaches its bridge. URL, Requests, Sockets and
// Session are required.
type Config struct {
	URL      string       // of the bridge, its prefix included
	Requests *http.Client // for plain requests
	Sockets  *http.Client // for WebSocket handshakes
	Header   http.Header  // of every request
	// Holds are the waits to try, ascending, each 100 ms to 60 s. Default: 10,
	// 25, 40 and 55 s.
	Holds []time.Duration
	// Session opens a session over one transport. With rpcs it also has each
	// method of Service called and the connections cut meanwhile.
	Session func(ctx context.Context, transport string, rpcs bool) (took time.Duration, err error)
	// OnRow, if not nil, is called with each row as soon as there is one.
	OnRow func(Row)
}

// runner is one check under way.
type runner struct {
	cfg   Config
	id    string
	table *table
	count atomic.Int64

	rows []Row
	// What earlier checks found, for later ones.
	seen   *Seen
	rtt    time.Duration
	jitter time.Duration
	first  *reply // that reached the bridge
	ws     string // round trip and rate of the WebSocket, for people
	up     string
	down   string
	slow   bool
}

// Run runs every check that makes sense after those before it. It takes about
// ten seconds and the longest hold. If ctx ends, the rest is skipped.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	t, err := readTable()
	if err != nil {
		return nil, err
	}
	if len(cfg.Holds) == 0 {
		cfg.Holds = defaultHolds
	}
	for _, hold := range cfg.Holds {
		if hold < 100*time.Millisecond || hold > MaxHold*time.Millisecond {
			return nil, errors.New("netcheck: a hold is not in 100 ms to 60 s")
		}
	}
	cfg.Header = cfg.Header.Clone()
	if cfg.Header == nil {
		cfg.Header = http.Header{}
	}
	start := time.Now()
	r := &runner{cfg: cfg, id: rand.Text()[:22], table: t}
	r.all(ctx)
	return r.report(time.Since(start)), nil
}

func (r *runner) number() int { return int(r.count.Add(1)) }

// all runs the checks in order.
func (r *runner) all(ctx context.Context) {
	if r.reach(ctx) {
		r.looks()
		r.websocket(ctx)
		r.streaming(ctx)
		r.steady(ctx)
		r.errors(ctx)
		r.types(ctx)
		r.cache(ctx)
		r.upload(ctx)
		r.download(ctx)
		r.parallel(ctx)
		r.order(ctx)
		r.abort(ctx)
		r.wait(ctx)
		r.copies(ctx)
		r.speed()
	}
	r.sessions(ctx)
}

// say notes what a check came to.
func (r *runner) say(check, outcome string, facts map[string]string) {
	row := r.table.row(check, outcome, facts)
	r.rows = append(r.rows, row)
	if r.cfg.OnRow != nil {
		r.cfg.OnRow(row)
	}
}

// outcome is what a check came to; empty: it did not run.
func (r *runner) outcome(check string) string {
	for _, row := range r.rows {
		if row.Check == check {
			return row.Outcome
		}
	}
	return ""
}

func (r *runner) report(took time.Duration) *Report {
	out := &Report{URL: r.cfg.URL, Seconds: float64(took.Milliseconds()) / 1000}
	if r.seen != nil {
		out.Bridge = r.seen.Release
	}
	for _, c := range r.table.Checks {
		i := slices.IndexFunc(r.rows, func(row Row) bool { return row.Check == c.ID })
		if i < 0 {
			out.Rows = append(out.Rows, r.table.row(c.ID, "", nil))
			continue
		}
		out.Rows = append(out.Rows, r.rows[i])
	}
	profiles, v := r.table.judge(out.Rows)
	longpoll := r.outcome("longpoll")
	out.Works = longpoll == "ok" || longpoll == "opens"
	out.Profiles, out.Verdict, out.Level = profiles, v.Says, v.Level
	return out
}

// reach finds out whether requests get to the bridge at all. It reports false
// when nothing else can be asked.
func (r *runner) reach(ctx context.Context) bool {
	p := r.tries(ctx, 4, request{ask: Ask{Seen: true}})
	facts := map[string]string{"status": strconv.Itoa(p.status), "problem": p.glimpse}
	if p.err != nil {
		facts["problem"] = problem(p.err)
	}
	ours := p.header.Get("Pollbridge") != ""
	switch {
	case p.kind == fine && p.answer.Seen != nil:
		r.seen, r.rtt, r.first = p.answer.Seen, p.took, p
		facts = map[string]string{"http": p.proto, "rtt": inTime(p.took)}
		outcome := "ok"
		if p.proto == "HTTP/1.0" {
			outcome = "http10"
		}
		r.say("reach", outcome, facts)
		return true
	case p.kind == told:
		r.say("reach", "busy", facts)
	case ours && p.status == http.StatusForbidden:
		r.say("reach", "origin", facts)
	case ours && p.status == http.StatusNotFound, ours && p.status == http.StatusMethodNotAllowed:
		r.say("reach", "off", facts)
	case p.kind == status && (p.status == http.StatusProxyAuthRequired || p.status == http.StatusNetworkAuthenticationRequired):
		r.say("reach", "login", facts)
	case p.kind == status && p.status >= 300 && p.status < 400, p.kind == page, p.kind == stale:
		r.say("reach", "page", facts)
	case p.kind == status:
		r.say("reach", "refused", facts)
	case p.kind == nowhere && strings.Contains(facts["problem"], "certificate"):
		r.say("reach", "untrusted", facts)
	case p.kind == mute || ctx.Err() != nil:
		r.say("reach", "mute", facts)
	default:
		r.say("reach", "unreachable", facts)
	}
	return false
}

// looks says what the first request and its answer looked like when they came.
func (r *runner) looks() {
	r.tls()
	got := r.first.header
	var stripped []string
	for name, sign := range map[string]string{"Pollbridge": "", "Cache-Control": "no-store", "X-Content-Type-Options": ""} {
		if value := got.Get(name); value == "" || !strings.Contains(value, sign) {
			stripped = append(stripped, name)
		}
	}
	slices.Sort(stripped)
	sent := map[string]bool{"accept-encoding": true, "content-length": true, "content-type": true, "user-agent": true}
	for name := range r.cfg.Header {
		sent[strings.ToLower(name)] = true
	}
	var added []string
	for _, name := range r.seen.Headers {
		if !sent[name] {
			added = append(added, name)
		}
	}
	switch {
	case r.seen.ContentType != contentType:
		r.say("headers", "changed", map[string]string{"type": r.seen.ContentType})
	case len(stripped) > 0:
		r.say("headers", "stripped", map[string]string{"names": list(stripped)})
	case len(added) > 0:
		r.say("headers", "added", map[string]string{"names": list(added)})
	default:
		r.say("headers", "ok", nil)
	}
	if encoding := got.Get("Content-Encoding"); encoding != "" {
		r.say("encoding", "compressed", map[string]string{"encoding": encoding})
		return
	}
	r.say("encoding", "ok", nil)
}

// sessions has the product itself tried, on each transport.
func (r *runner) sessions(ctx context.Context) {
	if r.hopeless() {
		return
	}
	rpcs := r.seen != nil
	for _, transport := range []string{"longpoll", "ws"} {
		works := slices.Contains([]string{"ok", "breaks", "changed", ""}, r.outcome("websocket"))
		if transport == "ws" && !works {
			r.say(transport, "none", nil)
			continue
		}
		took, err := r.cfg.Session(ctx, transport, rpcs)
		facts := map[string]string{"took": inTime(took)}
		switch {
		case err == nil && rpcs:
			r.say(transport, "ok", facts)
		case err == nil:
			r.say(transport, "opens", facts)
		case errors.Is(err, ErrUnauthenticated):
			r.say(transport, "unauthenticated", map[string]string{"problem": problem(err)})
		default:
			r.say(transport, "fails", map[string]string{"problem": problem(err)})
		}
	}
}

// hopeless tells that there is no use in trying a session.
func (r *runner) hopeless() bool {
	return slices.Contains([]string{"mute", "unreachable", "untrusted", "login"}, r.outcome("reach"))
}

// speed sums up.
func (r *runner) speed() {
	facts := map[string]string{"rtt": inTime(r.rtt), "jitter": inTime(r.jitter), "down": r.down, "up": r.up, "ws": r.ws}
	outcome := "ok"
	switch {
	case r.slow:
		outcome = "narrow"
	case r.rtt >= farRTT:
		outcome = "far"
	}
	r.say("speed", outcome, maps.Clone(facts))
}

// farRTT is a round trip at which people notice.
const farRTT = 250 * time.Millisecond
