package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/config"
	"github.com/pollbridge/pollbridge/internal/demo"
	"github.com/pollbridge/pollbridge/internal/look"
)

// demoDrainTimeout is short because somebody waits at a terminal.
const demoDrainTimeout = 2 * time.Second

const demoGreeting = `
Open %s/ in a browser, and in a second tab to see the chat. Or call it from another terminal:

  bridge call %s pollbridge.demo.v1.Demo/Count -d '{"to": 3}'

See what your network does on the way to it: %s/bridge/check
`

func newDemo() *cobra.Command {
	var listen, admin, adminToken string
	var origins, servers []string
	command := &cobra.Command{
		Use:   "demo",
		Short: "Run a demo: a gRPC server, a bridge and a web page",
		Long: `Run a demo on this machine: a gRPC server with RPCs of all four kinds and a chat,
a bridge in front of it, and a web page that calls it. Open the printed URL in
two browser tabs. Nothing else is needed, not even a network. Ctrl-C ends it.`,
		Example: `  bridge demo
  bridge demo --listen 127.0.0.1:0     # any free port
  bridge demo --listen 127.0.0.1:8081 --cluster nats://127.0.0.1:4222`,
		Args: takes(),
		RunE: func(command *cobra.Command, _ []string) error {
			if _, err := config.Address(listen); err != nil {
				return &usageError{fmt.Errorf("--listen: %w", err)}
			}
			if admin != "" {
				if _, err := config.Address(admin); err != nil {
					return &usageError{fmt.Errorf("--admin: %w", err)}
				}
			}
			cfg := bridge.Config{AllowOrigins: origins, AdminToken: adminToken}
			if len(servers) > 0 {
				conn, err := connectNATS(config.Cluster{Servers: servers}, demoLogger(command.ErrOrStderr()))
				if err != nil {
					return &usageError{fmt.Errorf("--cluster: %w", err)}
				}
				defer conn.Close()
				cfg.Cluster, cfg.ClusterName = conn, "demo"
			}
			return runDemo(listen, admin, cfg, command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	command.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "`ADDR` to serve the page on; port 0 picks a free one")
	command.Flags().StringVar(&admin, "admin", "", "`ADDR` to serve a page on of what the bridge is doing")
	command.Flags().StringVar(&adminToken, "admin-token", "", "`TOKEN` with which that page can disconnect sessions and drain the bridge")
	command.Flags().StringArrayVar(&servers, "cluster", nil, "`URL` of a NATS server over which several demos take each other's requests; the page shows which did")
	command.Flags().StringArrayVar(&origins, "allow-origin", nil, "web `ORIGIN`, such as http://localhost:3000, whose pages may also call the demo")
	return command
}

// runDemo runs everything in this process. The bridge calls the service behind it
// over loopback TCP.
func runDemo(listen, admin string, cfg bridge.Config, out, errOut io.Writer) error {
	logger := demoLogger(errOut)
	tuneMemory(logger, 0)

	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("demo service: %w", err)
	}
	name := ""
	if cfg.Cluster != nil {
		name = listen
	}
	service := grpc.NewServer(demo.Named(name)...)
	demo.Register(service)
	reflection.Register(service)
	var serving sync.WaitGroup
	serving.Go(func() { _ = service.Serve(backend) }) // until Stop
	defer func() {
		service.Stop()
		serving.Wait()
	}()

	cfg.Backends = []bridge.Backend{{Name: "demo", Target: backend.Addr().String()}}
	cfg.AllowMethods = []string{"*", "grpc.reflection.*"} // for "bridge call"
	cfg.Check, cfg.RPC = true, true
	cfg.Logger = logger
	asked, onDrain := drainRequests()
	cfg.OnDrain = onDrain
	server, err := bridge.New(cfg)
	if err != nil {
		return &usageError{err} // only the origins and the token can be wrong
	}
	h := &host{
		bridge:       server,
		handler:      demo.NameBridge(name, addPage(compose(server))),
		logger:       logger,
		listen:       listen,
		rpc:          true,
		hold:         bridge.Config{}.WithDefaults().Hold,
		drainTimeout: demoDrainTimeout,
		registry:     prometheus.NewRegistry(),
		admin:        admin,
		drainAsked:   asked,
	}
	return h.run(out, func(url, admin string) {
		fmt.Fprintf(out, demoGreeting, url, url, url)
		if admin != "" {
			fmt.Fprintf(out, "What the bridge is doing: %s\n", admin)
		}
		fmt.Fprintln(out, "Ctrl-C ends the demo.")
	})
}

func demoLogger(errOut io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(errOut, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// addPage adds the demo's page, and what it fetches, to the bridge's routes.
func addPage(e *echo.Echo) *echo.Echo {
	e.GET("/download", echo.WrapHandler(demo.Download()))
	page := http.FileServerFS(demo.Page())
	e.GET("/*", func(c echo.Context) error {
		header := c.Response().Header()
		header.Set("Content-Security-Policy", look.ContentSecurityPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-cache")
		page.ServeHTTP(c.Response(), c.Request())
		return nil
	})
	return e
}
