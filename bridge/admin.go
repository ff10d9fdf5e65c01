package bridge

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

// AdminHandler returns a handler of /healthz (200 while the process serves),
// /readyz (200 if a backend is usable; 503 while draining, or if none is, with the
// state and last error of each) and /metrics (Prometheus). It is for a listener
// that only operators can reach.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	return httpwrite.Handler(mux)
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if s.draining.Load() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	for _, p := range s.pools {
		if p.Ready() {
			fmt.Fprintln(w, "ready")
			return
		}
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, "no backend can be used")
	for _, p := range s.pools {
		fmt.Fprintf(w, "%s: %s\n", p.Name(), p.Status())
	}
}
