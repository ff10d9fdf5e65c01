// Package probe is the client's side of the network check in Go, behind "bridge
// check". It finds out what carries sessions from here to a bridge and what cuts
// them. What only matters to a page, or is found out as well from one (pieces of
// an answer, caches, order, copies), is left to the browser's diagnose.
package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/httpclient"
	"github.com/pollbridge/pollbridge/internal/netcheck"
)

// defaultHolds are the waits that a check tries, side by side.
var defaultHolds = []time.Duration{10 * time.Second, 25 * time.Second, 40 * time.Second, 55 * time.Second}

// checks are the rows of a report, in its order.
var checks = []string{
	"reach", "tls", "headers", "encoding", "websocket", "types", "upload", "download", "parallel", "hold", "idle", "longpoll", "ws",
}

// Config configures Run.
type Config struct {
	// Client says how to reach the bridge. Of its fields TLS, Proxy, Dial, Header
	// and Token count.
	Client client.Config
	// Holds are the waits to try, ascending, each 100 ms to 60 s. A check takes
	// about ten seconds more than the longest. Default: 10, 25, 40 and 55 s.
	Holds []time.Duration
	// OnRow, if not nil, is called with each row as soon as it is known.
	OnRow func(netcheck.Row)
}

// runner is one check under way.
type runner struct {
	cfg        Config
	base       string // URL of the bridge, its prefix included
	requests   *http.Client
	handshakes *http.Client
	header     http.Header // of every request
	id         string
	table      *netcheck.Table
	count      atomic.Int64

	rows  []netcheck.Row
	first *reply        // the first that came from the bridge; nil: none
	rtt   time.Duration // of first
}

// Run checks the network between here and the bridge at url, which is as in
// client.New. The bridge must have its network check switched on; where it has
// not, only sessions are opened. The error is about url or cfg: trouble on the
// way is in the report. When ctx ends, the remaining checks are skipped.
func Run(ctx context.Context, url string, cfg Config) (*netcheck.Report, error) {
	to, err := httpclient.ParseURL(url)
	if err != nil {
		return nil, err
	}
	table, err := netcheck.ReadTable()
	if err != nil {
		return nil, err
	}
	if len(cfg.Holds) == 0 {
		cfg.Holds = defaultHolds
	}
	for i, hold := range cfg.Holds {
		if hold < 100*time.Millisecond || hold > netcheck.MaxHold*time.Millisecond {
			return nil, fmt.Errorf("hold of %v: want 100ms to 60s", hold)
		}
		if i > 0 && hold <= cfg.Holds[i-1] {
			return nil, fmt.Errorf("hold of %v after one of %v: want them ascending", hold, cfg.Holds[i-1])
		}
	}
	reach := httpclient.Config{TLS: cfg.Client.TLS, Proxy: cfg.Client.Proxy, Dial: cfg.Client.Dial}.WithDefaults()
	cfg.Client.Proxy, cfg.Client.Dial = reach.Proxy, reach.Dial
	r := &runner{
		cfg: cfg, base: to.Base, id: rand.Text()[:22], table: table, header: cfg.Client.Header.Clone(),
		requests: httpclient.Requests(reach), handshakes: httpclient.Handshakes(to.Base, reach),
	}
	if r.header == nil {
		r.header = http.Header{}
	}
	defer r.requests.CloseIdleConnections()
	start := time.Now()
	r.all(ctx)
	return r.report(ctx, time.Since(start)), nil
}

// all runs the checks in order.
func (r *runner) all(ctx context.Context) {
	if r.reach(ctx) {
		r.tls()
		r.headers()
		r.encoding()
		r.websocket(ctx)
		r.types(ctx)
		r.upload(ctx)
		r.download(ctx)
		r.parallel(ctx)
		r.wait(ctx)
	}
	r.sessions(ctx)
}

func (r *runner) number() int { return int(r.count.Add(1)) }

// say notes the outcome of a check.
func (r *runner) say(check, outcome string, facts map[string]string) {
	row := r.table.Row(check, outcome, facts)
	r.rows = append(r.rows, row)
	if r.cfg.OnRow != nil {
		r.cfg.OnRow(row)
	}
}

// outcome returns the outcome of a check, "" if it did not run.
func (r *runner) outcome(check string) string {
	i := slices.IndexFunc(r.rows, func(row netcheck.Row) bool { return row.Check == check })
	if i < 0 {
		return ""
	}
	return r.rows[i].Outcome
}

func (r *runner) report(ctx context.Context, took time.Duration) *netcheck.Report {
	rows := make([]netcheck.Row, len(checks))
	for i, check := range checks {
		rows[i] = r.table.Row(check, "", nil)
		if at := slices.IndexFunc(r.rows, func(row netcheck.Row) bool { return row.Check == check }); at >= 0 {
			rows[i] = r.rows[at]
		}
	}
	out := r.table.Report(rows)
	out.URL, out.Proxy, out.Seconds = r.base, r.proxy(ctx), float64(took.Milliseconds())/1000
	if r.first != nil {
		out.Bridge = r.first.answer.Seen.Release
	}
	return out
}

// proxy returns the forward proxy on the way to the bridge, without its
// password; "" if there is none.
func (r *runner) proxy(ctx context.Context) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.base, nil)
	if err != nil {
		return ""
	}
	proxy, err := r.cfg.Client.Proxy(req)
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Redacted()
}

// sessions tries the product itself, on each transport.
func (r *runner) sessions(ctx context.Context) {
	if slices.Contains([]string{"mute", "unreachable", "untrusted", "login"}, r.outcome("reach")) {
		return
	}
	for _, transport := range []string{"longpoll", "ws"} {
		opens := slices.Contains([]string{"ok", "breaks", "changed", ""}, r.outcome("websocket"))
		if transport == "ws" && !opens {
			r.say(transport, "none", nil)
			continue
		}
		good, try := "opens", r.open
		if r.first != nil {
			good, try = "ok", r.rpcs
		}
		took, err := try(ctx, transport)
		switch {
		case err == nil:
			r.say(transport, good, map[string]string{"took": inTime(took)})
		case errors.Is(err, ErrUnauthenticated):
			r.say(transport, "unauthenticated", map[string]string{"problem": problem(err)})
		default:
			r.say(transport, "fails", map[string]string{"problem": problem(err)})
		}
	}
}
