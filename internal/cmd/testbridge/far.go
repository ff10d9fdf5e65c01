package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// far is what lies between pages and the bridge.
type far struct {
	delay  time.Duration // of each exchange
	tls    bool          // and HTTP/2
	origin string        // of pages that are admitted besides
}

func (f far) scheme() string {
	if f.tls {
		return "https"
	}
	return "http"
}

// serve serves h, by TLS with a certificate that nobody trusts.
func (f far) serve(l net.Listener, h http.Handler) *http.Server {
	if !f.tls {
		return serve(l, h)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}, EnableHTTP2: true}
	s.StartTLS()
	return s.Config
}

// delayed brings exchanges to h that long after they came.
func (f far) delayed(h http.Handler) http.Handler {
	if f.delay == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/poll") {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // the client is gone
			}
			time.Sleep(f.delay)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		h.ServeHTTP(w, r)
	})
}
