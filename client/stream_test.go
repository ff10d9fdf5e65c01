package client_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/wire"
)

var (
	unary  = &grpc.StreamDesc{}
	upload = &grpc.StreamDesc{ClientStreams: true}
	feed   = &grpc.StreamDesc{ServerStreams: true}
	chat   = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
)

func lost(reason string) *wire.End {
	return &wire.End{Status: uint32(codes.Unavailable), Message: "gone; it may have run", Origin: wire.OriginBridge, Reason: reason}
}

func open(t *testing.T, f client.FakeCaller, desc *grpc.StreamDesc, opts ...grpc.CallOption) (grpc.ClientStream, *counter) {
	t.Helper()
	held := &counter{}
	s, err := f.NewStream(t.Context(), desc, append(opts, grpc.ForceCodecV2(bytesCodec{held}))...)
	if err != nil {
		t.Fatal(err)
	}
	return s, held
}

func wantStatus(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	if got := status.Convert(err); err == nil || errors.Is(err, io.EOF) || got.Code() != code || got.Message() != message {
		t.Errorf("error %v; want %v %q", err, code, message)
	}
}

func wantFreed(t *testing.T, held *counter) {
	t.Helper()
	held.Lock()
	defer held.Unlock()
	if held.n != 0 {
		t.Errorf("%d buffers not freed", held.n)
	}
}

