package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/transport/transporttest"
)

// path is how a client reaches the bridge through a middlebox.
type path int

const (
	reverse   path = iota // it stands for the bridge
	forward               // a proxy that the client was told of, http
	tunnelled             // the same, https: it sees CONNECT and bytes
	inspected             // the same, and it looks into TLS
)

// street is a client, a middlebox, a bridge and a service, one behind the
// other.
type street struct {
	box    *middlebox.Proxy
	user   *client.Channel
	origin string         // the bridge's URL
	reach  client.Config  // the user's
	closed []func() error // from the service to the client
	served sync.WaitGroup
}

// newStreet builds one. The client finds the middlebox at entrance, and that
// one the bridge at front.
func newStreet(how path, cfg middlebox.Config, user client.Config, entrance, front transporttest.Network) (*street, error) {
	s := &street{}
	return s, s.build(how, cfg, user, entrance, front)
}

func (s *street) build(how path, cfg middlebox.Config, user client.Config, entrance, front transporttest.Network) error {
	service, backend := testsvc.New(), bufconn.Listen(256<<10)
	service.Serve(backend)
	s.later(func() error { service.Stop(); return nil })
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return backend.DialContext(ctx) })
	br, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: "passthrough:///backend", DialOptions: []grpc.DialOption{dial}}}, Check: true})
	if err != nil {
		return err
	}
	server := &http.Server{Handler: br}
	s.later(server.Close)
	s.later(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return br.Shutdown(ctx)
	})

	origin := "http://localhost"
	cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return front.Dial(ctx) }
	user.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return entrance.Dial(ctx) }
	user.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.test"})
	if how == reverse {
		cfg.Upstream, user.Proxy = origin, func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	serve := server.Serve
	if how == tunnelled || how == inspected {
		ca, err := middlebox.NewCA()
		if err != nil {
			return err
		}
		cert, err := ca.For("localhost")
		if err != nil {
			return err
		}
		origin = "https://localhost"
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"http/1.1"}}
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
		user.TLS = &tls.Config{RootCAs: ca.Pool()}
		if how == inspected {
			cfg.CA, cfg.TLS = ca, user.TLS
		}
	}
	s.served.Go(func() { _ = serve(front.Listener) })
	if s.box, err = middlebox.New(cfg); err != nil {
		return err
	}
	s.served.Go(func() { _ = s.box.Serve(entrance.Listener) })
	s.later(func() error { s.box.Close(); return nil })
	s.origin, s.reach = origin, user
	if s.user, err = client.New(origin, user); err != nil {
		return err
	}
	// A session that the network ruined cannot be closed in order.
	s.later(func() error { _ = s.user.Close(); return nil })
	return nil
}

func (s *street) later(f func() error) { s.closed = append(s.closed, f) }

// close takes everything down, the client first.
func (s *street) close() error {
	var errs []error
	for i := len(s.closed) - 1; i >= 0; i-- {
		errs = append(errs, s.closed[i]())
	}
	s.served.Wait()
	return errors.Join(errs...)
}
