package bridge

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

// AdminHandler serves /healthz (200 while the process serves), /readyz (200
// when a backend can be used; 503 when none can, with the state of each and its
// last error, or when the bridge drains) and /metrics for Prometheus. It is meant for a listener that only operators
// reach.
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", s.serveReady)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
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
