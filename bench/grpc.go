package main

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Methods of the backend, which echoes.
const (
	unaryMethod    = "/bench.Echo/Unary"
	pingPongMethod = "/bench.Echo/PingPong"
	streamMethod   = "/bench.Echo/Stream" // the request again and again, until it is cancelled
	quietMethod    = "/bench.Echo/Quiet"  // the request once, then silence
	sinkMethod     = "/bench.Echo/Sink"   // an empty answer, whatever the request
	drainMethod    = "/bench.Echo/Drain"  // takes whatever comes
	sourceMethod   = "/bench.Echo/Source" // as many bytes as the request says in decimal
)

type message = wrapperspb.BytesValue

func newBackend() *grpc.Server {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(32<<20), grpc.MaxSendMsgSize(32<<20))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.Echo",
		Methods: []grpc.MethodDesc{
			unaryHandler("Unary", func(m *message) {}),
			unaryHandler("Read", func(m *message) {}), // declared to have no side effects
			unaryHandler("Sink", func(m *message) { m.Value = nil }),
			unaryHandler("Source", func(m *message) {
				n, _ := strconv.Atoi(string(m.Value)) // 0 shows at the other end
				m.Value = make([]byte, n)
			}),
		},
		Streams: []grpc.StreamDesc{
			{
				StreamName: "PingPong", ServerStreams: true, ClientStreams: true,
				Handler: func(_ any, stream grpc.ServerStream) error { return pump[message](stream, stream) },
			},
			{StreamName: "Stream", ServerStreams: true, Handler: repeat},
			{StreamName: "Drain", ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) (err error) {
				for m := new(message); err == nil; err = stream.RecvMsg(m) {
				}
				return err
			}},
			{StreamName: "Quiet", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
				m := new(message)
				if err := errors.Join(stream.RecvMsg(m), stream.SendMsg(m)); err != nil {
					return err
				}
				<-stream.Context().Done()
				return nil
			}},
		},
	}, nil)
	return server
}

func unaryHandler(name string, answer func(m *message)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			m := new(message)
			if err := decode(m); err != nil {
				return nil, err
			}
			answer(m)
			return m, nil
		},
	}
}

func repeat(_ any, stream grpc.ServerStream) error {
	m := new(message)
	err := stream.RecvMsg(m)
	for err == nil {
		err = stream.SendMsg(m)
	}
	return err
}

// serveProxy serves what a transparent proxy in Go costs at the least: any
// method, bytes passed on by reference, one connection to the backend.
func serveProxy(lis net.Listener, backend string) error {
	conn, err := dialGRPC(backend)
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
	return grpc.NewServer(grpc.UnknownServiceHandler(forward), grpc.ForceServerCodecV2(raw{})).Serve(lis)
}

func dialGRPC(addr string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
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
