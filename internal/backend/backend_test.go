package backend_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// inProcess is a pool over memory to a fresh test service.
func inProcess(t *testing.T, cfg backend.Config, opts ...grpc.ServerOption) (*backend.Pool, *testsvc.Server) {
	t.Helper()
	srv := testsvc.New(opts...)
	cfg.Name, cfg.Server = "test", srv.GRPC
	p := newPool(t, cfg)
	t.Cleanup(srv.Stop)
	return p, srv
}

// filled returns cfg with a value for each field that must have one.
func filled(cfg backend.Config) backend.Config {
	cfg.Profile = cmp.Or(cfg.Profile, backend.Safe)
	cfg.ReadyTimeout = cmp.Or(cfg.ReadyTimeout, 10*time.Second)
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, 1000)
	cfg.MaxMessage = cmp.Or(cfg.MaxMessage, 16<<20)
	cfg.Logger = cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	return cfg
}

func newPool(t *testing.T, cfg backend.Config) *backend.Pool {
	t.Helper()
	p, err := backend.New(filled(cfg))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func start(t *testing.T, p *backend.Pool, method string, md metadata.MD, o backend.CallOptions) *backend.Call {
	t.Helper()
	c, err := p.Start(t.Context(), method, md, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// send cuts a request into pieces.
func send(t *testing.T, c *backend.Call, req *echopb.Request) {
	t.Helper()
	b, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	var pieces [][]byte
	for len(b) > 16_000 {
		pieces, b = append(pieces, b[:16_000]), b[16_000:]
	}
	if err := c.Send(append(pieces, b)); err != nil {
		t.Fatal(err)
	}
}

func recv(t *testing.T, c *backend.Call) *echopb.Reply {
	t.Helper()
	m, err := c.Recv()
	if err != nil {
		t.Fatal(err)
	}
	reply := new(echopb.Reply)
	if err := proto.Unmarshal(bytes.Join(m.Pieces, nil), reply); err != nil {
		t.Fatal(err)
	}
	if m.Free != nil {
		m.Free()
		m.Free()
	}
	return reply
}

func wantEnd(t *testing.T, c *backend.Call, code codes.Code) *status.Status {
	t.Helper()
	m, err := c.Recv()
	if err == nil {
		t.Fatalf("got a message of %d pieces, want the end", len(m.Pieces))
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if status.Code(err) != code {
		t.Fatalf("got %v, want %v", err, code)
	}
	return status.Convert(err)
}

func TestCall_fourKinds(t *testing.T) {
	for _, size := range []int{0, 1, 1023, 1024, 70_000, 1 << 20} {
		for _, kind := range []struct {
			method            string
			requests, replies int
		}{
			{echopb.Echo_Unary_FullMethodName, 1, 1},
			{echopb.Echo_ServerStream_FullMethodName, 1, 3},
			{echopb.Echo_ClientStream_FullMethodName, 3, 1},
			{echopb.Echo_Bidi_FullMethodName, 3, 3},
		} {
			p, _ := inProcess(t, backend.Config{}, grpc.MaxRecvMsgSize(16<<20))
			c := start(t, p, kind.method, nil, backend.CallOptions{SingleRequest: kind.requests == 1})
			script := &echopb.Script{Replies: uint32(kind.replies), ReplyBytes: uint32(size)}
			go func() {
				for n := range kind.requests {
					req := testsvc.Request(uint64(n+1), size)
					if n == 0 {
						req.Script = script
					}
					send(t, c, req)
				}
				if err := c.CloseSend(); err != nil {
					t.Error(err)
				}
			}()
			for n := range kind.replies {
				number := uint64(n + 1)
				if err := testsvc.Check(recv(t, c), number, size); err != nil {
					t.Fatalf("%s with %d bytes: %v", kind.method, size, err)
				}
			}
			wantEnd(t, c, codes.OK)
		}
	}
}

func TestCall_emptyMessage(t *testing.T) {
	p, _ := inProcess(t, backend.Config{})
	c := start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{})
	if err := c.Send(nil); err != nil {
		t.Fatal(err)
	}
	if got := recv(t, c); got.GetRequests() != 1 || got.GetRequestBytes() != 0 {
		t.Fatalf("got %v, want one empty request", got)
	}
}

func TestCall_headersComeBeforeMessages(t *testing.T) {
	p, _ := inProcess(t, backend.Config{})
	c := start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{})
	send(t, c, &echopb.Request{Script: &echopb.Script{
		HeadersFirst: true, DelayMs: 3600_000,
		Headers: []*echopb.Pair{{Key: "color", Value: []byte("red")}, {Key: "color", Value: []byte("blue")}, {Key: "raw-bin", Value: []byte{0, 255}}},
	}})
	md, err := c.Header()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(md.Get("color"), ","); got != "red,blue" {
		t.Errorf("color is %q", got)
	}
	if got := md.Get("raw-bin"); len(got) != 1 || got[0] != "\x00\xff" {
		t.Errorf("raw-bin is %q", got)
	}
}

func TestCall_statusWithDetailsAndTrailers(t *testing.T) {
	p, _ := inProcess(t, backend.Config{})
	c := start(t, p, echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{SingleRequest: true})
	send(t, c, &echopb.Request{Script: &echopb.Script{
		Status: uint32(codes.FailedPrecondition), Message: "not näw\n",
		Details:  []*echopb.Pair{{Key: "why"}},
		Trailers: []*echopb.Pair{{Key: "last", Value: []byte("word")}},
	}})
	st := wantEnd(t, c, codes.FailedPrecondition)
	if st.Message() != "not näw\n" || len(st.Details()) != 1 {
		t.Errorf("got %v", st)
	}
	if got := c.Trailer().Get("last"); len(got) != 1 || got[0] != "word" {
		t.Errorf("trailer is %q", got)
	}
}

func TestCall_cancelReachesTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, srv := inProcess(t, backend.Config{})
		for _, method := range []string{echopb.Echo_Unary_FullMethodName, echopb.Echo_Bidi_FullMethodName} {
			before := srv.Counts().Cancelled
			c := start(t, p, method, nil, backend.CallOptions{SingleRequest: true})
			send(t, c, &echopb.Request{Script: &echopb.Script{DelayMs: 3600_000}})
			synctest.Wait()
			if got := srv.Counts().Active; got != 1 {
				t.Fatalf("%d RPCs active, want 1", got)
			}
			c.Close()
			wantEnd(t, c, codes.Canceled)
			synctest.Wait()
			if got := srv.Counts(); got.Cancelled != before+1 || got.Active != 0 {
				t.Fatalf("got %+v", got)
			}
		}
	})
}

func TestCall_deadlineAndMetadataReachTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := inProcess(t, backend.Config{UserAgent: "pollbridge/test"})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		md := metadata.Pairs("authorization", "Bearer x", "k-bin", "\x00\x01", "k-bin", "\x02")
		c, err := p.Start(ctx, echopb.Echo_Bidi_FullMethodName, md, backend.CallOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		send(t, c, &echopb.Request{Script: &echopb.Script{Reflect: true, Hang: true}})
		reply := recv(t, c)
		if reply.GetTimeoutMs() != 5000 {
			t.Errorf("server has %d ms left, want 5000", reply.GetTimeoutMs())
		}
		got := map[string][]string{}
		for _, p := range reply.GetMetadata() {
			got[p.GetKey()] = append(got[p.GetKey()], string(p.GetValue()))
		}
		for key, want := range map[string]string{
			"authorization": "Bearer x", "k-bin": "\x00\x01|\x02", "content-type": "application/grpc",
		} {
			if g := strings.Join(got[key], "|"); g != want {
				t.Errorf("%s is %q, want %q", key, g, want)
			}
		}
		if g := strings.Join(got["user-agent"], "|"); !strings.HasPrefix(g, "pollbridge/test ") {
			t.Errorf("user-agent is %q", g)
		}
		if err := c.CloseSend(); err != nil {
			t.Fatal(err)
		}
		wantEnd(t, c, codes.DeadlineExceeded)
	})
}

func TestCall_compression(t *testing.T) {
	for _, tt := range []struct {
		compression, reply string
	}{
		{"", ""},
		{"gzip", ""},
		{"gzip", "gzip"},
		{"", "gzip"},
		{"identity", "identity"},
	} {
		p, _ := inProcess(t, backend.Config{})
		c := start(t, p, echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{Compression: tt.compression, SingleRequest: true})
		req := testsvc.Request(1, 10_000)
		req.Script = &echopb.Script{Compression: tt.reply, Reflect: true}
		send(t, c, req)
		reply := recv(t, c)
		if err := testsvc.Check(reply, 1, 10_000); err != nil {
			t.Errorf("%+v: %v", tt, err)
		}
		wantEnd(t, c, codes.OK)
	}
	p, _ := inProcess(t, backend.Config{})
	_, err := p.Start(t.Context(), echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{Compression: "zpaq"})
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), `"zpaq"`) {
		t.Errorf("unknown compressor: got %v", err)
	}
}

