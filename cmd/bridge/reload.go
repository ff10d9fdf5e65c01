package main

import (
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
)

// reloader rereads the settings while the bridge serves.
type reloader struct {
	flags       *config.Flags
	settings    *config.Settings // in force
	bridge      *bridge.Server
	certificate *certificate // nil: plain HTTP
	level       *slog.LevelVar
	logger      *slog.Logger
}

// reload rereads the file and the certificate, and applies all of it or nothing.
// No RPC is affected. It returns the current drain timeout.
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
	// Both were checked. The certificate may have been replaced meanwhile, so it
	// comes first.
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
