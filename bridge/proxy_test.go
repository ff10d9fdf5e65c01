package bridge_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// fakeStream is a bridge.Stream with a client that the test plays.
type fakeStream struct {
	t  *testing.T
	up chan *echopb.Request // closed: half-close

	mu       sync.Mutex
	recvs    int
	headers  []wire.Metadatum
	messages []*echopb.Reply
	sendErr  error
}

func newStream(t *testing.T, requests ...*echopb.Request) *fakeStream {
	s := &fakeStream{t: t, up: make(chan *echopb.Request, 100)}
	for _, r := range requests {
		s.up <- r
	}
	return s
}

func (s *fakeStream) Recv(ctx context.Context) (engine.Message, error) {
	s.mu.Lock()
	s.recvs++
	s.mu.Unlock()
	select {
	case r, ok := <-s.up:
		if !ok {
			return engine.Message{}, io.EOF
		}
		b, err := proto.Marshal(r)
		return engine.Message{Pieces: [][]byte{b}}, err
	case <-ctx.Done():
		return engine.Message{}, context.Cause(ctx)
	}
}

func (s *fakeStream) Send(_ context.Context, m engine.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply := new(echopb.Reply)
	if err := proto.Unmarshal(m.Bytes(), reply); err != nil {
		s.t.Error(err)
	}
	if m.Free != nil {
		m.Free()
	}
	s.messages = append(s.messages, reply)
	return s.sendErr
}

func (s *fakeStream) SendHeaders(md []wire.Metadatum) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers = md
	return nil
}

// newServer is a bridge to a test service in this process.
func newServer(t *testing.T, cfg bridge.Config) (*bridge.Server, *testsvc.Server) {
	t.Helper()
	svc := testsvc.New()
	cfg.Backends = []bridge.Backend{{GRPCServer: svc.GRPC}}
	srv, err := bridge.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		svc.Stop()
	})
	return srv, svc
}

func TestProxy_bidi(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := newServer(t, bridge.Config{})
		st := newStream(t, testsvc.Request(1, 10), testsvc.Request(2, 2000))
		st.up <- testsvc.Request(3, 0)
		close(st.up)
		end := srv.RunRPC(t.Context(), st, &wire.Open{Method: echopb.Echo_Bidi_FullMethodName})
		if end.Status != 0 || end.Origin != wire.OriginBackend || end.Reason != "" {
			t.Errorf("ended with %+v", end)
		}
		for i, n := range []int{10, 2000, 0} {
			if err := testsvc.Check(st.messages[i], uint64(i+1), n); err != nil {
				t.Error(err)
			}
		}
		if len(st.messages) != 3 || len(st.headers) == 0 {
			t.Errorf("got %d messages, headers %v", len(st.messages), st.headers)
		}
	})
}

// TestProxy_headersFirst: headers are there before any message is.
func TestProxy_headersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := newServer(t, bridge.Config{})
		st := newStream(t, &echopb.Request{Script: &echopb.Script{
			HeadersFirst: true, DelayMs: 60_000, Headers: []*echopb.Pair{{Key: "k", Value: []byte("v")}},
		}})
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan wire.End)
		go func() { done <- srv.RunRPC(ctx, st, &wire.Open{Method: echopb.Echo_Bidi_FullMethodName}) }()
		time.Sleep(time.Second)
		st.mu.Lock()
		if !slices.ContainsFunc(st.headers, func(m wire.Metadatum) bool { return m.Key == "k" && m.Value == "v" }) {
			t.Errorf("headers %v", st.headers)
		}
		st.mu.Unlock()
		cancel(&engine.Error{Reason: engine.ReasonCancelled})
		if end := <-done; codes.Code(end.Status) != codes.Canceled {
			t.Errorf("ended with %+v", end)
		}
	})
}