func TestCall_forbiddenMetadataNamesTheKey(t *testing.T) {
	p, _ := inProcess(t, backend.Config{})
	for key, md := range map[string]metadata.MD{
		"bad key": {"bad key": {"v"}},
		"newline": {"newline": {"a\nb"}},
	} {
		_, err := p.Start(t.Context(), echopb.Echo_Unary_FullMethodName, md, backend.CallOptions{})
		if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), key) {
			t.Errorf("got %v, want INTERNAL that names %q", err, key)
		}
	}
}

func TestCall_tooLarge(t *testing.T) {
	p, _ := inProcess(t, backend.Config{MaxMessage: 1000})
	c := start(t, p, echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{SingleRequest: true})
	send(t, c, &echopb.Request{Script: &echopb.Script{ReplyBytes: 2000}})
	wantEnd(t, c, codes.ResourceExhausted)

	c = start(t, p, echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{})
	if err := c.Send([][]byte{make([]byte, 1001)}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}

func TestSameType(t *testing.T) {
	for _, tt := range []struct {
		got, subtype string
		want         bool
	}{
		{"application/grpc", "", true},
		{"application/grpc+proto", "", true},
		{"application/grpc+proto", "proto", true},
		{"Application/GRPC+JSON; charset=utf-8", "json", true},
		{"application/grpc", "json", true},
		{"application/grpc+json", "", false},
		{"application/grpc+proto", "json", false},
	} {
		if got := backend.SameType(tt.got, tt.subtype); got != tt.want {
			t.Errorf("%q for %q: got %v", tt.got, tt.subtype, got)
		}
	}
}

func TestPool_invoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := inProcess(t, backend.Config{ReadyTimeout: time.Second})
		invoke := func(req *echopb.Request) (*echopb.Reply, *backend.Reply, error) {
			b, err := proto.Marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			r, err := p.Invoke(t.Context(), echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{}, [][]byte{b[:len(b)/2], b[len(b)/2:]})
			reply := new(echopb.Reply)
			for _, m := range r.Messages {
				if err := proto.Unmarshal(bytes.Join(m.Pieces, nil), reply); err != nil {
					t.Error(err)
				}
			}
			return reply, r, err
		}
		req := testsvc.Request(1, 5000)
		pair := []*echopb.Pair{{Key: "k", Value: []byte("v")}}
		req.Script = &echopb.Script{Headers: pair, Trailers: pair, DelayMs: 5000} // longer than ReadyTimeout
		reply, r, err := invoke(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := testsvc.Check(reply, 1, 5000); err != nil {
			t.Error(err)
		}
		if len(r.Messages) != 1 {
			t.Fatalf("%d messages", len(r.Messages))
		}
		r.Messages[0].Free()
		if r.Header.Get("k")[0] != "v" || r.Trailer.Get("k")[0] != "v" {
			t.Errorf("got %v and %v", r.Header, r.Trailer)
		}
		req.Script = &echopb.Script{Status: uint32(codes.NotFound), Trailers: pair}
		if _, r, err := invoke(req); status.Code(err) != codes.NotFound || r.Trailer.Get("k")[0] != "v" {
			t.Errorf("got %v and %v", err, r.Trailer)
		}
		if got := p.Streams(); got[0] != 0 {
			t.Errorf("streams %v", got)
		}
	})
}

// TestPool_invokeCardinality calls what streams replies as if it did not: their
// number is no error here.
func TestPool_invokeCardinality(t *testing.T) {
	p, _ := inProcess(t, backend.Config{})
	for _, n := range []int{0, 1, 2} {
		req, err := proto.Marshal(&echopb.Request{Payload: make([]byte, 2000), Script: &echopb.Script{Replies: uint32(n)}})
		if err != nil {
			t.Fatal(err)
		}
		r, err := p.Invoke(t.Context(), echopb.Echo_ServerStream_FullMethodName, nil, backend.CallOptions{}, [][]byte{req})
		if err != nil || len(r.Messages) != n {
			t.Errorf("%d replies: got %d, %v", n, len(r.Messages), err)
		}
	}
}
