package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

const (
	// readHeaderTimeout bounds how long a client may take to send a request's
	// header. The bridge bounds bodies itself.
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
	bridge   *bridge.Server // nil: it is no bridge's
	url      string         // for clients on this machine
}

// serverConfig is what makes a server.
type serverConfig struct {
	addr        string
	shared      bool         // with other processes that listen there
	certificate *certificate // nil: plain HTTP
	handler     http.Handler
	logger      *slog.Logger
	// hold is the longest time that an answer is waited for.
	hold time.Duration
}

// newServer listens: with HTTPS, over HTTP/2 and HTTP/1.1, when there is a
// certificate.
func newServer(cfg serverConfig) (*server, error) {
	listener, err := listen(cfg.addr, cfg.shared)
	if err != nil {
		return nil, err
	}
	s := &server{listener: listener, http: newHTTP(cfg), url: urlOf("http", cfg.addr, listener)}
	if cfg.certificate != nil {
		s.http.TLSConfig = &tls.Config{GetCertificate: cfg.certificate.get}
		s.url = urlOf("https", cfg.addr, listener)
	}
	return s, nil
}

// newHTTP bounds what clients can hold up.
func newHTTP(cfg serverConfig) *http.Server {
	return &http.Server{
		Handler:           cfg.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Of answers that the bridge does not write itself. Its own have a
		// deadline of their own, and WebSockets none.
		WriteTimeout: cfg.hold + httpwrite.Timeout,
		HTTP2:        &http.HTTP2Config{WriteByteTimeout: httpwrite.Timeout, MaxReceiveBufferPerConnection: receiveWindow},
		ErrorLog:     slog.NewLogLogger(cfg.logger.Handler(), slog.LevelDebug),
	}
}

// receiveWindow is the window of a connection of HTTP/2, for as many bodies of far
// clients as net/http lets it be. Handlers read what comes at once.
const receiveWindow = 4<<20 - 1

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
	s.http.HTTP2.SendPingTimeout, s.http.HTTP2.PingTimeout = pingAfter, pingTimeout
}

// handOver leaves new connections to the other processes that share the address: it
// takes none, and has clients close theirs after the next answer.
func (s *server) handOver() {
	s.listener.Close()
	s.http.SetKeepAlivesEnabled(false)
}

// serve serves until the server is shut down or closed, and then returns nil.
func (s *server) serve() error {
	var err error
	if s.bridge != nil {
		err = s.bridge.Serve(s.http, s.listener)
	} else {
		err = s.http.Serve(s.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serving %s: %w", s.url, err)
}