// TestProxy_streamEnds: whatever ends the stream ends the backend's RPC, and
// gives the status that names it.
func TestProxy_streamEnds(t *testing.T) {
	for reason, want := range map[string]codes.Code{
		engine.ReasonCancelled: codes.Canceled,
		engine.ReasonDeadline:  codes.DeadlineExceeded,
		engine.ReasonExpired:   codes.Unavailable,
		engine.ReasonDrained:   codes.Unavailable,
		engine.ReasonViolation: codes.Unavailable,
		engine.ReasonLimit:     codes.ResourceExhausted,
	} {
		synctest.Test(t, func(t *testing.T) {
			srv, svc := newServer(t, bridge.Config{})
			st := newStream(t, &echopb.Request{Script: &echopb.Script{DelayMs: 3600_000}})
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan wire.End)
			go func() { done <- srv.RunRPC(ctx, st, &wire.Open{Method: echopb.Echo_Bidi_FullMethodName}) }()
			synctest.Wait()
			if n := svc.Counts().Active; n != 1 {
				t.Fatalf("%d RPCs at the backend, want 1", n)
			}
			cancel(&engine.Error{Reason: reason, Message: "the test says so"})
			end := <-done
			if codes.Code(end.Status) != want || end.Origin != wire.OriginBridge || end.Reason != reason {
				t.Errorf("%s: ended with %+v", reason, end)
			}
			synctest.Wait()
			if c := svc.Counts(); c.Active != 0 || c.Cancelled != 1 {
				t.Errorf("%s: backend's counts are %+v", reason, c)
			}
		})
	}
}

// TestProxy_sendFails: a stream that has no room for a message ends the backend's RPC.
func TestProxy_sendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, svc := newServer(t, bridge.Config{})
		st := newStream(t, testsvc.Request(1, 1))
		st.sendErr = &engine.Error{Reason: engine.ReasonOverloaded, Message: "full"}
		end := srv.RunRPC(t.Context(), st, &wire.Open{Method: echopb.Echo_Bidi_FullMethodName})
		if codes.Code(end.Status) != codes.ResourceExhausted || end.Reason != engine.ReasonOverloaded {
			t.Errorf("ended with %+v", end)
		}
		synctest.Wait()
		if n := svc.Counts().Active; n != 0 {
			t.Errorf("%d RPCs still run", n)
		}
	})
}

// TestProxy_creditAfterSend: a message is asked for only when the one before
// it was taken by gRPC, so that its credit cannot go back earlier.
func TestProxy_creditAfterSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := newServer(t, bridge.Config{})
		st := newStream(t)
		script := &echopb.Script{DelayMs: 3600_000}
		for n := range 100 { // 25 MB against a server that reads nothing but the first
			req := testsvc.Request(uint64(n+1), 250_000)
			req.Script, script = script, nil
			st.up <- req
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan wire.End)
		go func() { done <- srv.RunRPC(ctx, st, &wire.Open{Method: echopb.Echo_Bidi_FullMethodName}) }()
		synctest.Wait()
		st.mu.Lock()
		if st.recvs > 10 {
			t.Errorf("%d messages of 250,000 bytes were taken for a backend that reads none", st.recvs)
		}
		st.mu.Unlock()
		cancel(&engine.Error{Reason: engine.ReasonCancelled})
		<-done
	})
}

func TestProxy_limits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := newServer(t, bridge.Config{MaxMessageBytes: 5000, MaxMetadataBytes: 2000})
		long := []*echopb.Pair{{Key: "k", Value: []byte(strings.Repeat("x", 3000))}}
		for what, req := range map[string]*echopb.Request{
			"message":  {Script: &echopb.Script{ReplyBytes: 6000}},
			"request":  testsvc.Request(1, 6000),
			"headers":  {Script: &echopb.Script{Headers: long}},
			"trailers": {Script: &echopb.Script{Trailers: long}},
		} {
			st := newStream(t, req)
			close(st.up)
			end := srv.RunRPC(t.Context(), st, &wire.Open{Method: echopb.Echo_Bidi_FullMethodName})
			if codes.Code(end.Status) != codes.ResourceExhausted || !strings.Contains(end.Message, "000") {
				t.Errorf("%s: ended with %+v", what, end)
			}
		}
	})
}

