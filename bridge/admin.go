package bridge

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pollbridge/pollbridge/internal/admin"
	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

// adminPaths is what "/" of the admin handler lists.
const adminPaths = `Pollbridge's admin listener

/                 a page, for browsers
/healthz          200 while the process serves
/readyz           200 if a backend can be used, with the state of each
/metrics          Prometheus
/api/v1/overview  what the bridge is doing, in JSON; as server-sent events with Accept: text/event-stream
/api/v1/sessions  the sessions: ?filter= transport= sort= offset= limit=
/api/v1/sessions/ID
`

const profilePaths = "/debug/pprof/     profiles of the process\n"

// AdminHandler returns a handler for a listener that only operators can reach:
//
//   - /healthz: 200 while the process serves;
//   - /readyz: 200 if a backend is usable, 503 while draining or if none is, with the
//     state and last error of each; with ?draining=404 it is 404 while draining, which
//     HAProxy takes for "no new sessions";
//   - /metrics: Prometheus;
//   - /api/v1: what the bridge is doing, in JSON, and, with Config.AdminToken, what
//     an operator can do about it: DELETE /api/v1/sessions/ID, POST /api/v1/drain;
//   - /debug/pprof, with Config.AdminProfiles;
//   - /: a page of all this for browsers, and a list of these for others.
//
// With Config.AdminToken all but the first three need it.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	api := admin.New(admin.Config{
		Source: inspector{s}, Token: s.cfg.AdminToken, Drain: s.cfg.OnDrain, Done: s.over, Logger: s.cfg.Logger,
	})
	mux.Handle("/api/", api)
	paths := adminPaths
	if s.cfg.AdminProfiles {
		paths += profilePaths
		mux.Handle("GET /debug/pprof/", api.Guard(profiles()))
	}
	mux.Handle("/", admin.Page(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		httpwrite.Text(w, http.StatusOK, strings.TrimSuffix(paths, "\n"))
	})))
	return httpwrite.Handler(mux)
}

// profiles returns net/http/pprof's handlers.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if s.draining.Load() {
		status := http.StatusServiceUnavailable
		if r.FormValue("draining") == "404" {
			status = http.StatusNotFound
		}
		http.Error(w, "draining", status)
		return
	}
	if s.ready() {
		fmt.Fprintln(w, "ready")
		s.writeClusterState(w)
	} else {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "no backend can be used")
	}
	for _, p := range s.pools {
		fmt.Fprintf(w, "%s: %s\n", p.Name(), p.Status())
	}
}

// ready reports whether RPCs can reach a backend.
func (s *Server) ready() bool {
	for _, p := range s.pools {
		if p.Ready() {
			return !s.draining.Load()
		}
	}
	return false
}
