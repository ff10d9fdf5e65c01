// Command connect is a front by connect-go: Connect and gRPC-Web over HTTP/1.1
// in, gRPC to a backend out. Its arguments are the address to listen on and
// the backend's; with "-" for a backend it answers by itself.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"os"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type message = wrapperspb.BytesValue

const (
	unaryMethod  = "/bench.Echo/Unary"
	streamMethod = "/bench.Echo/Stream"
)

func main() {
	listen, backend := os.Args[1], os.Args[2]
	mux := http.NewServeMux()
	if backend == "-" {
		mux.Handle(streamMethod, connect.NewServerStreamHandler(streamMethod, repeat))
	} else {
		front(mux, backend)
	}
	log.Fatal(http.ListenAndServe(listen, crossOrigin(mux)))
}

// front passes calls on to a backend.
func front(mux *http.ServeMux, backend string) {
	h2c := &http.Client{Transport: &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	client := func(method string) *connect.Client[message, message] {
		return connect.NewClient[message, message](h2c, "http://"+backend+method, connect.WithGRPC())
	}
	unary, stream := client(unaryMethod), client(streamMethod)
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
}

// repeat sends the request until it is cancelled.
func repeat(_ context.Context, r *connect.Request[message], out *connect.ServerStream[message]) error {
	for {
		if err := out.Send(r.Msg); err != nil {
			return err
		}
	}
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
