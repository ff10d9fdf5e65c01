package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// onEach runs f in a world of each transport.
func onEach(t *testing.T, f func(*testing.T, *world), opts ...grpc.ServerOption) {
	each(t, func(t *testing.T, choice []string) { f(t, newWorld(t, choice, bridge.Config{}, opts...)) })
}

// compare runs something directly and through the bridge.
func compare(t *testing.T, name string, w *world, run func(grpc.ClientConnInterface) string) {
	t.Helper()
	if want, got := run(w.Direct), run(w.Bridged); got != want {
		t.Errorf("%s, through the bridge:\n%.3000s\ndirectly:\n%.3000s", name, got, want)
	}
}

// TestStatuses_asDirectly ends RPCs with each status code: bare, with messages
// of all lengths, with details, after headers and without any.
func TestStatuses_asDirectly(t *testing.T) {
	messages := map[string]string{"none": "", "UTF-8": "50 % näh\r\n\u2028\U0001f600\x00", "8 KiB": strings.Repeat("ä", 4<<10)}
	ways := map[string]*echopb.Script{
		"trailers only": {},
		"headers first": {HeadersFirst: true, Headers: pairs},
		"details":       {Trailers: pairs, Details: pairs},
	}
	onEach(t, func(t *testing.T, w *world) {
		i := 0
		for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
			for length, message := range messages {
				for way, script := range ways {
					if i++; !sampled(i) {
						continue
					}
					script = proto.CloneOf(script)
					script.Status, script.Message = uint32(code), message
					for kind, run := range kinds {
						if strings.HasSuffix(kind, "-stream") && length != "UTF-8" {
							continue // as the other kinds
						}
						name := fmt.Sprintf("%s, %v, %s, message: %s", kind, code, way, length)
						compare(t, name, w, func(cc grpc.ClientConnInterface) string {
							return play(t, run, cc, scenario{requests: 1, size: 10, script: script})
						})
					}
				}
			}
		}
	})
}

// longest is the longest message that a bridge takes unless configured.
const longest = 16 << 20

// TestMessages_asDirectly sends messages of no length, and compressed ones.
func TestMessages_asDirectly(t *testing.T) {
	gzip := []grpc.CallOption{grpc.UseCompressor("gzip")}
	messages := map[string]scenario{
		"0 bytes":       {requests: 3, script: &echopb.Script{Replies: 3}},
		"0 bytes, gzip": {requests: 3, script: &echopb.Script{Replies: 3, Compression: "gzip"}, opts: gzip},
		"gzip asked":    {requests: 2, size: 20_000, script: &echopb.Script{Replies: 2, Reflect: true}, opts: gzip},
		"gzip answered": {requests: 2, size: 20_000, script: &echopb.Script{Replies: 2, Compression: "gzip"}},
	}
	onEach(t, func(t *testing.T, w *world) {
		for name, sc := range messages {
			for kind, run := range kinds {
				compare(t, kind+", "+name, w, func(cc grpc.ClientConnInterface) string { return play(t, run, cc, sc) })
			}
		}
	})
}

// TestLongest_asDirectly sends messages at the limits, of the bridge and of the
// caller.
func TestLongest_asDirectly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, transports["longpoll"], bridge.Config{}, grpc.MaxRecvMsgSize(longest))
		for name, sc := range map[string]scenario{
			"over the caller's limit": {requests: 1, script: &echopb.Script{Replies: 1, ReplyBytes: 4<<20 + 1}},
			"the longest request":     {requests: 1, size: longest - overhead(&echopb.Request{Number: 1, Script: &echopb.Script{ReplyBytes: 1, Replies: 1}}), script: &echopb.Script{ReplyBytes: 1, Replies: 1}},
			"the longest reply": {
				requests: 1, script: &echopb.Script{Replies: 1, ReplyBytes: uint32(longest - overhead(&echopb.Reply{Number: 1, Requests: 1}))},
				opts: []grpc.CallOption{grpc.MaxCallRecvMsgSize(longest)},
			},
		} {
			compare(t, name, w, func(cc grpc.ClientConnInterface) string { return play(t, kinds["unary"], cc, sc) })
		}
	})
}

// overhead is how much longer a message is than the payload of about longest
// that it gets.
func overhead(m proto.Message) int {
	const tagAndLength = 1 + 4
	return proto.Size(m) + tagAndLength
}

