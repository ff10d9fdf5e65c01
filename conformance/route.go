package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/conformance/gen/conformancepb"
)

type config struct {
	transport string
	network   string
	fresh     bool
	backend   string
	passJSON  bool
}

// routes are the ways to the suite's servers: one bridge for each.
type routes struct {
	cfg        config
	transports []string
	files      string // directory of certificates

	mu   sync.Mutex
	open map[server]*route
}

// server is what a case says of the server to call. Certificates and the key
// are in PEM.
type server struct {
	addr            string
	cert            string // "": without TLS
	clientCert, key string // "": none
}

// route is a bridge in front of a server, the network in front of the bridge,
// and a session through both.
type route struct {
	bridge  *bridge.Server
	network *network
	shared  *client.Channel // nil: each RPC has its own
}

func newRoutes(cfg config) (*routes, error) {
	r := &routes{cfg: cfg, open: make(map[server]*route)}
	if cfg.transport != "auto" {
		r.transports = []string{cfg.transport}
	}
	var err error
	r.files, err = os.MkdirTemp("", "conformance-")
	return r, err
}

// channel returns a channel to the server that a case names, and what to call
// when the case is done.
func (r *routes) channel(request *conformancepb.ClientCompatRequest) (*client.Channel, func(), error) {
	to, err := r.route(server{
		addr:       net.JoinHostPort(request.GetHost(), strconv.FormatUint(uint64(request.GetPort()), 10)),
		cert:       string(request.GetServerTlsCert()),
		clientCert: string(request.GetClientTlsCreds().GetCert()),
		key:        string(request.GetClientTlsCreds().GetKey()),
	})
	if err != nil {
		return nil, nil, err
	}
	if to.shared != nil {
		return to.shared, func() {}, nil
	}
	channel, err := r.newChannel(to)
	return channel, func() { channel.Close() }, err
}

func (r *routes) newChannel(to *route) (*client.Channel, error) {
	return client.New(to.network.url, client.Config{Transports: r.transports})
}

func (r *routes) route(s server) (*route, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if to := r.open[s]; to != nil {
		return to, nil
	}
	security, err := r.tls(s)
	if err != nil {
		return nil, err
	}
	to := new(route)
	to.bridge, err = bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: s.addr, TLS: security}}})
	if err != nil {
		return nil, err
	}
	if to.network, err = newNetwork(r.cfg.network, to.bridge); err != nil {
		return nil, err
	}
	if !r.cfg.fresh {
		if to.shared, err = r.newChannel(to); err != nil {
			return nil, err
		}
	}
	r.open[s] = to
	return to, nil
}

// tls writes certificates and key to the files that a bridge reads. r.mu is
// held.
func (r *routes) tls(s server) (*bridge.BackendTLS, error) {
	if s.cert == "" {
		return nil, nil
	}
	write := func(kind, text string) (string, error) {
		if text == "" {
			return "", nil
		}
		path := filepath.Join(r.files, fmt.Sprintf("%d-%s.pem", len(r.open), kind))
		return path, os.WriteFile(path, []byte(text), 0o600)
	}
	ca, err1 := write("ca", s.cert)
	cert, err2 := write("cert", s.clientCert)
	key, err3 := write("key", s.key)
	return &bridge.BackendTLS{CAFile: ca, CertFile: cert, KeyFile: key}, errors.Join(err1, err2, err3)
}

func (r *routes) close() error {
	errs := []error{os.RemoveAll(r.files)}
	for _, to := range r.open {
		if to.shared != nil {
			errs = append(errs, to.shared.Close())
		}
		ctx, stop := context.WithTimeout(context.Background(), 2*time.Second)
		errs = append(errs, to.bridge.Shutdown(ctx))
		stop()
		to.network.close()
	}
	return errors.Join(errs...)
}

// serve serves HTTP on a free port.
func serve(handler http.Handler) (*http.Server, string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(listener) }() // ends with Close
	return s, "http://" + listener.Addr().String(), nil
}
