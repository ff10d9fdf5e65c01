package main

import (
	"io"
	"log/slog"
	"net/http"
	"os"

	"github.com/labstack/echo/v4"
	"github.com/spf13/cobra"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

func newServe() *cobra.Command {
	command := &cobra.Command{
		Use:   "serve --backend HOST:PORT",
		Short: "Put a bridge in front of gRPC servers",
		Long: `Put a bridge in front of gRPC servers. It needs no knowledge of their services.

The first line on standard output is "listening on URL"; logs go to standard
error. SIGTERM or SIGINT drains the bridge: /readyz turns 503, clients are told to
open new RPCs elsewhere, and open RPCs may continue for --drain-timeout. A second
signal ends the bridge at once. SIGHUP reads the --config file and the
certificate again, and cuts no RPC.

Each flag can also be set by an environment variable, POLLBRIDGE_ and its name
(POLLBRIDGE_DRAIN_TIMEOUT for --drain-timeout; several values are separated by
commas), or by a key of the --config file. Flags override the environment, which
overrides the file.`,
		Example: `  bridge serve --backend localhost:50051
  bridge serve --listen :8443 --tls-cert cert.pem --tls-key key.pem \
    --backend localhost:50051 --allow-origin https://app.example.com
  bridge serve --backend localhost:50051 --backend chat.=localhost:50052 --admin 127.0.0.1:9090
  bridge serve --config bridge.yaml

  # bridge.yaml
  listen: :8080
  backend:
    - localhost:50051
    - chat.=localhost:50052
  allow-origin: https://app.example.com`,
		Args: takes(),
	}
	flags := config.NewFlags(command.Flags())
	completeWords(command)
	command.SetUsageFunc(groupedUsage)
	command.RunE = func(command *cobra.Command, _ []string) error {
		settings, err := flags.Load(os.Environ())
		if err != nil {
			return &usageError{err}
		}
		return serve(flags, settings, command.OutOrStdout(), command.ErrOrStderr())
	}
	return command
}

func serve(flags *config.Flags, settings *config.Settings, out, errOut io.Writer) error {
	level := new(slog.LevelVar)
	level.Set(settings.LogLevel)
	logger := newLogger(settings.LogFormat, level, errOut)
	tuneMemory(logger, settings.Bridge.MaxBufferedBytes)
	defer startReleasing()()
	parts, err := newParts(settings, logger, out, errOut)
	if err != nil {
		return &usageError{err}
	}
	defer parts.close()
	drainAsked, onDrain := drainRequests()
	parts.cfg.OnDrain = onDrain
	server, err := bridge.New(parts.cfg)
	if err != nil {
		return &usageError{settings.Explain(err)}
	}
	h := &host{
		bridge:       server,
		handler:      addHealth(compose(server), settings.HealthPath),
		logger:       logger,
		listen:       settings.Listen,
		rpc:          settings.Bridge.RPC,
		admin:        settings.Admin,
		shared:       settings.ReusePort,
		hold:         settings.Bridge.Hold,
		drainTimeout: settings.Bridge.DrainTimeout,
		registry:     parts.cfg.Registry,
		drainAsked:   drainAsked,
	}
	if settings.TLSCert != "" {
		if h.certificate, err = newCertificate(settings.TLSCert, settings.TLSKey, logger); err != nil {
			return &usageError{settings.Error("tls-cert", err)}
		}
	}
	h.reload = (&reloader{flags: flags, settings: settings, bridge: server, certificate: h.certificate, level: level, logger: logger}).reload
	return h.run(out, func(string, string) {})
}

// compose returns an Echo with the bridge on it, and without Echo's middleware:
// its gzip and timeout break upgrades and held requests.
func compose(server *bridge.Server) *echo.Echo {
	e := echo.New()
	e.HideBanner = true
	e.HidePort = true
	server.Mount(e)
	return e
}

// addHealth adds a path that answers as /healthz does to the public listener, none
// if path is empty.
func addHealth(e *echo.Echo, path string) *echo.Echo {
	if path != "" {
		healthy := echo.WrapHandler(httpwrite.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			httpwrite.Text(w, http.StatusOK, "ok")
		})))
		e.Match([]string{http.MethodGet, http.MethodHead}, path, healthy)
	}
	return e
}

func newLogger(format string, level slog.Leveler, errOut io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(errOut, options))
	}
	return slog.New(slog.NewTextHandler(errOut, options))
}
