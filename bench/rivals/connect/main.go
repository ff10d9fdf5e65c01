// Command connect is a front by connect-go: unary Connect over HTTP/1.1 in,
// gRPC to a backend out. Its arguments are the address to listen on and the
// backend's.
package main

import (
	"context"
	"crypto/tls"
	"log"
	"net"
	"net/http"
	"os"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const method = "/bench.Echo/Unary"

func main() {
	listen, backend := os.Args[1], os.Args[2]
	h2c := &http.Client{Transport: &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, addr string, _ *tls.Config) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	client := connect.NewClient[wrapperspb.BytesValue, wrapperspb.BytesValue](h2c, "http://"+backend+method, connect.WithGRPC())
	mux := http.NewServeMux()
	mux.Handle(method, connect.NewUnaryHandler(method,
		func(ctx context.Context, r *connect.Request[wrapperspb.BytesValue]) (*connect.Response[wrapperspb.BytesValue], error) {
			reply, err := client.CallUnary(ctx, connect.NewRequest(r.Msg))
			if err != nil {
				return nil, err
			}
			return connect.NewResponse(reply.Msg), nil
		}))
	log.Fatal(http.ListenAndServe(listen, mux))
}