// stages are what a caller does with a stream, in order, "end" standing for
// the end of its context.
var stages = map[string][]string{
	"bidi": {
		"end send recv header trailer",
		"header end recv send trailer",
		"send end recv send header trailer",
		"send header end recv recv trailer",
		"send recv end recv send header trailer",
		"send recv end send send close recv",
		"send recv send end recv recv trailer",
		"send close end recv recv header trailer",
		"send recv close end recv send trailer",
		"close end recv header trailer",
		"send close recv end recv trailer",
		"send end close header recv",
	},
	"server-stream": {
		"end send close recv recv header trailer",
		"send end close recv recv header trailer",
		"send close end recv recv header trailer",
		"send close header end recv recv trailer",
		"send close recv end recv recv trailer",
	},
	"client-stream": {
		"end send close recv trailer",
		"send end send close recv trailer",
		"send header end close recv trailer",
		"send close end recv header trailer",
	},
}

var streamKinds = map[string]struct {
	desc   grpc.StreamDesc
	method string
}{
	"bidi":          {grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, echopb.Echo_Bidi_FullMethodName},
	"server-stream": {grpc.StreamDesc{ServerStreams: true}, echopb.Echo_ServerStream_FullMethodName},
	"client-stream": {grpc.StreamDesc{ClientStreams: true}, echopb.Echo_ClientStream_FullMethodName},
}

// TestCancel_asDirectly ends a stream's context at each stage, by cancelling it
// and by its deadline.
func TestCancel_asDirectly(t *testing.T) {
	ends := map[string]func(context.Context) (context.Context, func()){
		"cancelled": func(ctx context.Context) (context.Context, func()) { return context.WithCancel(ctx) },
		"expired": func(ctx context.Context) (context.Context, func()) {
			ctx, stop := context.WithTimeout(ctx, time.Minute)
			return ctx, func() {
				<-ctx.Done()
				stop()
			}
		},
	}
	scripts := map[string]*echopb.Script{
		"headers first": {Replies: 1, Hang: true, Headers: pairs, Trailers: pairs, HeadersFirst: true},
		"headers late":  {Replies: 1, Hang: true, Headers: pairs, Trailers: pairs},
		"at its end":    {Replies: 1, Headers: pairs, Trailers: pairs},
	}
	onEach(t, func(t *testing.T, w *world) {
		for way, script := range scripts {
			for how, context := range ends {
				for kind, list := range stages {
					for _, steps := range list {
						compare(t, kind+", "+way+", "+how+": "+steps, w, func(cc grpc.ClientConnInterface) string {
							ctx, end := context(t.Context())
							defer end()
							return follow(ctx, cc, kind, script, steps, end)
						})
						synctest.Wait()
					}
				}
			}
		}
		if n := w.Service.Counts().Active; n != 0 {
			t.Errorf("%d RPCs still run at the backend", n)
		}
	})
}

// follow does with a stream what steps say, and writes down what it sees.
func follow(ctx context.Context, cc grpc.ClientConnInterface, kind string, script *echopb.Script, steps string, end func()) string {
	k := streamKinds[kind]
	raw, err := cc.NewStream(ctx, &k.desc, k.method)
	if err != nil {
		return "open: " + shown(err)
	}
	stream := &grpc.GenericClientStream[echopb.Request, echopb.Reply]{ClientStream: raw}
	var seen strings.Builder
	for n, step := range strings.Fields(steps) {
		var what string
		switch step {
		case "send":
			err := stream.Send(&echopb.Request{Number: uint64(n), Payload: []byte("x"), Script: script})
			script, what = nil, shown(err)
		case "recv":
			reply, err := stream.Recv()
			what = shown(err) + " " + string(reply.GetPayload())
		case "close":
			what = shown(stream.CloseSend())
		case "header":
			header, err := headerOf(stream)
			what = fmt.Sprint(header, shown(err))
		case "trailer":
			if what = fmt.Sprint(stream.Trailer()); errors.Is(ctx.Err(), context.DeadlineExceeded) {
				what = "" // the server's may have come or not: its clock runs out too
			}
		case "end":
			// What is under way arrives before and after it.
			time.Sleep(time.Second)
			end()
			time.Sleep(time.Second)
		}
		fmt.Fprintln(&seen, step, what)
	}
	return seen.String()
}

// headerOf asks for a stream's header, unless it would wait for ever.
func headerOf(stream grpc.ClientStream) (metadata.MD, error) {
	type answer struct {
		md  metadata.MD
		err error
	}
	came := make(chan answer, 1)
	go func() {
		md, err := stream.Header()
		came <- answer{md, err}
	}()
	select {
	case a := <-came:
		return a.md, a.err
	case <-time.After(time.Second): //nolint:forbidigo // in a bubble
		return nil, nil
	}
}

// shown returns what a caller can distinguish an error by. Only its message says
// who noticed first that a deadline had passed, so that is left out.
func shown(err error) string {
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Sprint(err)
	}
	s := status.Convert(err)
	if s.Code() == codes.DeadlineExceeded {
		return s.Code().String()
	}
	return s.String()
}
