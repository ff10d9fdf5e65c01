package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"

	"github.com/pollbridge/pollbridge/bridge"
)

// roleArg is the first argument of a child that is this program. Its role and
// the role's arguments follow.
const roleArg = "role"

func isRole(args []string) bool { return len(args) > 2 && args[1] == roleArg }

// servers are roles that serve until they are killed.
var servers = map[string]func(lis net.Listener, args []string) error{
	"backend": func(lis net.Listener, _ []string) error { return newBackend().Serve(lis) },
	"proxy":   func(lis net.Listener, args []string) error { return serveProxy(lis, args[0]) },
	"relay": func(lis net.Listener, args []string) error {
		return serveRelay(lis, args[0], args[1], args[2], args[3])
	},
	"connect": func(lis net.Listener, args []string) error { return serveConnect(lis, args[0]) },
	"nats":    func(lis net.Listener, _ []string) error { return serveNATS(lis) },
	"site":    func(lis net.Listener, args []string) error { return serveSite(lis, args[0], args[1]) },
}

// runRole is a child's main. A server prints its address first.
func runRole(role string, args []string) {
	if err := func() error {
		switch role {
		case "beside":
			return besideRole(args[0], args[1])
		case "others":
			return othersRole(args[0])
		}
		lis, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		fmt.Println(lis.Addr())
		return servers[role](lis, args)
	}(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", role, err)
		os.Exit(1)
	}
}

// serveSite serves a page with its scripts beside a bridge, an echo of POSTs, and
// a body without end.
func serveSite(lis net.Listener, backend, scripts string) error {
	server, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: backend}}})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<!DOCTYPE html><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>`)
	})
	mux.Handle("/", http.FileServer(http.Dir(scripts)))
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("GET /flood", func(w http.ResponseWriter, _ *http.Request) {
		for piece, err := make([]byte, 16<<10), error(nil); err == nil; _, err = w.Write(piece) {
		}
	})
	mux.Handle("/bridge/", server)
	return serveHTTP(lis, mux)
}

func serveHTTP(lis net.Listener, h http.Handler) error {
	return (&http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}).Serve(lis)
}

// serveConnect serves a front by connect-go: Connect and gRPC-Web over HTTP/1.1
// in, gRPC out.
func serveConnect(lis net.Listener, backend string) error {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	dial := func(method string) *connect.Client[message, message] {
		return connect.NewClient[message, message](&http.Client{Transport: transport}, "http://"+backend+method, connect.WithGRPC())
	}
	unary, stream := dial(unaryMethod), dial(streamMethod)
	mux := http.NewServeMux()
	mux.Handle(unaryMethod, connect.NewUnaryHandler(unaryMethod,
		func(ctx context.Context, r *connect.Request[message]) (*connect.Response[message], error) {
			reply, err := unary.CallUnary(ctx, connect.NewRequest(r.Msg))
			if err != nil {
				return nil, err
			}
			return connect.NewResponse(reply.Msg), nil
		}))
	mux.Handle(streamMethod, connect.NewServerStreamHandler(streamMethod,
		func(ctx context.Context, r *connect.Request[message], out *connect.ServerStream[message]) (err error) {
			in, err := stream.CallServerStream(ctx, connect.NewRequest(r.Msg))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.Close()) }()
			for in.Receive() {
				if err := out.Send(in.Msg()); err != nil {
					return err
				}
			}
			return in.Err()
		}))
	return serveHTTP(lis, crossOrigin(mux))
}

// crossOrigin lets every page in.
func crossOrigin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Headers", "*")
		w.Header().Set("Access-Control-Expose-Headers", "*")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}
