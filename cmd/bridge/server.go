package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

const (
	// readHeaderTimeout is how long a client may take to send a request's header.
	// Bodies and responses have no such limit: polls are held and WebSockets stay
	// open, and the bridge bounds them itself.
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is how long a connection is kept between two requests. Polls of
	// an open stream follow one another; a session without one needs no connection.
	idleTimeout = time.Minute
	// maxHeaderBytes is far more than browsers send.
	maxHeaderBytes = 64 << 10
)

// server is a listener and its HTTP server.
type server struct {
	listener net.Listener
	http     *http.Server
	url      string // for clients on this machine
}

// newServer listens on addr, with HTTPS over HTTP/2 and HTTP/1.1 if there is a
// certificate.
func newServer(addr string, certificate *tls.Certificate, handler http.Handler, logger *slog.Logger) (*server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenError(addr, err)
	}
	s := &server{
		listener: listener,
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: readHeaderTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
			ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		},
		url: "http://" + reachable(addr, listener.Addr()),
	}
	if certificate != nil {
		s.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*certificate}}
		s.url = "https://" + reachable(addr, listener.Addr())
	}
	return s, nil
}

// pingAfter and pingTimeout find clients of HTTP/2 that are gone: their streams
// may be quiet for as long as they like.
const (
	pingAfter   = time.Minute
	pingTimeout = 20 * time.Second
)

// allowHTTP2 also serves HTTP/2 without TLS, to clients that begin with it.
func (s *server) allowHTTP2() {
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	s.http.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
}

// serve serves until the server is shut down or closed, and then returns nil.
func (s *server) serve() error {
	var err error
	if s.http.TLSConfig != nil {
		err = s.http.ServeTLS(s.listener, "", "")
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving %s: %w", s.url, err)
}

// reachable returns a listener's host and port for clients on this machine: the
// host as configured, which a certificate may name, but 127.0.0.1 for every
// interface.
func reachable(asked string, bound net.Addr) string {
	_, port, _ := net.SplitHostPort(bound.String())
	host, _, _ := net.SplitHostPort(asked)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	return net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)
}

// listenError returns err with advice, if there is any.
func listenError(addr string, err error) error {
	cause := err
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		cause = call.Err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("cannot listen on %s: another program does; choose another address, or port 0 for a free one", addr)
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, cause)
}
