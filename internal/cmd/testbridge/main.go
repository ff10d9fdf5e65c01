// Command testbridge is the far side of the JavaScript client's tests: the
// test service behind a bridge, on free ports of the loopback interface.
//
// It prints one line of JSON with the URLs to use, and ends when its standard
// input does, so that it never outlives the test that started it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/reflection"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
)

func main() {
	static := flag.String("static", "", "directory served under /static/")
	bridges := flag.Int("bridges", 1, "bridges in a cluster, which take requests in turn; the first is the one that is told of and replaced")
	verbose := flag.Bool("v", false, "log to standard error")
	var f far
	flag.DurationVar(&f.delay, "delay", 0, "how long each exchange waits before the bridge")
	flag.BoolVar(&f.tls, "tls", false, "serve by TLS and HTTP/2")
	flag.StringVar(&f.origin, "allow-origin", "", "a further origin whose pages are admitted")
	flag.Parse()
	if err := run(*static, *bridges, *verbose, f); err != nil {
		fmt.Fprintln(os.Stderr, "testbridge:", err)
		os.Exit(1)
	}
}

func run(static string, bridges int, verbose bool, f far) error {
	backend := testsvc.New()
	reflection.Register(backend.GRPC) // for clients in JSON
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	backend.Serve(lis)
	defer backend.Stop()
	logger := slog.New(slog.DiscardHandler)
	if verbose {
		logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	br := &replaceable{cfg: bridge.Config{
		RPC:      true,
		Backends: []bridge.Backend{{Target: lis.Addr().String()}},
		Logger:   logger,
	}}
	if f.origin != "" {
		br.cfg.AllowOrigins = []string{f.origin}
	}
	others, leave, err := cluster(&br.cfg, bridges-1)
	if err != nil {
		return err
	}
	defer leave()
	if err := br.replace(); err != nil {
		return err
	}
	defer func() { shutDown(br.current.Load()) }()

	public, err := listen()
	if err != nil {
		return err
	}
	control, err := listen()
	if err != nil {
		return err
	}
	servers := []*http.Server{f.serve(public, pages(f.delayed(inTurn(br, others)), static)), serve(control, controls(public, backend, br))}
	defer func() {
		for _, s := range servers {
			_ = s.Close() // nothing is left to tell
		}
	}()
	urls := map[string]string{"url": f.scheme() + "://" + public.Addr().String(), "control": "http://" + control.Addr().String()}
	if err := json.NewEncoder(os.Stdout).Encode(urls); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// replaceable is a bridge that can be replaced by one that knows nothing of it.
type replaceable struct {
	cfg     bridge.Config
	current atomic.Pointer[bridge.Server]
	// swallows tells that no body of bytes gets through to it, only text.
	swallows atomic.Bool
}

func (b *replaceable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.swallows.Load() && r.Header.Get("Content-Type") == "application/octet-stream" {
		_, _ = io.Copy(io.Discard, r.Body) // until then nobody looks whether the client is gone
		<-r.Context().Done()
		return
	}
	b.current.Load().ServeHTTP(w, r)
}

func (b *replaceable) replace() error {
	next, err := bridge.New(b.cfg)
	if err != nil {
		return err
	}
	if old := b.current.Swap(next); old != nil {
		shutDown(old)
	}
	return nil
}

func shutDown(br *bridge.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = br.Shutdown(ctx) // RPCs that are cut are what the deadline is for
}

func listen() (*listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &listener{Listener: l, open: make(map[net.Conn]struct{})}, nil
}

func serve(l net.Listener, h http.Handler) *http.Server {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }() // ends with Close
	return s
}

// pages serves the bridge, and a page for browser tests under the content
// security policy that an application would have.
func pages(br http.Handler, static string) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/bridge/", br)
	mux.Handle("POST /pollbridge.test.v1.Echo/{method}", br)
	if static != "" {
		mux.Handle("/static/", http.StripPrefix("/static/", http.FileServer(http.Dir(static))))
	}
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.Handle("GET /{$}", page("default-src 'self'"))
	mux.Handle("GET /strict", page("default-src 'self'; require-trusted-types-for 'script'; trusted-types 'none'"))
	return mux
}

// page is an empty page under a content security policy.
func page(policy string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, "<!doctype html><title>Pollbridge test</title>")
	}
}

// controls lets a test see and break what is below HTTP.
func controls(public *listener, backend *testsvc.Server, br *replaceable) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /restart", func(w http.ResponseWriter, _ *http.Request) {
		public.refuse(true) // or clients come back to the old one, which tells them that it goes
		err := br.replace()
		public.refuse(false)
		reply(w, err)
	})
	mux.HandleFunc("POST /cut", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]int{"cut": public.cut()})
	})
	mux.HandleFunc("POST /refuse", func(w http.ResponseWriter, r *http.Request) {
		public.refuse(r.FormValue("on") == "true")
		reply(w, nil)
	})
	mux.HandleFunc("POST /swallow", func(w http.ResponseWriter, r *http.Request) {
		br.swallows.Store(r.FormValue("on") == "true")
		reply(w, nil)
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		public.reset()
		reply(w, nil)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		br.current.Load().AdminHandler().ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, map[string]any{"connections": public.stats(), "rpcs": backend.Counts()})
	})
	return mux
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the test is gone
}