func TestUnary(t *testing.T) {
	var header, trailer metadata.MD
	finished := 0
	f := &fakeRPC{
		headers: []wire.Metadatum{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}},
		replies: [][]byte{[]byte("pong")},
		end:     &wire.End{Trailers: []wire.Metadatum{{Key: "t-bin", Value: "\x00\xff"}}},
		sent:    true,
	}
	s, held := open(t, inTurn(t, f), unary, grpc.Header(&header), grpc.Trailer(&trailer), grpc.OnFinish(func(err error) {
		finished++
		if err != nil {
			t.Error(err)
		}
	}))
	if err := s.SendMsg([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	var reply []byte
	if err := s.RecvMsg(&reply); err != nil || string(reply) != "pong" {
		t.Fatalf("%q %v", reply, err)
	}
	if !slices.Equal(f.got, []string{"ping"}) || f.closed != 1 || finished != 1 {
		t.Errorf("sent %q, closed %d times, finished %d times", f.got, f.closed, finished)
	}
	if !reflect.DeepEqual(header, metadata.MD{"a": {"1", "2"}}) || !reflect.DeepEqual(trailer, metadata.MD{"t-bin": {"\x00\xff"}}) {
		t.Errorf("header %v, trailer %v", header, trailer)
	}
	wantFreed(t, held)
	if err := s.RecvMsg(&reply); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestCardinality(t *testing.T) {
	for _, desc := range []*grpc.StreamDesc{unary, upload} {
		none, _ := open(t, inTurn(t, &fakeRPC{end: &wire.End{}, sent: true}), desc)
		wantStatus(t, none.RecvMsg(new([]byte)), codes.Unimplemented, "cardinality violation: received no response message from non-server-streaming RPC")

		f := &fakeRPC{replies: [][]byte{{1}, {2}}, end: &wire.End{}, sent: true}
		two, _ := open(t, inTurn(t, f), desc)
		wantStatus(t, two.RecvMsg(new([]byte)), codes.Unimplemented, "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message")
		if f.cancelled == 0 {
			t.Error("the RPC goes on")
		}

		// A status that is not OK comes first.
		f = &fakeRPC{replies: [][]byte{{1}}, end: &wire.End{Status: 5, Message: "none"}, sent: true}
		bad, _ := open(t, inTurn(t, f), desc)
		wantStatus(t, bad.RecvMsg(new([]byte)), codes.NotFound, "none")
	}
	s, _ := open(t, inTurn(t, &fakeRPC{end: &wire.End{}, sent: true}), feed)
	if err := s.RecvMsg(new([]byte)); !errors.Is(err, io.EOF) {
		t.Errorf("an empty feed: %v", err)
	}
}

func TestLimits(t *testing.T) {
	f := &fakeRPC{replies: [][]byte{make([]byte, 11)}, end: &wire.End{}, sent: true}
	s, held := open(t, inTurn(t, f), chat, grpc.MaxCallRecvMsgSize(10), grpc.MaxCallSendMsgSize(3))
	if err := s.SendMsg([]byte("abc")); err != nil {
		t.Error(err)
	}
	wantStatus(t, s.RecvMsg(new([]byte)), codes.ResourceExhausted, "grpc: received message larger than max (11 vs. 10)")
	if f.cancelled == 0 {
		t.Error("the RPC goes on")
	}
	wantFreed(t, held)

	f = &fakeRPC{silent: true, sent: true}
	s, held = open(t, inTurn(t, f), chat, grpc.MaxCallSendMsgSize(3))
	wantStatus(t, s.SendMsg([]byte("abcd")), codes.ResourceExhausted, "trying to send message larger than max (4 vs. 3)")
	wantStatus(t, s.RecvMsg(new([]byte)), codes.ResourceExhausted, "trying to send message larger than max (4 vs. 3)")
	if f.cancelled == 0 {
		t.Error("the RPC goes on")
	}
	wantFreed(t, held)
}

func TestSendAfterCloseSend(t *testing.T) {
	s, _ := open(t, inTurn(t, &fakeRPC{silent: true, sent: true}), chat)
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	wantStatus(t, s.SendMsg([]byte("x")), codes.Internal, "SendMsg called after CloseSend")
}

func TestSendAfterEnd(t *testing.T) {
	s, held := open(t, inTurn(t, &fakeRPC{end: &wire.End{Status: 9, Message: "no"}, sent: true}), chat)
	wantStatus(t, s.RecvMsg(new([]byte)), codes.FailedPrecondition, "no")
	if err := s.SendMsg([]byte("x")); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want EOF", err)
	}
	wantStatus(t, s.RecvMsg(new([]byte)), codes.FailedPrecondition, "no")
	wantFreed(t, held)
}

// RPCs of which nothing was sent move to the next session with all that was
// said; the others end (rule E2).
func TestMove(t *testing.T) {
	second := &fakeRPC{replies: [][]byte{[]byte("sum")}, end: &wire.End{}, sent: true}
	first := &fakeRPC{}
	s, held := open(t, inTurn(t, first, second), upload)
	for _, m := range []string{"a", "b"} {
		if err := s.SendMsg([]byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	first.end = lost("unknown_session")
	if err := s.SendMsg([]byte("c")); err != nil { // finds the session gone
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	var sum []byte
	if err := s.RecvMsg(&sum); err != nil || string(sum) != "sum" {
		t.Errorf("%q %v", sum, err)
	}
	if !slices.Equal(second.got, []string{"a", "b", "c"}) || second.closed != 1 {
		t.Errorf("second attempt got %q, closed %d times", second.got, second.closed)
	}
	wantFreed(t, held)
}

func TestMoveFromRecvAndHeader(t *testing.T) {
	for _, useHeader := range []bool{false, true} {
		second := &fakeRPC{headers: []wire.Metadatum{{Key: "k", Value: "v"}}, replies: [][]byte{[]byte("1")}, end: &wire.End{}, sent: true}
		first := &fakeRPC{}
		s, held := open(t, inTurn(t, first, second), feed)
		if err := s.SendMsg([]byte("go")); err != nil {
			t.Fatal(err)
		}
		first.end = lost("bridge_restarted")
		if useHeader {
			if md, err := s.Header(); err != nil || !reflect.DeepEqual(md, metadata.MD{"k": {"v"}}) {
				t.Errorf("%v %v", md, err)
			}
		}
		var got []byte
		if err := s.RecvMsg(&got); err != nil || string(got) != "1" {
			t.Errorf("%q %v", got, err)
		}
		if !slices.Equal(second.got, []string{"go"}) || second.closed != 1 {
			t.Errorf("second attempt got %q, closed %d times", second.got, second.closed)
		}
		if err := s.RecvMsg(&got); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		wantFreed(t, held)
	}
}

func TestNoMove(t *testing.T) {
	for _, tt := range []struct {
		name    string
		first   *fakeRPC
		opts    []grpc.CallOption
		code    codes.Code
		message string
	}{
		{"sent", &fakeRPC{end: lost("expired"), sent: true}, nil, codes.Unavailable, "gone; it may have run"},
		{"backend", &fakeRPC{end: &wire.End{Status: 14, Message: "down", Reason: "expired"}}, nil, codes.Unavailable, "down"},
		{"protocol violation", &fakeRPC{end: lost("protocol_violation")}, nil, codes.Unavailable, "gone; it may have run"},
		{"unauthenticated", &fakeRPC{end: lost("unauthenticated")}, nil, codes.Unauthenticated, "pollbridge: unauthenticated: gone; it may have run"},
		{"delivered", &fakeRPC{end: lost("expired"), sent: true, replies: [][]byte{{1}}}, []grpc.CallOption{client.Idempotent()}, codes.Unavailable, "gone; it may have run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			delivered := len(tt.first.replies)
			s, held := open(t, inTurn(t, tt.first), feed, tt.opts...)
			if err := s.SendMsg([]byte("go")); err != nil {
				t.Fatal(err)
			}
			for range delivered {
				if err := s.RecvMsg(new([]byte)); err != nil {
					t.Error(err)
				}
			}
			wantStatus(t, s.RecvMsg(new([]byte)), tt.code, tt.message)
			wantFreed(t, held)
		})
	}
}

// An RPC that is harmless to run twice is sent again as long as nothing came
// back.
func TestIdempotentMoves(t *testing.T) {
	first := &fakeRPC{sent: true}
	second := &fakeRPC{replies: [][]byte{[]byte("1")}, end: &wire.End{}, sent: true}
	s, held := open(t, inTurn(t, first, second), unary, client.Idempotent())
	if err := s.SendMsg([]byte("go")); err != nil {
		t.Fatal(err)
	}
	first.end = lost("expired")
	var got []byte
	if err := s.RecvMsg(&got); err != nil || string(got) != "1" || !slices.Equal(second.got, []string{"go"}) {
		t.Errorf("%q %v, second attempt got %q", got, err, second.got)
	}
	wantFreed(t, held)
}

// Without WaitForReady an RPC does not wander from session to session for ever.
func TestMovesEnd(t *testing.T) {
	opened := 0
	always := client.FakeCaller(func(context.Context, wire.Open) (client.RPC, error) {
		opened++
		return &fakeRPC{end: lost("drained")}, nil
	})
	s, _ := open(t, always, unary)
	wantStatus(t, s.RecvMsg(new([]byte)), codes.Unavailable, "gone; it may have run")
	if opened != 4 {
		t.Errorf("%d attempts", opened)
	}
}

// A message that could not be queued must not be missing from a later attempt.
func TestNoMoveAfterRefusedMessage(t *testing.T) {
	first := &fakeRPC{end: lost("protocol_violation")}
	s, held := open(t, inTurn(t, first), upload)
	if err := s.SendMsg([]byte("a")); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want EOF", err)
	}
	first.end = lost("expired")
	wantStatus(t, s.RecvMsg(new([]byte)), codes.Unavailable, "gone; it may have run")
	wantFreed(t, held)
}

func TestContextEnds(t *testing.T) {
	for _, tt := range []struct {
		code    codes.Code
		message string
		derive  func(context.Context) (context.Context, context.CancelFunc)
	}{
		{codes.Canceled, "context canceled", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			time.AfterFunc(time.Second, func() { cancel(errors.New("a cause that grpc does not show")) })
			return ctx, func() { cancel(nil) }
		}},
		{codes.DeadlineExceeded, "context deadline exceeded", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := tt.derive(t.Context())
			defer cancel()
			f := &fakeRPC{silent: true, sent: true}
			var finished error
			s, err := inTurn(t, f).NewStream(ctx, chat, grpc.OnFinish(func(err error) { finished = err }))
			if err != nil {
				t.Fatal(err)
			}
			// Nobody receives: the stream is abandoned, and ends all the same.
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if f.cancelled == 0 || s.Context().Err() == nil {
				t.Errorf("cancelled %d times, context %v", f.cancelled, s.Context().Err())
			}
			wantStatus(t, finished, tt.code, tt.message)
			wantStatus(t, s.RecvMsg(nil), tt.code, tt.message)
			if err := s.SendMsg(nil); !errors.Is(err, io.EOF) {
				t.Errorf("%v, want EOF", err)
			}
			if _, err := inTurn(t).NewStream(ctx, chat); status.Code(err) != tt.code {
				t.Errorf("a new RPC: %v", err)
			}
		})
	}
}

func TestDeadlineTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		f := &fakeRPC{end: &wire.End{}, sent: true}
		if _, err := inTurn(t, f).NewStream(ctx, chat); err != nil {
			t.Fatal(err)
		}
		if !f.open.HasTimeout || f.open.TimeoutMicros != 1_500_000 {
			t.Errorf("timeout %v %d µs", f.open.HasTimeout, f.open.TimeoutMicros)
		}
		synctest.Wait()
	})
}

func TestDetails(t *testing.T) {
	detail, err := anypb.New(durationpb.New(3 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	full := &spb.Status{Code: 3, Message: "bad", Details: []*anypb.Any{detail}}
	raw, err := proto.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	end := &wire.End{Status: 3, Message: "bad", Details: raw}
	if got := status.Convert(client.EndError(end, true)).Proto(); !proto.Equal(got, full) {
		t.Errorf("%v", got)
	}
	if got := client.EndTrailer(end); !reflect.DeepEqual(got, metadata.MD{"grpc-status-details-bin": {string(raw)}}) {
		t.Errorf("trailer %v", got)
	}
	if got := client.EndTrailer(&wire.End{}); got != nil {
		t.Errorf("trailer %v", got)
	}
	if got := status.Convert(client.EndError(&wire.End{Status: 4, Message: "bad", Details: raw}, true)); got.Code() != codes.Internal {
		t.Errorf("codes that differ: %v", got)
	}
	wantStatus(t, client.EndError(&wire.End{Status: 3, Message: "bad", Details: []byte{255}}, true), codes.InvalidArgument, "bad")
	wantStatus(t, client.EndError(&wire.End{Status: 99, Message: "odd"}, true), codes.Code(99), "odd")
	if err := client.EndError(&wire.End{}, true); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
