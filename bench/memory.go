package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
)

// settle is how long a crowd is left alone before it is measured.
func (c config) settle() time.Duration { return min(6*c.window, 3*time.Second) }

// A held is one kind of what a server holds for each of a crowd.
type held struct {
	name      string
	n         int                                                            // of the crowd
	transport string                                                         // of the bridge; empty: another server
	secure    bool                                                           // over TLS
	leaves    bool                                                           // the connection is closed, and the session remains
	use       func(ctx context.Context, conn grpc.ClientConnInterface) error // once each
	serve     func(ctx context.Context, l *lab) (*process, error)            // nil: a bridge
	dial      func(addr string) (conn, error)                                // to another server
}

func kindsHeld(cfg config) []held {
	n := cfg.crowd
	grpcProxy := func(ctx context.Context, l *lab) (*process, error) { return l.role(ctx, "proxy", l.backend.addr) }
	toGRPC := func(addr string) (conn, error) { return dialGRPC(addr) }
	all := []held{
		{name: "Pollbridge ws: an idle session", n: n, transport: "ws", use: callOnce},
		{name: "Pollbridge ws: a session with a quiet stream", n: n, transport: "ws", use: openQuiet},
		{name: "Pollbridge ws: a session whose reader stopped", n: n / 10, transport: "ws", use: openStopped},
		{name: "Pollbridge longpoll: an idle session", n: n, transport: "longpoll", use: callOnce, leaves: true},
		{name: "Pollbridge longpoll: a session with a quiet stream", n: n, transport: "longpoll", use: openQuiet},
		{name: "Pollbridge longpoll over TLS: a session with a quiet stream", n: n, transport: "longpoll", use: openQuiet, secure: true},
		{name: "Pollbridge longpoll: a session whose reader stopped", n: n / 10, transport: "longpoll", use: openStopped},
		{name: "grpc-go proxy: an idle connection", n: n, serve: grpcProxy, dial: toGRPC, use: callOnce},
		{name: "grpc-go proxy: a connection with a quiet stream", n: n, serve: grpcProxy, dial: toGRPC, use: openQuiet},
		{name: "grpc-go proxy: a connection whose reader stopped", n: n / 10, serve: grpcProxy, dial: toGRPC, use: openStopped},
	}
	if !cfg.ownOnly {
		all = append(all, held{
			name: "grpcwebproxy: a WebSocket with a quiet stream", n: n / 5, use: openQuiet,
			serve: func(ctx context.Context, l *lab) (*process, error) { return l.grpcwebproxy(ctx) },
			dial:  func(addr string) (conn, error) { return webSocketConn(addr), nil },
		})
	}
	return all
}

// measureMemory measures what a server holds for each of many.
func measureMemory(ctx context.Context, cfg config) (*section, error) {
	s := &section{title: "Memory"}
	s.table("each", "of how many", "resident", "heap", "stacks", "goroutines")
	for _, h := range kindsHeld(cfg) {
		if !cfg.measures(key{"memory", h.name}) {
			continue
		}
		each, err := h.measure(ctx, cfg)
		if err != nil {
			s.note("%s: %v", h.name, err)
			continue
		}
		cells := []string{figure(float64(h.n)), kib(each.rss), "", "", ""}
		if each.goroutines > 0 {
			cells[2], cells[3], cells[4] = kib(each.heap), kib(each.stacks), figure(each.goroutines)
		}
		s.row(h.name, cells...)
		if h.transport != "" {
			s.bench(h.name, each.rss, "resident-B", each.heap, "heap-B", each.stacks, "stack-B")
		}
	}
	return s, nil
}

// each is what one of a crowd adds to a process.
type each struct{ rss, heap, stacks, goroutines float64 }

func (h held) measure(ctx context.Context, cfg config) (each, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l, err := newLab(ctx, cfg)
	defer l.close()
	if err != nil {
		return each{}, err
	}
	server, open, end, err := h.open(ctx, l)
	defer end()
	if err != nil {
		return each{}, err
	}
	before, err1 := server.collected()
	err2 := together(h.n, open)
	if h.leaves {
		end()
	}
	time.Sleep(cfg.settle())
	after, err3 := server.collected()
	err = errors.Join(err1, err2, err3)
	if err == nil {
		err = cfg.saveMemory(server, h.name)
	}
	per := func(before, after int) float64 { return float64(after-before) / float64(h.n) }
	return each{
		per(before.RSS, after.RSS), per(before.Heap, after.Heap),
		per(before.Stacks, after.Stacks), per(before.Goroutines, after.Goroutines),
	}, err
}

// open starts the server, and returns how the i-th of the crowd comes, and how
// all leave.
func (h held) open(ctx context.Context, l *lab) (server *process, open func(i int) error, end func(), err error) {
	nothing := func() {}
	if h.serve != nil {
		if server, err = h.serve(ctx, l); err != nil {
			return nil, nil, nothing, err
		}
		w := &way{dial: func() (conn, error) { return h.dial(server.addr) }}
		l.closers = append(l.closers, w.close)
		conns, err := w.open(h.n)
		return server, func(i int) error { return h.use(ctx, conns[i]) }, nothing, err
	}
	url, flags := "http://", []string(nil)
	if h.secure {
		files, err := certificate(l.cfg.dir)
		if err != nil {
			return nil, nil, nothing, err
		}
		url, flags = "https://", []string{"--tls-cert", files[0], "--tls-key", files[1]}
	}
	if server, err = l.bridge(ctx, flags...); err != nil {
		return nil, nil, nothing, err
	}
	c, err := newCrowd(url+server.addr, h.transport, h.n)
	l.closers = append(l.closers, func() error { c.close(); return nil })
	if h.leaves {
		end = c.cut
	} else {
		end = nothing
	}
	return server, func(i int) error { return h.use(ctx, c.channels[i]) }, end, err
}

// certificate writes a self-signed certificate and its key.
func certificate(dir string) ([]string, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, err
	}
	files := []string{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	return files, errors.Join(
		os.WriteFile(files[0], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(files[1], pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
}
