package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// outcome is all that a caller can see of an RPC.
type outcome struct {
	replies         []*echopb.Reply
	status          *status.Status
	eof             bool
	header, trailer metadata.MD
}

func (o outcome) String() string {
	return fmt.Sprintf("%d replies, status %v (eof %v)\nheader %#v\ntrailer %#v", len(o.replies), o.status.Proto(), o.eof, o.header, o.trailer)
}

func same(a, b outcome) bool {
	return proto.Equal(a.status.Proto(), b.status.Proto()) && a.eof == b.eof &&
		reflect.DeepEqual(a.header, b.header) && reflect.DeepEqual(a.trailer.Copy(), b.trailer.Copy()) &&
		slices.EqualFunc(a.replies, b.replies, func(x, y *echopb.Reply) bool { return proto.Equal(x, y) })
}

// runUnary and runBidi tell what a caller sees of one RPC.
func runUnary(ctx context.Context, c grpc.ClientConnInterface, req *echopb.Request, opts ...grpc.CallOption) (o outcome) {
	var header, trailer metadata.MD
	reply, err := echopb.NewEchoClient(c).Unary(ctx, req, append(opts, grpc.Header(&header), grpc.Trailer(&trailer))...)
	o.header, o.trailer, o.status = header, trailer, status.Convert(err)
	if err == nil {
		o.replies = append(o.replies, reply)
	}
	return o
}

func runBidi(ctx context.Context, c grpc.ClientConnInterface, req *echopb.Request, opts ...grpc.CallOption) (o outcome) {
	s, err := echopb.NewEchoClient(c).Bidi(ctx, opts...)
	if err != nil {
		o.status = status.Convert(err)
		return o
	}
	if err := s.Send(req); err != nil && !errors.Is(err, io.EOF) {
		o.status = status.Convert(err)
		return o
	}
	s.CloseSend()
	o.header, _ = s.Header()
	for {
		reply, err := s.Recv()
		if err != nil {
			o.eof = errors.Is(err, io.EOF)
			if !o.eof {
				o.status = status.Convert(err)
			}
			o.trailer = s.Trailer()
			return o
		}
		o.replies = append(o.replies, reply)
	}
}

func allBytes() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// normal leaves out what is the channel's own, the software's name and what it
// can decompress, and what even a native channel says now so, now so: how much
// came before an RPC was given up, and who noticed its deadline first.
func normal(o outcome) outcome {
	switch o.status.Code() {
	case codes.DeadlineExceeded:
		return outcome{status: status.New(codes.DeadlineExceeded, "")}
	case codes.Canceled:
		return outcome{status: o.status}
	}
	for _, r := range o.replies {
		r.Metadata = slices.DeleteFunc(r.Metadata, func(p *echopb.Pair) bool {
			return slices.Contains([]string{"user-agent", "x-user-agent", ":authority", "grpc-accept-encoding"}, p.GetKey())
		})
		r.TimeoutMs = r.GetTimeoutMs() / 5000 // to five seconds
	}
	return o
}

