package connecttransport_test

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"slices"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/grpc/codes"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/client/connecttransport"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// newClient is a client of connect-go's to the test service behind a bridge.
func newClient(t *testing.T, transport string) *connect.Client {
	t.Helper()
	svc := testsvc.New()
	srv, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{GRPCServer: svc.GRPC}}})
	if err != nil {
		t.Fatal(err)
	}
	listener := httptest.NewServer(srv)
	channel, err := client.New(listener.URL, client.Config{Transports: []string{transport}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		channel.Close()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		listener.Close()
		svc.Stop()
	})
	return connect.NewClient(connecttransport.New(channel))
}

var script = &echopb.Script{
	Replies: 3, Reflect: true,
	Headers:  []*echopb.Pair{{Key: "h", Value: []byte("1")}, {Key: "h-bin", Value: []byte("\x00\x01")}},
	Trailers: []*echopb.Pair{{Key: "t-bin", Value: []byte("\xfe")}},
}

// TestKinds makes an RPC of each kind over each transport, with metadata both
// ways.
func TestKinds(t *testing.T) {
	for _, transport := range []string{"ws", "longpoll"} {
		c := newClient(t, transport)
		for method, tt := range map[string]struct {
			kind              connect.StreamType
			requests, replies int
		}{
			echopb.Echo_Unary_FullMethodName:        {connect.StreamTypeUnary, 1, 1},
			echopb.Echo_ServerStream_FullMethodName: {connect.StreamTypeServer, 1, 3},
			echopb.Echo_ClientStream_FullMethodName: {connect.StreamTypeClient, 4, 1},
			echopb.Echo_Bidi_FullMethodName:         {connect.StreamTypeBidi, 4, 4},
		} {
			ctx, info := connect.NewClientContext(t.Context())
			info.RequestHeader().Add("A", "1")
			info.RequestHeader().Add("Raw-Bin", connect.EncodeBinaryHeader([]byte("\x00\xff")))
			stream, err := c.CallClientStream(ctx, connect.Spec{Procedure: method, StreamType: tt.kind})
			if err != nil {
				t.Fatal(err)
			}
			for i := range tt.requests {
				request := testsvc.Request(uint64(i+1), 1000)
				if i == 0 {
					request.Script = script
				}
				if err := stream.Send(request); err != nil {
					t.Fatal(err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			var replies []*echopb.Reply
			for {
				reply := new(echopb.Reply)
				if err = stream.Receive(reply); err != nil {
					break
				}
				replies = append(replies, reply)
			}
			if !errors.Is(err, io.EOF) || len(replies) != tt.replies {
				t.Errorf("%s over %s: %d replies, want %d, then %v", method, transport, len(replies), tt.replies, err)
				continue
			}
			md := map[string][]string{}
			for _, p := range replies[0].GetMetadata() {
				md[p.GetKey()] = append(md[p.GetKey()], string(p.GetValue()))
			}
			if !slices.Equal(md["a"], []string{"1"}) || !slices.Equal(md["raw-bin"], []string{"\x00\xff"}) {
				t.Errorf("%s over %s: the backend got %q", method, transport, md)
			}
			if h, b, tr := info.ResponseHeader().Get("H"), info.ResponseHeader().Get("H-Bin"), info.ResponseTrailer().Get("T-Bin"); h != "1" || b != "AAE" || tr != "/g" {
				t.Errorf("%s over %s: headers %q and %q, trailer %q", method, transport, h, b, tr)
			}
			if err := stream.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestUnary is what generated code does.
func TestUnary(t *testing.T) {
	c := newClient(t, "longpoll")
	spec := connect.Spec{Procedure: echopb.Echo_Unary_FullMethodName, StreamType: connect.StreamTypeUnary}
	reply := new(echopb.Reply)
	if err := c.CallUnary(t.Context(), spec, testsvc.Request(1, 10), reply); err != nil {
		t.Fatal(err)
	}
	if err := testsvc.Check(reply, 1, 10); err != nil {
		t.Error(err)
	}
	err := c.CallUnary(t.Context(), spec, &echopb.Request{Script: &echopb.Script{
		Status: uint32(codes.NotFound), Message: "gone", Details: []*echopb.Pair{{Key: "k", Value: []byte("x")}},
	}}, reply)
	told, ok := errors.AsType[*connect.Error](err)
	if !ok || told.Code() != connect.CodeNotFound || told.Message() != "gone" || !told.IsRemote() || len(told.Details()) != 1 || told.Details()[0].Type != "pollbridge.test.v1.Pair" {
		t.Errorf("got %v", err)
	}
	bad, info := connect.NewClientContext(t.Context())
	info.RequestHeader().Set("A-Bin", "*")
	if err := c.CallUnary(bad, spec, testsvc.Request(1, 10), reply); connect.CodeOf(err) != connect.CodeInternal {
		t.Errorf("a header that is no base64: %v", err)
	}
}

// TestClose: who closes a stream ends its RPC at the backend.
func TestClose(t *testing.T) {
	c := newClient(t, "ws")
	stream, err := c.CallServerStream(t.Context(), connect.Spec{Procedure: echopb.Echo_ServerStream_FullMethodName, StreamType: connect.StreamTypeServer},
		&echopb.Request{Script: &echopb.Script{Replies: 1, Hang: true}})
	if err != nil {
		t.Fatal(err)
	}
	reply := new(echopb.Reply)
	if err := stream.Receive(reply); err != nil {
		t.Fatal(err)
	}
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	if err := stream.Receive(reply); connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("after Close: %v", err)
	}
}
