package client_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
)

// interopCases are gRPC's own, as far as they are about the client's side.
var interopCases = map[string]func(context.Context, *client.Channel){
	"empty_unary":                 stub(interop.DoEmptyUnaryCall),
	"large_unary":                 stub(interop.DoLargeUnaryCall),
	"client_streaming":            stub(interop.DoClientStreaming),
	"server_streaming":            stub(interop.DoServerStreaming),
	"ping_pong":                   stub(interop.DoPingPong),
	"empty_stream":                stub(interop.DoEmptyStream),
	"timeout_on_sleeping_server":  stub(interop.DoTimeoutOnSleepingServer),
	"cancel_after_begin":          stub(interop.DoCancelAfterBegin),
	"cancel_after_first_response": stub(interop.DoCancelAfterFirstResponse),
	"status_code_and_message":     stub(interop.DoStatusCodeAndMessage),
	"special_status_message":      stub(interop.DoSpecialStatusMessage),
	"custom_metadata":             stub(interop.DoCustomMetadata),
	"unimplemented_service": func(ctx context.Context, c *client.Channel) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(c))
	},
}

func stub(do func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *client.Channel) {
	return func(ctx context.Context, c *client.Channel) { do(ctx, testgrpc.NewTestServiceClient(c)) }
}

// interopURL and interopWay tell a copy of the test binary to be the client:
// the functions of package interop end the process when they fail.
const (
	interopURL = "POLLBRIDGE_TEST_INTEROP_URL"
	interopWay = "POLLBRIDGE_TEST_INTEROP_TRANSPORT"
)

func TestInteropClient(t *testing.T) {
	url := os.Getenv(interopURL)
	if url == "" {
		t.Skip("run by TestInterop")
	}
	cfg := client.Config{TLS: &tls.Config{InsecureSkipVerify: true}}
	if way := os.Getenv(interopWay); way != "" {
		cfg.Transports = []string{way}
	}
	c, err := client.New(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, run := range interopCases {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		run(ctx, c)
		cancel()
		fmt.Println("passed", name)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestInterop runs gRPC's interop cases against gRPC's own test server, through
// a bridge, on each transport.
func TestInterop(t *testing.T) {
	handler := newBridge(t, backendOf(t, func(s *grpc.Server) { testgrpc.RegisterTestServiceServer(s, interop.NewTestServer()) }))
	servers := map[string]*httptest.Server{
		"http/1.1": httptest.NewServer(handler),
		"h2":       httptest.NewUnstartedServer(handler),
	}
	servers["h2"].EnableHTTP2 = true
	servers["h2"].StartTLS()
	for name, server := range servers {
		t.Cleanup(server.Close)
		for _, way := range []string{"ws", "longpoll", ""} {
			t.Run(name+"/"+way, func(t *testing.T) {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInteropClient$", "-test.timeout=5m")
				cmd.Env = append(os.Environ(), interopURL+"="+server.URL, interopWay+"="+way)
				out, err := cmd.CombinedOutput()
				if passed := strings.Count(string(out), "passed "); err != nil || passed != len(interopCases) {
					t.Errorf("%d of %d cases passed, %v:\n%s", passed, len(interopCases), err, out)
				}
			})
		}
	}
}

// newBridge returns a bridge in front of the gRPC server at target.
func newBridge(t testing.TB, target string) *bridge.Server {
	t.Helper()
	b, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: target}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}

// backendOf serves gRPC on a loopback port and returns its address.
func backendOf(t *testing.T, register func(*grpc.Server)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	return listener.Addr().String()
}
