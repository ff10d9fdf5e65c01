package answer

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pollbridge/pollbridge/internal/netcheck"
)

// maxAnswers is the most messages of a response of Server, and the most bytes of a
// response of Client.
const maxAnswers = 64 << 10

// message is the type of all requests and responses.
type message = wrapperspb.BytesValue

// Register registers the service netcheck.Service.
func Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: netcheck.Service,
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: unary}},
		Streams: []grpc.StreamDesc{
			{StreamName: "Server", Handler: serverStream, ServerStreams: true},
			{StreamName: "Client", Handler: clientStream, ClientStreams: true},
			{StreamName: "Bidi", Handler: bidi, ServerStreams: true, ClientStreams: true},
		},
	}, struct{}{})
}

func unary(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	m := &message{}
	return m, decode(m)
}

func serverStream(_ any, stream grpc.ServerStream) error {
	var m message
	if err := stream.RecvMsg(&m); err != nil {
		return err
	}
	for _, b := range m.GetValue()[:min(len(m.GetValue()), maxAnswers)] {
		if err := stream.SendMsg(wrapperspb.Bytes([]byte{b})); err != nil {
			return err
		}
	}
	return nil
}

func clientStream(_ any, stream grpc.ServerStream) error {
	all := &message{}
	for {
		var m message
		err := stream.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			return stream.SendMsg(all)
		}
		if err != nil {
			return err
		}
		if len(all.GetValue())+len(m.GetValue()) > maxAnswers {
			return status.Errorf(codes.ResourceExhausted, "requests exceed the limit of %d bytes", maxAnswers)
		}
		all.Value = append(all.GetValue(), m.GetValue()...)
	}
}

func bidi(_ any, stream grpc.ServerStream) error {
	for {
		var m message
		err := stream.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.SendMsg(&m); err != nil {
			return err
		}
	}
}
