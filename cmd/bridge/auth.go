package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
	"github.com/pollbridge/pollbridge/internal/auth/forwardauth"
	"github.com/pollbridge/pollbridge/internal/auth/jwtauth"
)

// authenticator is what the settings say of who is admitted.
type authenticator struct {
	authenticate func(context.Context, bridge.AuthInfo) (bridge.Principal, error) // nil: everyone
	registry     *prometheus.Registry                                             // with its metrics
	close        func()
}

func newAuthenticator(settings *config.Settings, logger *slog.Logger) (*authenticator, error) {
	a := &authenticator{registry: prometheus.NewRegistry(), close: func() {}}
	switch {
	case settings.JWT.JWKS != "":
		cfg := settings.JWT
		cfg.Logger = logger
		tokens, err := jwtauth.New(cfg)
		if err != nil {
			return nil, settings.Error("jwt-jwks", err)
		}
		a.registry.MustRegister(tokens)
		a.authenticate, a.close = tokens.Authenticate, tokens.Close
	case settings.ForwardAuth.URL != "":
		cfg := settings.ForwardAuth
		cfg.Logger = logger
		asking, err := forwardauth.New(cfg)
		if err != nil {
			return nil, settings.Error("forward-auth", err)
		}
		a.authenticate, a.close = asking.Authenticate, asking.Close
	}
	return a, nil
}
