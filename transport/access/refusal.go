package access

import (
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/internal/ratelog"
)

// refusalKind is why a request was refused.
type refusalKind int

const (
	badHost refusalKind = iota
	badOrigin
	noOrigin
	badHeader // a preflight asks for one that is not allowed
	refusalKinds
)

var refusalNames = [refusalKinds]string{badHost: "host", badOrigin: "origin", noOrigin: "no_origin", badHeader: "header"}

// refusal is why a request was refused, and what may be done about it.
type refusal struct {
	kind           refusalKind
	reason, remedy string
}

// String returns what the client is told.
func (f *refusal) String() string { return f.reason + "; " + f.remedy }

// refusals counts and logs what was refused, by kind.
type refusals [refusalKinds]struct {
	count atomic.Uint64
	line  *ratelog.Line
}

func (f *refusals) init(logger *slog.Logger) {
	for kind := range f {
		f[kind].line = ratelog.New(logger, slog.LevelWarn, "request refused")
	}
}

// Refused counts the requests that were refused: for their "host", their
// "origin", for having "no_origin", and preflights that ask for a "header"
// which is not allowed.
func (p *Policy) Refused() map[string]uint64 {
	counts := make(map[string]uint64, refusalKinds)
	for kind, name := range refusalNames {
		counts[name] = p.refusals[kind].count.Load()
	}
	return counts
}

// note counts and logs a refusal.
func (p *Policy) note(r *http.Request, f *refusal) {
	p.refusals[f.kind].count.Add(1)
	p.refusals[f.kind].line.Add("reason", f.reason, "remedy", f.remedy, "origin", truncated(r.Header.Get("Origin")),
		"host", truncated(r.Host), "path", truncated(r.URL.Path), "remote", p.ClientAddr(r))
}

// refuse answers with 403, which the page may read where it is no preflight.
func (p *Policy) refuse(w http.ResponseWriter, r *http.Request, f *refusal) {
	p.note(r, f)
	if origin := r.Header.Get("Origin"); origin != "" && r.Method != http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", Marker)
	}
	httpwrite.Text(w, http.StatusForbidden, f.String())
}

// truncated bounds what a stranger can write into the log.
func truncated(s string) string { return s[:min(len(s), 256)] }
