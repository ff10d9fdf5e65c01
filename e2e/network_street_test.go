package e2e_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/middlebox"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

// path is how a client reaches the bridge through a middlebox.
type path int

const (
	reverse   path = iota // it stands for the bridge
	forward               // a proxy that the client is configured with, http
	tunnelled             // the same, https: it sees CONNECT and bytes
	inspected             // the same, and it looks into TLS
)

// street is a middlebox, a bridge and a service, one behind the other, and
// perhaps a client in front of them.
type street struct {
	url     string // of the bridge, for clients
	proxy   string // for clients to be configured with; empty: none
	ca      *middlebox.CA
	box     *middlebox.Proxy
	service *testsvc.Server
	user    *client.Channel
	reach   client.Config  // the user's
	closed  []func() error // from the service to the client
	served  sync.WaitGroup
}

// newStreet builds one with a client. Clients find the middlebox at entrance, and
// that one the bridge at front.
func newStreet(how path, cfg middlebox.Config, user client.Config, entrance, front transporttest.Network) (*street, error) {
	s, err := emptyStreet(how, cfg, entrance, front)
	if err == nil {
		user.Dial, user.Proxy, user.TLS = s.reach.Dial, s.reach.Proxy, s.reach.TLS
		err = s.open(user)
	}
	return s, err
}

// emptyStreet is newStreet without a client.
func emptyStreet(how path, cfg middlebox.Config, entrance, front transporttest.Network) (*street, error) {
	s := &street{}
	return s, s.build(how, cfg, entrance, front)
}

func (s *street) build(how path, cfg middlebox.Config, entrance, front transporttest.Network) error {
	service, backend := testsvc.New(), bufconn.Listen(256<<10)
	s.service = service
	service.Serve(backend)
	s.later(func() error { service.Stop(); return nil })
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return backend.DialContext(ctx) })
	br, err := bridge.New(bridge.Config{
		Backends:     []bridge.Backend{{Target: "passthrough:///backend", DialOptions: []grpc.DialOption{dial}}},
		AllowOrigins: []string{elsewhere},
		Check:        true,
	})
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

	cfg.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return front.Dial(ctx) }
	s.url, s.proxy = "http://"+hostOf(front), "http://"+hostOf(entrance)
	serve := server.Serve
	switch how {
	case reverse:
		cfg.Upstream = s.url
		s.url, s.proxy = s.proxy, ""
	case tunnelled, inspected:
		s.url = "https://" + hostOf(front)
		if s.ca, err = middlebox.NewCA(); err != nil {
			return err
		}
		host, _, _ := strings.Cut(hostOf(front), ":")
		cert, err := s.ca.For(host)
		if err != nil {
			return err
		}
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"http/1.1"}}
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
		if how == inspected {
			cfg.CA, cfg.TLS = s.ca, &tls.Config{RootCAs: s.ca.Pool()} // the bridge's is of the same CA
		}
	}
	s.reach = client.Config{
		Dial:  func(ctx context.Context, _, _ string) (net.Conn, error) { return entrance.Dial(ctx) },
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
	if s.proxy != "" {
		s.reach.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: hostOf(entrance)})
	}
	if s.ca != nil {
		s.reach.TLS = &tls.Config{RootCAs: s.ca.Pool()}
	}
	s.served.Go(func() { _ = serve(front.Listener) })
	if s.box, err = middlebox.New(cfg); err != nil {
		return err
	}
	s.served.Go(func() { _ = s.box.Serve(entrance.Listener) })
	s.later(func() error { s.box.Close(); return nil })
	return nil
}

// elsewhere is the origin of pages that are not the bridge's own.
const elsewhere = "http://localhost:8000"

// hostOf is the name of a network's listener: an address, or for pipes one that
// nobody looks up.
func hostOf(n transporttest.Network) string {
	if _, ok := n.Listener.Addr().(*net.TCPAddr); ok {
		return n.Listener.Addr().String()
	}
	return "localhost"
}

// open makes the client.
func (s *street) open(user client.Config) (err error) {
	if s.user, err = client.New(s.url, user); err != nil {
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
