package bridge_test

import (
	"context"
	"io"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// unaryStream gives one request and takes what comes.
type unaryStream struct {
	request []byte
	sent    bool
}

func (s *unaryStream) Recv(context.Context) (engine.Message, error) {
	if s.sent {
		return engine.Message{}, io.EOF
	}
	s.sent = true
	return engine.Message{Pieces: [][]byte{s.request}}, nil
}
func (s *unaryStream) Send(context.Context, engine.Message) error { return nil }
func (s *unaryStream) SendHeaders([]wire.Metadatum) error         { return nil }

// BenchmarkProxy_unary is the bridge's part of a unary RPC and the backend,
// without session and transport.
func BenchmarkProxy_unary(b *testing.B) {
	svc := testsvc.New()
	defer svc.Stop()
	srv, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{GRPCServer: svc.GRPC}}})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Shutdown(context.Background())
	request, err := proto.Marshal(testsvc.Request(1, 100))
	if err != nil {
		b.Fatal(err)
	}
	open := &wire.Open{Method: echopb.Echo_Unary_FullMethodName, SingleRequest: true, SingleResponse: true, WaitForReady: true}
	b.ReportAllocs()
	for b.Loop() {
		if end := srv.RunRPC(b.Context(), &unaryStream{request: request}, open); end.Status != 0 {
			b.Fatal(end)
		}
	}
}
