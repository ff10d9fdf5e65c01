// Package enginetest tests the session engine whole: the rules of
// docs/PROTOCOL.md one by one, the random scripts of internal/model, and both
// sides on simulated networks.
package enginetest

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/pollbridge/pollbridge/internal/registry"
)

// NewRegistry returns a Registry with values for what cfg leaves out.
func NewRegistry(cfg registry.Config) *registry.Registry {
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	cfg.Release = cmp.Or(cfg.Release, "pollbridge/test")
	cfg.Hold = cmp.Or(cfg.Hold, 18*time.Second)
	cfg.ResumeWindow = cmp.Or(cfg.ResumeWindow, 120*time.Second)
	cfg.PauseMax = cmp.Or(cfg.PauseMax, 30*time.Minute)
	cfg.MaxMessage = cmp.Or(cfg.MaxMessage, 16<<20)
	cfg.MaxMetadata = cmp.Or(cfg.MaxMetadata, 64<<10)
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 2<<20)
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, 4096)
	cfg.MaxSessions = cmp.Or(cfg.MaxSessions, 100_000)
	cfg.MaxPerPrincipal = cmp.Or(cfg.MaxPerPrincipal, 10_000)
	cfg.MaxBufferedBytes = cmp.Or(cfg.MaxBufferedBytes, 1<<30)
	return registry.New(cfg)
}
