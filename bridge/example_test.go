package bridge_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// A gRPC server of the same process, reached by pages and by Go programs.
func Example() {
	server := grpc.NewServer()
	defer server.Stop()
	echopb.RegisterEchoServer(server, new(testsvc.Service))

	srv, err := bridge.New(bridge.Config{
		Backends: []bridge.Backend{{GRPCServer: server}},
	})
	if err != nil {
		panic(err)
	}
	defer srv.Shutdown(context.Background())
	web := httptest.NewServer(srv) // in earnest: http.ListenAndServe(":8080", srv)
	defer web.Close()

	channel, err := client.New(web.URL, client.Config{})
	if err != nil {
		panic(err)
	}
	defer channel.Close()
	reply, err := echopb.NewEchoClient(channel).Unary(context.Background(), &echopb.Request{Payload: []byte("hello")})
	fmt.Printf("%s %v\n", reply.GetPayload(), err)
	// Output: hello <nil>
}
