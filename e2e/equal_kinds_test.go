package e2e_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // for UseCompressor, and as the bridge has it
	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// kinds run one RPC of each kind, and write down what its caller sees.
var kinds = map[string]func(context.Context, grpc.ClientConnInterface, scenario) *transcript{
	"unary": func(ctx context.Context, cc grpc.ClientConnInterface, sc scenario) *transcript {
		tr := &transcript{}
		opts := append([]grpc.CallOption{grpc.Header(&tr.Header), grpc.Trailer(&tr.Trailer)}, sc.opts...)
		reply, err := echopb.NewEchoClient(cc).Unary(ctx, sc.request(1), opts...)
		if err == nil {
			tr.message(reply)
		}
		tr.end(err)
		return tr
	},
	"server-stream": func(ctx context.Context, cc grpc.ClientConnInterface, sc scenario) *transcript {
		stream, err := echopb.NewEchoClient(cc).ServerStream(ctx, sc.request(1), sc.opts...)
		return receive(stream, err)
	},
	"client-stream": func(ctx context.Context, cc grpc.ClientConnInterface, sc scenario) *transcript {
		stream, err := echopb.NewEchoClient(cc).ClientStream(ctx, sc.opts...)
		if err != nil {
			return failed(err)
		}
		tr := &transcript{}
		for n := range sc.requests {
			if stream.Send(sc.request(n+1)) != nil {
				break
			}
			time.Sleep(sc.pause)
		}
		reply, err := stream.CloseAndRecv()
		if err == nil {
			tr.message(reply)
		}
		tr.finish(stream, err)
		return tr
	},
	"bidi": func(ctx context.Context, cc grpc.ClientConnInterface, sc scenario) *transcript {
		stream, err := echopb.NewEchoClient(cc).Bidi(ctx, sc.opts...)
		if err != nil {
			return failed(err)
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for n := range sc.requests {
				if stream.Send(sc.request(n+1)) != nil {
					return
				}
				time.Sleep(sc.pause)
			}
			_ = stream.CloseSend()
		}()
		tr := receive(stream, nil)
		<-sent
		return tr
	},
}

// scenario is a script for the server and what the caller adds to it.
type scenario struct {
	size     int // bytes of payload in each message
	requests int
	pause    time.Duration // after each request
	script   *echopb.Script
	metadata metadata.MD
	timeout  time.Duration
	opts     []grpc.CallOption
}

func (sc scenario) request(number int) *echopb.Request {
	req := testsvc.Request(uint64(number), sc.size)
	if number == 1 {
		req.Script = sc.script
	}
	return req
}

type replies interface {
	Recv() (*echopb.Reply, error)
	Header() (metadata.MD, error)
	Trailer() metadata.MD
}

func (tr *transcript) finish(stream interface {
	Header() (metadata.MD, error)
	Trailer() metadata.MD
}, err error) {
	tr.Header, _ = stream.Header()
	tr.Trailer = stream.Trailer()
	tr.end(err)
}

var pairs = []*echopb.Pair{
	{Key: "color", Value: []byte("red")},
	{Key: "color", Value: []byte("blue, green")},
	{Key: "raw-bin", Value: []byte{0, 1, 254, 255}},
	{Key: "raw-bin", Value: nil},
}

// allBytes are all values of a byte, allText those that gRPC allows in metadata
// which is not binary.
var allBytes, allText = func() (b, text string) {
	for i := range 256 {
		b += string([]byte{byte(i)})
	}
	return b, b[0x20:0x7f]
}()

// everyByte has binary values of each length that base64 pads otherwise, and
// empty ones.
var everyByte = []*echopb.Pair{
	{Key: "x-bin", Value: []byte(allBytes)},
	{Key: "x-bin", Value: []byte(allBytes[:255])},
	{Key: "x-bin", Value: []byte(allBytes[:254])},
	{Key: "x-bin", Value: nil},
	{Key: "text", Value: []byte(allText)},
	{Key: "text", Value: nil},
	{Key: "text", Value: []byte("last")},
}

