package probe

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"context"

	"github.com/pollbridge/pollbridge/internal/netcheck"
)

// reach finds out whether requests get to the bridge at all. It reports whether
// they do, and thus whether anything else can be asked.
func (r *runner) reach(ctx context.Context) bool {
	p := r.tries(ctx, 4, request{ask: netcheck.Ask{Seen: true}})
	facts := map[string]string{"status": strconv.Itoa(p.status), "problem": p.excerpt}
	if p.err != nil {
		facts["problem"] = problem(p.err)
	}
	if p.kind == fine && p.answer.Seen != nil {
		r.first, r.rtt = p, p.took
		outcome := "ok"
		if p.proto == "HTTP/1.0" {
			outcome = "http10"
		}
		r.say("reach", outcome, map[string]string{"http": p.proto, "rtt": inTime(p.took)})
		return true
	}
	r.say("reach", unreached(ctx, p, facts["problem"]), facts)
	return false
}

// unreached returns the outcome of a first request that got no answer of use.
func unreached(ctx context.Context, p *reply, problem string) string {
	ours := p.header.Get("Pollbridge") != ""
	switch {
	case p.kind == declined:
		return "busy"
	case ours && p.status == http.StatusForbidden:
		return "origin"
	case ours && p.status == http.StatusNotFound, ours && p.status == http.StatusMethodNotAllowed:
		return "off"
	case p.kind == foreign && (p.status == http.StatusProxyAuthRequired || p.status == http.StatusNetworkAuthenticationRequired):
		return "login"
	case p.kind == foreign && p.status >= 300 && p.status < 400, p.kind == page, p.kind == stale:
		return "page"
	case p.kind == foreign:
		return "refused"
	case p.kind == nowhere && strings.Contains(problem, "certificate"):
		return "untrusted"
	case p.kind == silent || ctx.Err() != nil:
		return "mute"
	}
	return "unreachable"
}

// tls compares both ends of TLS.
func (r *runner) tls() {
	seen, state := r.first.answer.Seen, r.first.tls
	facts := map[string]string{"via": "", "version": seen.TLS}
	if seen.Via != "" {
		facts["via"] = " (Via: " + seen.Via + ")"
	}
	switch {
	case state == nil:
		r.say("tls", "plain", facts)
	case seen.TLS == "":
		r.say("tls", "terminated", facts)
	case seen.Binding == "" || netcheck.Binding(state) == "":
		r.say("tls", "unknown", facts)
	case seen.Binding == netcheck.Binding(state):
		r.say("tls", "ok", facts)
	default:
		r.say("tls", "intercepted", facts)
	}
}

// headers compares the headers of the first request and its answer at both ends.
func (r *runner) headers() {
	var stripped []string
	for _, name := range []string{"Cache-Control", "Pollbridge", "X-Content-Type-Options"} {
		value := r.first.header.Get(name)
		if value == "" || name == "Cache-Control" && !strings.Contains(value, "no-store") {
			stripped = append(stripped, name)
		}
	}
	sent := map[string]bool{"accept-encoding": true, "content-length": true, "content-type": true, "user-agent": true}
	for name := range r.header {
		sent[strings.ToLower(name)] = true
	}
	seen := r.first.answer.Seen
	added := slices.DeleteFunc(slices.Clone(seen.Headers), func(name string) bool { return sent[name] })
	switch {
	case seen.ContentType != contentType:
		r.say("headers", "changed", map[string]string{"type": seen.ContentType})
	case len(stripped) > 0:
		r.say("headers", "stripped", map[string]string{"names": strings.Join(stripped, ", ")})
	case len(added) > 0:
		r.say("headers", "added", map[string]string{"names": strings.Join(added, ", ")})
	default:
		r.say("headers", "ok", nil)
	}
}

// encoding finds out whether a proxy compressed the first answer.
func (r *runner) encoding() {
	if encoding := r.first.header.Get("Content-Encoding"); encoding != "" {
		r.say("encoding", "compressed", map[string]string{"encoding": encoding})
		return
	}
	r.say("encoding", "ok", nil)
}
