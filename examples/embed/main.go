// Embed is a web server whose pages call a gRPC server in the same process:
// the bridge hands RPCs over in memory, with no TCP between.
package main

import (
	_ "embed"
	"log"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/pollbridge/pollbridge/bridge"
)

//go:embed index.html
var page []byte

func newHandler(server *grpc.Server) (http.Handler, *bridge.Server, error) {
	b, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{GRPCServer: server}}})
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/bridge/", b)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
	return mux, b, nil
}

func main() {
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer()) // any service will do
	handler, _, err := newHandler(server)
	if err != nil {
		log.Fatal(err)
	}
	log.Print("open http://127.0.0.1:8080/")
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", handler))
}