// TestProxy_metadataLimit: response headers and trailers count keys, values and
// 32 bytes for each pair, as request metadata does.
func TestProxy_metadataLimit(t *testing.T) {
	const limit = 2000
	run := func(t *testing.T, script *echopb.Script) (headers, trailers int, end wire.End) {
		srv, _ := newServer(t, bridge.Config{MaxMetadataBytes: limit})
		st := newStream(t, &echopb.Request{Script: script})
		close(st.up)
		end = srv.RunRPC(t.Context(), st, &wire.Open{Method: echopb.Echo_Bidi_FullMethodName})
		return wire.MetadataSize(st.headers), wire.MetadataSize(end.Trailers), end
	}
	synctest.Test(t, func(t *testing.T) {
		headers, trailers, _ := run(t, &echopb.Script{})
		pair := func(size int) []*echopb.Pair {
			return []*echopb.Pair{{Key: "k", Value: []byte(strings.Repeat("x", size-32-len("k")))}}
		}
		for name, tt := range map[string]struct {
			script *echopb.Script
			want   string
		}{
			"headers at the limit":    {&echopb.Script{Headers: pair(limit - headers)}, ""},
			"headers over the limit":  {&echopb.Script{Headers: pair(limit - headers + 1)}, "headers of 2001 bytes are over the limit of 2000"},
			"trailers at the limit":   {&echopb.Script{Trailers: pair(limit - trailers)}, ""},
			"trailers over the limit": {&echopb.Script{Trailers: pair(limit - trailers + 1)}, "trailers of 2001 bytes are over the limit of 2000"},
		} {
			code := codes.OK
			if tt.want != "" {
				code = codes.ResourceExhausted
			}
			if _, _, end := run(t, tt.script); codes.Code(end.Status) != code || end.Message != tt.want {
				t.Errorf("%s: ended with %v %q, want %v %q", name, codes.Code(end.Status), end.Message, code, tt.want)
			}
		}
	})
}

func TestProxy_refusals(t *testing.T) {
	srv, svc := newServer(t, bridge.Config{DenyMethods: []string{"secret.*"}, AllowMethods: []string{"*"}})
	for method, want := range map[string]string{
		"/secret.S/M": "not allowed", "nonsense": "malformed", "/a.B": "malformed", "": "malformed",
		"/a.x/../secret.S/M": "malformed", "/a.x/%2e%2e/secret.S/M": "malformed", "/secret%2eS/M": "malformed", "//secret.S/M": "malformed",
	} {
		end := srv.RunRPC(t.Context(), newStream(t), &wire.Open{Method: method})
		if codes.Code(end.Status) != codes.Unimplemented || end.Origin != wire.OriginBridge || !strings.Contains(end.Message, want) {
			t.Errorf("%q: ended with %+v", method, end)
		}
	}
	open := &wire.Open{Method: echopb.Echo_Unary_FullMethodName, Metadata: []wire.Metadatum{{Key: "b@d", Value: "v"}}}
	if end := srv.RunRPC(t.Context(), newStream(t), open); codes.Code(end.Status) != codes.Internal || !strings.Contains(end.Message, "b@d") {
		t.Errorf("ended with %+v", end)
	}
	if n := svc.Counts().Started; n != 0 {
		t.Errorf("%d RPCs reached the backend", n)
	}
}

func TestCallEnd(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(&engine.Error{Reason: engine.ReasonExpired})
	// The backend's own word counts, even when the stream is over by now.
	if end := bridge.CallEnd(ended, io.EOF, nil); end.Status != 0 {
		t.Errorf("got %+v", end)
	}
	if end := bridge.CallEnd(t.Context(), errors.New("odd \xff"), nil); codes.Code(end.Status) != codes.Unknown || end.Message != "odd \ufffd" {
		t.Errorf("got %+v", end)
	}
}
