package bridge_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/transport/longpoll"
	"github.com/pollbridge/pollbridge/transport/ws"
)

// The transports at paths of the program's own, each with the limits and the
// middleware that it wants, over one bridge's sessions.
func ExampleServer_Accept() {
	server := grpc.NewServer()
	defer server.Stop()
	echopb.RegisterEchoServer(server, new(testsvc.Service))
	srv, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{GRPCServer: server}}})
	if err != nil {
		panic(err)
	}

	sockets := ws.New(srv, ws.Config{MaxBatch: 64 << 10})
	mux := http.NewServeMux()
	mux.Handle("/live/v1/{sid}/poll", longpoll.New(srv, longpoll.Config{MaxBatch: 64 << 10}))
	mux.Handle("/live/v1/{sid}/ws", sockets)
	web := httptest.NewServer(mux) // in earnest: an http.Server
	defer web.Close()
	defer sockets.Close() // after Shutdown, which ends the sessions
	defer srv.Shutdown(context.Background())

	for _, transport := range []string{"longpoll", "ws"} {
		channel, err := client.New(web.URL+"/live", client.Config{Transports: []string{transport}})
		if err != nil {
			panic(err)
		}
		reply, err := echopb.NewEchoClient(channel).Unary(context.Background(), &echopb.Request{Payload: []byte(transport)})
		fmt.Printf("%s %v\n", reply.GetPayload(), err)
		channel.Close()
	}
	// Output:
	// longpoll <nil>
	// ws <nil>
}
