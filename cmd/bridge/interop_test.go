package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	orcadata "github.com/cncf/xds/go/xds/data/orca/v3"
	orcaservice "github.com/cncf/xds/go/xds/service/orca/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/orca"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/client"
)

// interopServer starts gRPC's own test server and returns its address.
func interopServer(t *testing.T, options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	load := orca.NewServerMetricsRecorder()
	server := grpc.NewServer(append(options, orca.CallMetricsServerOption(nil))...)
	testgrpc.RegisterTestServiceServer(server, interop.NewTestServer(interop.NewTestServerOptions{MetricsRecorder: load}))
	orcaservice.RegisterOpenRcaServiceServer(server, loadReports{recorder: load})
	reflection.Register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return listener.Addr().String()
}

// loadReports streams the server's load as package orca does, which only would
// not do it oftener than every 30 s.
type loadReports struct {
	orcaservice.UnimplementedOpenRcaServiceServer
	recorder orca.ServerMetricsRecorder
}

func (l loadReports) StreamCoreMetrics(_ *orcaservice.OrcaLoadReportRequest, stream orcaservice.OpenRcaService_StreamCoreMetricsServer) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		m := l.recorder.ServerMetrics()
		report := &orcadata.OrcaLoadReport{CpuUtilization: max(m.CPUUtilization, 0), MemUtilization: max(m.MemUtilization, 0), Utilization: m.Utilization}
		if err := stream.Send(report); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// interopCases are those of gRPC's interop script that a stub can run, on our
// own client.
var interopCases = map[string]func(context.Context, *client.Channel){
	"empty_unary":                 onStub(interop.DoEmptyUnaryCall),
	"large_unary":                 onStub(interop.DoLargeUnaryCall),
	"client_streaming":            onStub(interop.DoClientStreaming),
	"server_streaming":            onStub(interop.DoServerStreaming),
	"ping_pong":                   onStub(interop.DoPingPong),
	"empty_stream":                onStub(interop.DoEmptyStream),
	"timeout_on_sleeping_server":  onStub(interop.DoTimeoutOnSleepingServer),
	"cancel_after_begin":          onStub(interop.DoCancelAfterBegin),
	"cancel_after_first_response": onStub(interop.DoCancelAfterFirstResponse),
	"status_code_and_message":     onStub(interop.DoStatusCodeAndMessage),
	"special_status_message":      onStub(interop.DoSpecialStatusMessage),
	"custom_metadata":             onStub(interop.DoCustomMetadata),
	"unimplemented_service": func(ctx context.Context, c *client.Channel) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(c))
	},
	"unimplemented_method": func(ctx context.Context, c *client.Channel) {
		if err := c.Invoke(ctx, "/grpc.testing.TestService/UnimplementedCall", nil, nil); status.Code(err) != codes.Unimplemented {
			panic(err)
		}
	},
}

// connCases are the script's other cases. They want a connection of grpc-go's
// own, with its load balancing: so it has one to a front before our client.
var connCases = map[string]func(ctx context.Context, dial func() (*grpc.ClientConn, func())){
	"orca_per_rpc": onConn(interop.DoORCAPerRPCTest),
	"orca_oob":     onConn(interop.DoORCAOOBTest),
	"rpc_soak": func(ctx context.Context, dial func() (*grpc.ClientConn, func())) {
		conn, done := dial()
		defer done()
		soak(ctx, func() (*grpc.ClientConn, func()) { return conn, func() {} })
	},
	"channel_soak": soak,
}

func onStub(do func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, *client.Channel) {
	return func(ctx context.Context, c *client.Channel) { do(ctx, testgrpc.NewTestServiceClient(c)) }
}

func onConn(do func(context.Context, testgrpc.TestServiceClient)) func(context.Context, func() (*grpc.ClientConn, func())) {
	return func(ctx context.Context, dial func() (*grpc.ClientConn, func())) {
		conn, done := dial()
		defer done()
		do(ctx, testgrpc.NewTestServiceClient(conn))
	}
}

// soak has the script's settings, but no limit of time.
func soak(ctx context.Context, dial func() (*grpc.ClientConn, func())) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize: 271828, ResponseSize: 314159, NumWorkers: 1, Iterations: 10,
		PerIterationMaxAcceptableLatency: time.Minute, OverallTimeout: time.Minute, ChannelForTest: dial,
	})
}

// asInterop makes the test binary be gRPC's interop client, which ends its
// process at the first failure: URL and transport.
const asInterop = "BRIDGE_TEST_AS_INTEROP"

// TestInterop runs the 18 cases of gRPC's interop script through "bridge serve".
func TestInterop(t *testing.T) {
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", interopServer(t))
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), asInterop+"="+transport+" "+p.url)
			out, err := cmd.CombinedOutput()
			if passed := strings.Count(string(out), "passed: "); err != nil || passed != 18 {
				t.Errorf("%d of 18 cases passed, %v:\n%s", passed, err, out)
			}
		})
	}
}

func runInterop(setting string) {
	transport, url, _ := strings.Cut(setting, " ")
	newChannel := func() *client.Channel {
		channel, err := client.New(url, client.Config{Transports: []string{transport}})
		if err != nil {
			panic(err)
		}
		return channel
	}
	ctx := context.Background()
	channel := newChannel()
	for name, run := range interopCases {
		run(ctx, channel)
		fmt.Println("passed:", name)
	}
	if err := channel.Close(); err != nil {
		panic(err)
	}
	for name, run := range connCases {
		run(ctx, func() (*grpc.ClientConn, func()) { return dialFront(newChannel()) })
		fmt.Println("passed:", name)
	}
}

// dialFront returns a connection to a server that passes every RPC on to the
// channel, and what closes both and the channel.
func dialFront(channel *client.Channel) (*grpc.ClientConn, func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		return passOn(stream, channel)
	}))
	go server.Serve(listener)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`))
	if err != nil {
		panic(err)
	}
	return conn, func() {
		conn.Close()
		server.Stop()
		channel.Close()
	}
}

func passOn(down grpc.ServerStream, channel *client.Channel) error {
	method, _ := grpc.MethodFromServerStream(down)
	md, _ := metadata.FromIncomingContext(down.Context())
	up, err := channel.NewStream(metadata.NewOutgoingContext(down.Context(), md),
		&grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return err
	}
	go func() {
		for copyMessage(up, down) == nil {
		}
		up.CloseSend()
	}()
	if header, _ := up.Header(); header != nil {
		if err := down.SendHeader(header); err != nil {
			return err
		}
	}
	for err == nil {
		err = copyMessage(down, up)
	}
	down.SetTrailer(up.Trailer())
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func copyMessage(to, from interface {
	SendMsg(any) error
	RecvMsg(any) error
},
) error {
	var message []byte
	if err := from.RecvMsg(&message); err != nil {
		return err
	}
	return to.SendMsg(&message)
}

// rawCodec leaves messages as they are: each is a *[]byte.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
