package main

import (
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
)

// reloader reads the settings again while the bridge serves.
type reloader struct {
	flags       *config.Flags
	settings    *config.Settings // in force
	bridge      *bridge.Server
	certificate *certificate // nil: plain HTTP
	level       *slog.LevelVar
	logger      *slog.Logger
}

// reload reads the file and the certificate again, and puts all of them in force
// or nothing. No RPC notices. It returns the drain timeout in force.
func (r *reloader) reload() time.Duration {
	if changed, err := r.try(); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			r.logger.Error("not reloaded: all goes on as before", "err", line)
		}
	} else {
		r.logger.Info("reloaded", "changed", strings.Join(changed, ","))
	}
	return r.settings.Bridge.DrainTimeout
}

func (r *reloader) try() (changed []string, err error) {
	next, err := r.flags.Load(os.Environ())
	if err != nil {
		return nil, err
	}
	if changed, err = r.settings.Changes(next); err != nil {
		return nil, err
	}
	// Both have been checked by now. A certificate may be replaced meanwhile, so
	// it comes first.
	if r.certificate != nil {
		if err := r.certificate.read(next.TLSCert, next.TLSKey); err != nil {
			return nil, next.Error("tls-cert", err)
		}
	}
	if err := r.bridge.Reload(next.Bridge); err != nil {
		return nil, next.Explain(err)
	}
	r.level.Set(next.LogLevel)
	r.settings = next
	return changed, nil
}
