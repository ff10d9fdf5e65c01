package testsvc

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// Server is a grpc.Server with a Service on it.
type Server struct {
	*Service
	GRPC *grpc.Server
	Addr string // "127.0.0.1:port"; empty when not listening on TCP

	done sync.WaitGroup
}

// New makes a Server that does not listen yet.
func New(opts ...grpc.ServerOption) *Server {
	s := &Server{Service: new(Service), GRPC: grpc.NewServer(opts...)}
	echopb.RegisterEchoServer(s.GRPC, s.Service)
	return s
}

// Listen makes a Server that listens on 127.0.0.1 or on the given address.
func Listen(addr string, opts ...grpc.ServerOption) (*Server, error) {
	l, err := net.Listen("tcp", cmp.Or(addr, "127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	s := New(opts...)
	s.Addr = l.Addr().String()
	s.Serve(l)
	return s, nil
}

// Serve serves on l until Stop.
func (s *Server) Serve(l net.Listener) {
	s.done.Go(func() { _ = s.GRPC.Serve(l) })
}

// Stop ends every RPC and waits for the server.
func (s *Server) Stop() {
	s.GRPC.Stop()
	s.done.Wait()
}

// Payload is n bytes that tell which message they are of: no two numbers have
// the same, and no piece of one looks like another piece.
func Payload(number uint64, n int) []byte {
	p := make([]byte, 0, n+8)
	for i := uint64(0); len(p) < n; i++ {
		p = binary.BigEndian.AppendUint64(p, number*0x9e3779b97f4a7c15+i)
	}
	return p[:n]
}

// Request is the numbered request with n bytes of payload.
func Request(number uint64, n int) *echopb.Request {
	return &echopb.Request{Number: number, Payload: Payload(number, n)}
}

// Check tells whether the reply is the numbered one with n bytes of payload.
func Check(r *echopb.Reply, number uint64, n int) error {
	if r.GetNumber() != number {
		return fmt.Errorf("got reply %d, want %d", r.GetNumber(), number)
	}
	if !bytes.Equal(r.GetPayload(), Payload(number, n)) {
		return fmt.Errorf("reply %d: payload of %d bytes is not the %d expected", number, len(r.GetPayload()), n)
	}
	return nil
}

func toMD(pairs []*echopb.Pair) metadata.MD {
	md := metadata.MD{}
	for _, p := range pairs {
		md.Append(p.GetKey(), string(p.GetValue()))
	}
	return md
}

// fromMD lists metadata by key.
func fromMD(md metadata.MD) []*echopb.Pair {
	var pairs []*echopb.Pair
	for key, values := range md {
		for _, v := range values {
			pairs = append(pairs, &echopb.Pair{Key: key, Value: []byte(v)})
		}
	}
	slices.SortStableFunc(pairs, func(a, b *echopb.Pair) int { return cmp.Compare(a.GetKey(), b.GetKey()) })
	return pairs
}