// TestParity compares what a caller sees through a bridge with what it sees on
// a native channel.
func TestParity(t *testing.T) {
	backend, err := testsvc.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Stop)
	server := httptest.NewServer(newBridge(t, backend.Addr))
	t.Cleanup(server.Close)
	direct, err := grpc.NewClient(backend.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { direct.Close() })

	type call struct {
		name string
		ctx  func(context.Context) context.Context
		req  *echopb.Request
		opts []grpc.CallOption
	}
	plain := func(ctx context.Context) context.Context { return ctx }
	within := func(d time.Duration) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context {
			ctx, cancel := context.WithTimeout(ctx, d)
			t.Cleanup(cancel)
			return ctx
		}
	}
	calls := []call{
		{"empty", plain, &echopb.Request{}, nil},
		{"nothing", plain, nil, nil},
		{"metadata", func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "Key", "a", "key", "", "key", "b", "x-bin", string(allBytes()), "x-bin", "", "traceparent", "00-1", "authorization", "Bearer x")
		}, &echopb.Request{Script: &echopb.Script{Reflect: true, HeadersFirst: true,
			Headers:  []*echopb.Pair{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}, {Key: "h-bin", Value: allBytes()}, {Key: "e", Value: nil}},
			Trailers: []*echopb.Pair{{Key: "t", Value: []byte("1")}, {Key: "t", Value: []byte("2")}, {Key: "t-bin", Value: allBytes()}, {Key: "t-bin", Value: nil}},
		}}, nil},
		{"illegal key", func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "a b", "c")
		}, &echopb.Request{}, nil},
		{"illegal value", func(ctx context.Context) context.Context {
			return metadata.AppendToOutgoingContext(ctx, "ab", "\x7f")
		}, &echopb.Request{}, nil},
		{"deadline told", within(28 * time.Second), &echopb.Request{Script: &echopb.Script{Reflect: true}}, nil},
		{"deadline", within(50 * time.Millisecond), &echopb.Request{Script: &echopb.Script{Hang: true}}, nil},
		{"deadline passed", within(-1), &echopb.Request{}, nil},
		{"cancelled before", func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(errors.New("cause"))
			return ctx
		}, &echopb.Request{}, nil},
		{"cancelled", func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx
		}, &echopb.Request{Script: &echopb.Script{Hang: true}}, nil},
		{"gzip", plain, testsvc.Request(1, 20_000), []grpc.CallOption{grpc.UseCompressor("gzip")}},
		{"gzip back", plain, &echopb.Request{Payload: make([]byte, 5000), Script: &echopb.Script{Compression: "gzip"}}, nil},
		{"1 MiB", plain, testsvc.Request(1, 1<<20), nil},
		{"over the receive limit", plain, testsvc.Request(1, 1000), []grpc.CallOption{grpc.MaxCallRecvMsgSize(1000)}},
		{"over the send limit", plain, testsvc.Request(1, 1000), []grpc.CallOption{grpc.MaxCallSendMsgSize(1000)}},
		{"over 4 MiB", plain, &echopb.Request{Script: &echopb.Script{ReplyBytes: 4<<20 + 1}}, nil},
		{"over the server's limit", plain, testsvc.Request(1, 5<<20), nil},
		{"headers and an error", plain, &echopb.Request{Script: &echopb.Script{HeadersFirst: true, Status: 5, Message: "none",
			Headers: []*echopb.Pair{{Key: "h", Value: []byte("1")}}, Trailers: []*echopb.Pair{{Key: "t", Value: []byte("1")}}}}, nil},
		{"16 MiB", plain, &echopb.Request{Script: &echopb.Script{ReplyBytes: 16<<20 - 100}}, []grpc.CallOption{grpc.MaxCallRecvMsgSize(16 << 20)}},
		{"content-subtype", plain, &echopb.Request{}, []grpc.CallOption{grpc.CallContentSubtype("Proto")}},
		{"compressor unknown", plain, &echopb.Request{}, []grpc.CallOption{grpc.UseCompressor("nonesuch")}},
		{"compressor identity", plain, &echopb.Request{}, []grpc.CallOption{grpc.UseCompressor("identity")}},
		{"content-subtype unknown", plain, &echopb.Request{}, []grpc.CallOption{grpc.CallContentSubtype("nonesuch")}},
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		calls = append(calls,
			call{"status " + code.String(), plain, &echopb.Request{Script: &echopb.Script{Status: uint32(code), Message: "näin \u2028 % \n"}}, nil},
			call{"details " + code.String(), plain, &echopb.Request{Script: &echopb.Script{Status: uint32(code), Message: strings.Repeat("ä", 2000),
				Details: []*echopb.Pair{{Key: "k", Value: allBytes()}}, Trailers: []*echopb.Pair{{Key: "t", Value: []byte("v")}}}}, nil})
	}
	for _, way := range []string{"ws", "longpoll"} {
		bridged, err := client.New(server.URL, client.Config{Transports: []string{way}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			for kind, run := range map[string]func(context.Context, grpc.ClientConnInterface, *echopb.Request, ...grpc.CallOption) outcome{"unary": runUnary, "bidi": runBidi} {
				t.Run(way+"/"+kind+"/"+c.name, func(t *testing.T) {
					want := normal(run(c.ctx(t.Context()), direct, c.req, c.opts...))
					got := normal(run(c.ctx(t.Context()), bridged, c.req, c.opts...))
					if !same(got, want) {
						t.Errorf("through the bridge: %s\n\ndirectly: %s", got, want)
					}
				})
			}
		}
		if err := bridged.Close(); err != nil {
			t.Error(err)
		}
	}
}
