package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pollbridge/pollbridge/bridge"
)

// closeTimeout is how long listeners wait for their last responses to be written
// after every session was closed.
const closeTimeout = 2 * time.Second

// host runs a bridge on its listeners until a signal ends it.
type host struct {
	bridge  *bridge.Server
	handler http.Handler // the bridge and other routes
	logger  *slog.Logger

	listen       string
	certificate  *certificate // nil: plain HTTP
	rpc          bool         // clients without a session are served
	admin        string       // empty: no admin listener
	shared       bool         // its addresses, with the process that takes its place
	hold         time.Duration
	drainTimeout time.Duration
	registry     *prometheus.Registry
	drainAsked   <-chan struct{} // by an operator on the admin listener; nil: nobody can
	// reload is what SIGHUP does; it returns the drain timeout from then on. Nil:
	// SIGHUP ends the bridge as SIGTERM does.
	reload func() time.Duration
}

// adminRequest stands for a signal where an operator asked for the drain.
type adminRequest struct{}

func (adminRequest) String() string { return "admin request" }

// Signal implements os.Signal.
func (adminRequest) Signal() {}

// drainRequests returns a channel for host.drainAsked, and what fills it.
func drainRequests() (<-chan struct{}, func()) {
	asked := make(chan struct{}, 1)
	return asked, func() {
		select {
		case asked <- struct{}{}:
		default: // it is known
		}
	}
}

// run serves until SIGTERM or SIGINT, then drains. SIGHUP reloads. It prints "listening on URL" to
// out and then calls greet with that URL and the admin listener's, which is empty if
// there is none. The error is a listener's, or reports that a second
// signal cut the drain short.
func (h *host) run(out io.Writer, greet func(url, admin string)) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	servers, err := h.open()
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "listening on", servers[0].url)
	admin := ""
	if len(servers) > 1 {
		admin = servers[1].url
	}
	greet(servers[0].url, admin)

	failed := make(chan error, len(servers))
	var serving sync.WaitGroup
	for _, s := range servers {
		serving.Go(func() { failed <- s.serve() })
	}
	sig, err := h.await(signals, failed)
	if err != nil {
		closeAll(servers)
		serving.Wait()
		return err
	}
	h.logger.Info("draining", "signal", sig.String(), "timeout", h.drainTimeout.String())
	if h.shared {
		servers[0].handOver()
	}

	drained := make(chan struct{})
	go func() {
		defer close(drained)
		h.drain(servers)
		serving.Wait()
	}()
	for {
		select {
		case <-drained:
			return nil
		case sig := <-signals: // the process exits without waiting for the drain
			if sig == syscall.SIGHUP && h.reload != nil {
				continue // too late for that
			}
			return fmt.Errorf("%v while draining: open RPCs were cut", sig)
		}
	}
}

// await reloads until a signal ends the bridge, which it returns, or a listener
// fails.
func (h *host) await(signals <-chan os.Signal, failed <-chan error) (os.Signal, error) {
	for {
		select {
		case err := <-failed:
			return nil, err
		case <-h.drainAsked:
			return adminRequest{}, nil
		case sig := <-signals:
			if sig != syscall.SIGHUP || h.reload == nil {
				return sig, nil
			}
			h.drainTimeout = h.reload()
		}
	}
}

// open returns the servers, listening. The public one comes first.
func (h *host) open() ([]*server, error) {
	public, err := newServer(serverConfig{addr: h.listen, shared: h.shared, certificate: h.certificate, handler: h.handler, logger: h.logger, hold: h.hold})
	if err != nil {
		return nil, err
	}
	if h.rpc {
		public.allowHTTP2()
	}
	public.listener = newSparingListener(public.listener, h.registry, h.logger)
	public.bridge = h.bridge
	h.bridge.ParkPolls(public.http)
	servers := []*server{public}
	if h.admin != "" {
		admin, err := newServer(serverConfig{addr: h.admin, shared: h.shared, handler: h.bridge.AdminHandler(), logger: h.logger})
		if err != nil {
			closeAll(servers)
			return nil, err
		}
		servers = append(servers, admin)
		h.logger.Info("admin listening", "url", admin.url)
	}
	return servers, nil
}

// drain shuts down the bridge, and then the listeners, which answer until then.
func (h *host) drain(servers []*server) {
	ctx, cancel := context.WithTimeout(context.Background(), h.drainTimeout)
	defer cancel()
	if err := h.bridge.Shutdown(ctx); err != nil {
		h.logger.Warn("drain timed out: open RPCs were ended", "err", err)
	}
	ctx, cancel = context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	for _, s := range servers {
		if s.http.Shutdown(ctx) != nil {
			s.http.Close()
		}
	}
	h.logger.Info("drained")
}

func closeAll(servers []*server) {
	for _, s := range servers {
		s.listener.Close()
		s.http.Close()
	}
}
