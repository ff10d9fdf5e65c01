package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pollbridge/pollbridge/bridge"
)

// roleArg is the first argument of a child; its role and the server's address
// follow.
const roleArg = "role"

func isRole(args []string) bool { return len(args) > 2 && args[1] == roleArg }

// serveRole is a child's main: it prints its address, then what it has used
// for each line that it reads, until its stdin ends.
func serveRole(args []string) {
	role, backend := args[0], args[1]
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		switch role {
		case "server":
			go newServer().Serve(lis)
		case "proxy":
			err = serveProxy(lis, backend)
		case "bridge":
			err = serveBridge(lis, backend)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", role, err)
		os.Exit(1)
	}
	fmt.Println(lis.Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		u := ownUsage()
		fmt.Println(int64(u.cpu), u.mallocs)
	}
}

func ownUsage() usage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{time.Duration(r.Utime.Nano() + r.Stime.Nano()), m.Mallocs}
}

func serveBridge(lis net.Listener, backend string) error {
	server, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: backend}}})
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(lis, server) }() // until the process ends
	return nil
}

// Methods of the server, which echoes.
const (
	unaryMethod    = "/bench.Echo/Unary"
	pingPongMethod = "/bench.Echo/PingPong"
)

type message = wrapperspb.BytesValue

func newServer() *grpc.Server {
	server := grpc.NewServer()
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		Methods: []grpc.MethodDesc{{
			MethodName: "Unary",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				m := new(message)
				return m, decode(m)
			},
		}},
		Streams: []grpc.StreamDesc{{
			StreamName: "PingPong", ServerStreams: true, ClientStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return pump[message](stream, stream) },
		}},
	}, nil)
	return server
}

// serveProxy serves what a transparent proxy in Go costs at the least: any
// method, bytes passed on by reference, one connection to the server.
func serveProxy(lis net.Listener, backend string) error {
	conn, err := grpc.NewClient("passthrough:"+backend, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	forward := func(_ any, in grpc.ServerStream) error {
		method, ok := grpc.MethodFromServerStream(in)
		if !ok {
			return status.Error(codes.Internal, "no method")
		}
		ctx, cancel := context.WithCancel(in.Context())
		defer cancel()
		md, _ := metadata.FromIncomingContext(ctx)
		desc := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
		out, err := conn.NewStream(metadata.NewOutgoingContext(ctx, md), desc, method, grpc.ForceCodecV2(raw{}))
		if err != nil {
			return err
		}
		go func() {
			if err := errors.Join(pump[frame](out, in), out.CloseSend()); err != nil {
				cancel()
			}
		}()
		err = pump[frame](in, out)
		in.SetTrailer(out.Trailer())
		return err
	}
	go grpc.NewServer(grpc.UnknownServiceHandler(forward), grpc.ForceServerCodecV2(raw{})).Serve(lis)
	return nil
}

// pump copies messages until from ends.
func pump[T any](to interface{ SendMsg(any) error }, from interface{ RecvMsg(any) error }) error {
	for {
		m := new(T)
		if err := from.RecvMsg(m); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := to.SendMsg(m); err != nil {
			return err
		}
	}
}

// frame is a message unread.
type frame struct{ data mem.BufferSlice }

// raw is a codec that passes bytes on.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) { return v.(*frame).data, nil }

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	data.Ref()
	v.(*frame).data = data
	return nil
}
