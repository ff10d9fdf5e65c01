package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/accesslog"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
	"github.com/pollbridge/pollbridge/internal/auth/forwardauth"
	"github.com/pollbridge/pollbridge/internal/auth/jwtauth"
	"github.com/pollbridge/pollbridge/internal/telemetry"
)

// telemetryTimeout is how long sending the last traces and metrics may take.
const telemetryTimeout = 3 * time.Second

// parts are the parts of a bridge outside its Config: the authenticator, the access
// log and the telemetry.
type parts struct {
	cfg   bridge.Config
	close func()
}

// newParts returns the parts according to the settings. out and errOut are the
// program's.
func newParts(settings *config.Settings, logger *slog.Logger, out, errOut io.Writer) (*parts, error) {
	p := &parts{cfg: settings.Bridge, close: func() {}}
	p.cfg.Logger, p.cfg.Registry = logger, prometheus.NewRegistry()
	for _, add := range []func() error{
		func() error { return p.authenticate(settings, logger) },
		func() error { return p.logAccess(settings, out, errOut) },
		func() error { return p.sendTelemetry(logger) },
		func() error { return p.joinCluster(settings, logger) },
	} {
		if err := add(); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// closing adds a function that close calls, before those added earlier.
func (p *parts) closing(f func()) {
	rest := p.close
	p.close = func() { f(); rest() }
}

func (p *parts) authenticate(settings *config.Settings, logger *slog.Logger) error {
	switch {
	case settings.JWT.JWKS != "":
		cfg := settings.JWT
		cfg.Logger = logger
		tokens, err := jwtauth.New(cfg)
		if err != nil {
			return settings.Error("jwt-jwks", err)
		}
		p.cfg.Registry.MustRegister(tokens)
		p.cfg.Authenticate = tokens.Authenticate
		p.closing(tokens.Close)
	case settings.ForwardAuth.URL != "":
		cfg := settings.ForwardAuth
		cfg.Logger = logger
		asking, err := forwardauth.New(cfg)
		if err != nil {
			return settings.Error("forward-auth", err)
		}
		p.cfg.Authenticate = asking.Authenticate
		p.closing(asking.Close)
	}
	return nil
}

func (p *parts) logAccess(settings *config.Settings, out, errOut io.Writer) error {
	var to io.Writer
	switch name := settings.AccessLog.To; name {
	case "":
		return nil
	case "stdout":
		to = out
	case "stderr":
		to = errOut
	default:
		file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640) //nolint:gosec // the operator's own name
		if err != nil {
			return settings.Error("access-log", err)
		}
		to = file
		p.closing(func() { file.Close() })
	}
	p.cfg.AccessLog = accesslog.New(to, settings.AccessLog)
	return nil
}

func (p *parts) sendTelemetry(logger *slog.Logger) error {
	t, err := telemetry.Start(context.Background(), telemetry.Config{
		Getenv: os.Getenv, Metrics: p.cfg.Registry, Version: bridge.Version(), Logger: logger,
	})
	if err != nil {
		return err
	}
	p.cfg.TracerProvider = t.TracerProvider
	p.closing(func() {
		ctx, cancel := context.WithTimeout(context.Background(), telemetryTimeout)
		defer cancel()
		if err := t.Close(ctx); err != nil {
			logger.Warn("the last traces and metrics were not sent", "err", err)
		}
	})
	return nil
}