var scenarios = map[string]scenario{
	"plain":         {size: 100, requests: 3, script: &echopb.Script{Replies: 3}},
	"empty":         {size: 0, requests: 3, script: &echopb.Script{Replies: 3}},
	"no requests":   {requests: 0, script: &echopb.Script{}},
	"many":          {size: 10, requests: 500, script: &echopb.Script{Replies: 500}},
	"fragments":     {size: 50_000, requests: 20, script: &echopb.Script{Replies: 20}},
	"large":         {size: 700_000, requests: 2, script: &echopb.Script{Replies: 2}},
	"metadata":      {requests: 1, script: &echopb.Script{Replies: 2, Headers: pairs, Trailers: pairs}},
	"all bytes":     {requests: 1, script: &echopb.Script{Replies: 1, Headers: everyByte, Trailers: everyByte, Reflect: true}, metadata: metadata.Pairs("k-bin", allBytes, "k-bin", "", "empty", "", "text", allText, "text", " a,b ")},
	"headers first": {requests: 1, script: &echopb.Script{Replies: 1, Headers: pairs, HeadersFirst: true, DelayMs: 500}},
	"reflection": {
		requests: 1, script: &echopb.Script{Replies: 1, Reflect: true},
		metadata: metadata.Pairs("authorization", "Bearer x", "traceparent", "00-1-2-01", "k", "1", "k", "2", "k-bin", "\x00\xff", "grpc-trace-bin", "\x01"),
	},
	"failure": {requests: 1, script: &echopb.Script{Replies: 2, Status: uint32(codes.FailedPrecondition), Message: "50 % näh\n\U0001f600", Trailers: pairs}},
	"details": {requests: 1, script: &echopb.Script{Status: uint32(codes.Aborted), Message: "see", Details: pairs[:2]}},
	"own code": {
		requests: 1, script: &echopb.Script{Status: 77, Message: "beyond the table"},
	},
	"early end":     {size: 2000, requests: 50, script: &echopb.Script{Replies: 1, StopAfter: 3, Status: uint32(codes.ResourceExhausted), Message: "enough"}},
	"deadline":      {requests: 1, timeout: 3 * time.Second, script: &echopb.Script{Replies: 1, Hang: true, Reflect: true}},
	"gzip":          {size: 9000, requests: 3, script: &echopb.Script{Replies: 3, Reflect: true, Compression: "gzip"}, opts: []grpc.CallOption{grpc.UseCompressor("gzip")}},
	"forbidden key": {requests: 1, metadata: metadata.MD{"bad key": {"v"}}},
	"forbidden value": {
		requests: 1, metadata: metadata.MD{"fine": {"a\nb"}},
	},
	"too large to receive": {size: 100, requests: 1, script: &echopb.Script{Replies: 1, ReplyBytes: 5000}, opts: []grpc.CallOption{grpc.MaxCallRecvMsgSize(4000)}},
	"too large to send":    {size: 5000, requests: 1, opts: []grpc.CallOption{grpc.MaxCallSendMsgSize(4000)}},
}

// TestKinds_asDirectly runs each scenario with each kind of RPC, directly and
// through the bridge with each transport: the transcripts are equal.
func TestKinds_asDirectly(t *testing.T) {
	for name, sc := range scenarios {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, choice []string) {
				w := newWorld(t, choice, bridge.Config{})
				for kind, run := range kinds {
					want := play(t, run, w.Direct, sc)
					got := play(t, run, w.Bridged, sc)
					if got != want {
						t.Errorf("%s: through the bridge:\n%.2000s\ndirectly:\n%.2000s", kind, got, want)
					}
					synctest.Wait()
					if n := w.Service.Counts().Active; n != 0 {
						t.Errorf("%s: %d RPCs still run at the backend", kind, n)
					}
				}
			})
		})
	}
}

func play(t *testing.T, run func(context.Context, grpc.ClientConnInterface, scenario) *transcript, cc grpc.ClientConnInterface, sc scenario) string {
	ctx, cancel := context.WithCancel(t.Context())
	if sc.timeout > 0 {
		ctx, cancel = context.WithTimeout(t.Context(), sc.timeout)
	}
	defer cancel()
	tr := run(metadata.NewOutgoingContext(ctx, sc.metadata), cc, sc)
	if sc.timeout > 0 {
		// The server's clock runs out at the same moment. Who is first decides
		// what is seen beside the code.
		tr.Header, tr.Trailer = nil, nil
		tr.Status, _, _ = strings.Cut(tr.Status, " ")
	}
	return tr.String()
}
