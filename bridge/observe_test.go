package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// serveOn runs a bridge to a test service, and gives clients of it.
func serveOn(t *testing.T, cfg bridge.Config) (*bridge.Server, func(transport string) echopb.EchoClient, string) {
	t.Helper()
	srv, _ := newServer(t, cfg)
	web := httptest.NewServer(srv)
	t.Cleanup(web.Close)
	return srv, func(transport string) echopb.EchoClient {
		channel, err := client.New(web.URL, client.Config{Transports: []string{transport}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { channel.Close() })
		return echopb.NewEchoClient(channel)
	}, web.URL
}

// TestTraces: the page's span is the parent of the bridge's, that of the span at
// the channel, and that is what the backend is told.
func TestTraces(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	srv, dial, url := serveOn(t, bridge.Config{TracerProvider: provider, RPC: true})
	const page = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	request := &echopb.Request{Script: &echopb.Script{Reflect: true, Status: 5, Message: "gone"}}
	check := func(t *testing.T, how string, attributes map[string]string) {
		t.Helper()
		list := spans.GetSpans()
		spans.Reset()
		if how != "connect" {
			opened := list[0]
			list = list[1:]
			if links := list[1].Links; opened.Name != "session opened" || len(links) != 1 || links[0].SpanContext.SpanID() != opened.SpanContext.SpanID() {
				t.Errorf("%s: links %+v to %+v", how, links, opened)
			}
			attributes["pollbridge.transport"] = how
		}
		if len(list) != 2 || list[1].SpanKind != trace.SpanKindServer || list[0].SpanKind != trace.SpanKindClient {
			t.Fatalf("%s: %d spans: %+v", how, len(list), list)
		}
		channel, rpc := list[0], list[1]
		if rpc.SpanContext.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || rpc.Parent.SpanID().String() != "b7ad6b7169203331" || !rpc.Parent.IsRemote() {
			t.Errorf("%s: parent %v", how, rpc.Parent)
		}
		if channel.SpanContext.TraceID() != rpc.SpanContext.TraceID() || channel.Parent.SpanID() != rpc.SpanContext.SpanID() {
			t.Errorf("%s: the channel's span is below %v, want %v", how, channel.Parent, rpc.SpanContext)
		}
		if rpc.Name != "pollbridge.test.v1.Echo/Unary" || rpc.Status.Code != codes.Unset || !rpc.EndTime.After(rpc.StartTime) {
			t.Errorf("%s: span %q, status %v, from %v to %v", how, rpc.Name, rpc.Status, rpc.StartTime, rpc.EndTime)
		}
		got := map[string]string{}
		for _, a := range rpc.Attributes {
			got[string(a.Key)] = a.Value.String()
		}
		for key, want := range attributes {
			if got[key] != want && (want != "*" || got[key] == "") {
				t.Errorf("%s: %s is %q, want %q", how, key, got[key], want)
			}
		}
	}
	common := map[string]string{
		"rpc.system": "grpc", "rpc.service": "pollbridge.test.v1.Echo", "rpc.method": "Unary", "rpc.grpc.status_code": "5",
		"pollbridge.protocol": "session", "pollbridge.session": "*", "pollbridge.stream": "*", "pollbridge.resumed": "0", "pollbridge.messages_in": "1", "pollbridge.messages_out": "0",
	}
	for _, transport := range []string{"longpoll", "ws"} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", page)
		_, err := dial(transport).Unary(ctx, request)
		if err == nil || !strings.Contains(err.Error(), "gone") {
			t.Fatalf("%s: %v", transport, err)
		}
		check(t, transport, common)
	}
	post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+echopb.Echo_Unary_FullMethodName, strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	post.Header.Set("Content-Type", "application/proto")
	post.Header.Set("Traceparent", page)
	post.Body = http.NoBody
	resp, err := http.DefaultClient.Do(post)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	check(t, "connect", map[string]string{"pollbridge.protocol": "connect", "rpc.grpc.status_code": "0", "pollbridge.session": ""})

	// What the backend was told.
	spans.Reset()
	reply, err := dial("longpoll").Unary(metadata.AppendToOutgoingContext(t.Context(), "traceparent", page), &echopb.Request{Script: &echopb.Script{Reflect: true}})
	if err != nil {
		t.Fatal(err)
	}
	list := spans.GetSpans()
	var got []string
	for _, pair := range reply.Metadata {
		if pair.Key == "traceparent" {
			got = append(got, string(pair.Value))
		}
	}
	want := "00-0af7651916cd43dd8448eb211c80319c-" + list[1].SpanContext.SpanID().String() + "-01"
	if !slices.Equal(got, []string{want}) {
		t.Errorf("the backend got %q, want %q", got, want)
	}

	// Exemplars of the histogram, in the format that has them.
	scrape := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	scrape.Header.Set("Accept", "application/openmetrics-text")
	w := httptest.NewRecorder()
	srv.AdminHandler().ServeHTTP(w, scrape)
	if !strings.Contains(w.Body.String(), `# {trace_id="0af7651916cd43dd8448eb211c80319c"}`) {
		t.Error("no exemplar in the metrics")
	}
}

// TestTraces_untrusted: a traceparent that is none, or says not to record, begins
// or records nothing of a stranger's.
func TestTraces_untrusted(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.AlwaysSample())))
	_, dial, _ := serveOn(t, bridge.Config{TracerProvider: provider})
	for parent, want := range map[string]int{
		"": 3, "nonsense": 3, "00-00000000000000000000000000000000-b7ad6b7169203331-01": 3, strings.Repeat("0", 10_000): 3,
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00": 1, // of the session
	} {
		ctx := t.Context()
		if parent != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", parent)
		}
		spans.Reset()
		if _, err := dial("longpoll").Unary(ctx, testsvc.Request(1, 1)); err != nil {
			t.Fatal(err)
		}
		list := spans.GetSpans()
		if len(list) != want {
			t.Errorf("%.60q: %d spans, want %d", parent, len(list), want)
		}
		if want > 0 && list[len(list)-1].Parent.IsValid() {
			t.Errorf("%.60q: parent %v", parent, list[len(list)-1].Parent)
		}
	}
}

// TestAccessLog holds every field of the line that each RPC has.
func TestAccessLog(t *testing.T) {
	var log bytes.Buffer
	cfg := bridge.Config{
		AccessLog: slog.New(slog.NewJSONHandler(&log, nil)),
		RPC:       true,
		Authenticate: func(context.Context, bridge.AuthInfo) (bridge.Principal, error) {
			return bridge.Principal{Name: "ann"}, nil
		},
	}
	srv, dial, url := serveOn(t, cfg)
	var in, out float64
	for _, transport := range []string{"longpoll", "ws"} {
		stream, err := dial(transport).Bidi(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		in, out = 0, 0
		for n := range 3 {
			request := testsvc.Request(uint64(n+1), 100)
			if err := stream.Send(request); err != nil {
				t.Fatal(err)
			}
			reply, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			in, out = in+float64(proto.Size(request)), out+float64(proto.Size(reply))
		}
		_ = stream.CloseSend()
		_, _ = stream.Recv()
	}
	if _, err := dial("longpoll").Unary(t.Context(), &echopb.Request{Script: &echopb.Script{Status: 5}}); err == nil {
		t.Fatal("no error")
	}
	if resp, err := http.Post(url+echopb.Echo_Unary_FullMethodName, "application/proto", http.NoBody); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	want := []map[string]any{
		{"method": "/pollbridge.test.v1.Echo/Bidi", "code": "OK", "messages_in": 3.0, "messages_out": 3.0, "bytes_in": in, "bytes_out": out, "transport": "longpoll", "resumed": 0.0, "principal": "ann", "stream": 1.0},
		{"method": "/pollbridge.test.v1.Echo/Bidi", "code": "OK", "messages_in": 3.0, "messages_out": 3.0, "bytes_in": in, "bytes_out": out, "transport": "ws", "principal": "ann", "stream": 1.0},
		{"method": "/pollbridge.test.v1.Echo/Unary", "code": "NotFound", "messages_in": 1.0, "messages_out": 0.0, "transport": "longpoll", "principal": "ann"},
		{"method": "/pollbridge.test.v1.Echo/Unary", "code": "OK", "messages_in": 1.0, "messages_out": 1.0, "transport": "connect", "principal": "ann", "remote": "127.0.0.1"},
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), &log)
	}
	for i, line := range lines {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if d, ok := got["duration"].(float64); !ok || d <= 0 || d > time.Minute.Seconds() {
			t.Errorf("duration %v in %s", got["duration"], line)
		}
		for key, v := range want[i] {
			if got[key] != v {
				t.Errorf("%s is %v, want %v, in %s", key, got[key], v, line)
			}
		}
	}
}

// TestObserve_off: without an access log and traces an RPC pays nothing for them.
func TestObserve_off(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{})
	st, ctx := newStream(t), t.Context()
	if n := testing.AllocsPerRun(100, func() { srv.ObserveNothing(ctx, st) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestObserve_resumed: an RPC whose session came back meanwhile says so, and is
// linked to the mark of that, which is linked to the one before.
func TestObserve_resumed(t *testing.T) {
	var log bytes.Buffer
	spans := tracetest.NewInMemoryExporter()
	srv, _, url := serveOn(t, bridge.Config{
		AccessLog: slog.New(slog.NewJSONHandler(&log, nil)), TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)),
	})
	var mu sync.Mutex
	var conns []net.Conn
	channel, err := client.New(url, client.Config{Transports: []string{"ws"}, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		// A link that comes before the bridge has missed the last one resumes nothing.
		for !strings.Contains(body(t, get(srv.AdminHandler(), "GET", "/metrics")), "\npollbridge_links{transport=\"ws\"} 0\n") {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			time.Sleep(time.Millisecond)
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, conn)
		return conn, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer channel.Close()
	stream, err := echopb.NewEchoClient(channel).Bidi(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(2) {
		if err := stream.Send(testsvc.Request(n+1, 10)); err != nil {
			t.Fatal(err)
		}
		if reply, err := stream.Recv(); err != nil || testsvc.Check(reply, n+1, 10) != nil {
			t.Fatal(reply, err)
		}
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		conns = nil
		mu.Unlock()
	}
	_ = stream.CloseSend()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	channel.Close()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	byName := map[string]tracetest.SpanStub{}
	for _, s := range spans.GetSpans() {
		if s.SpanKind != trace.SpanKindClient {
			byName[s.Name] = s
		}
	}
	opened, resumed, rpc := byName["session opened"], byName["session resumed"], byName["pollbridge.test.v1.Echo/Bidi"]
	if len(resumed.Links) != 1 || resumed.Links[0].SpanContext.SpanID() != opened.SpanContext.SpanID() {
		t.Errorf("links of the mark: %+v, want to %v", resumed.Links, opened.SpanContext)
	}
	if len(rpc.Links) != 2 || rpc.Links[0].SpanContext.SpanID() != opened.SpanContext.SpanID() || rpc.Links[1].SpanContext.SpanID() != resumed.SpanContext.SpanID() {
		t.Errorf("links of the RPC: %+v, want to %v and %v", rpc.Links, opened.SpanContext, resumed.SpanContext)
	}
	var line struct{ Resumed int }
	if err := json.Unmarshal(log.Bytes(), &line); err != nil || line.Resumed < 1 {
		t.Errorf("%v: %s", err, &log)
	}
}

// TestObserve_refused: an RPC that ended before it began is told and counted too.
func TestObserve_refused(t *testing.T) {
	var log bytes.Buffer
	srv, dial, _ := serveOn(t, bridge.Config{AccessLog: slog.New(slog.NewJSONHandler(&log, nil)), MaxStreams: 1})
	echo := dial("longpoll")
	ctx, cancel := context.WithCancel(t.Context())
	open, err := echo.Bidi(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Send(testsvc.Request(1, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Recv(); err != nil {
		t.Fatal(err)
	}
	if _, err := echo.Unary(t.Context(), testsvc.Request(1, 1)); err == nil {
		t.Fatal("no error")
	}
	var line struct{ Method, Code, Reason string }
	if err := json.Unmarshal(log.Bytes(), &line); err != nil || line.Method != echopb.Echo_Unary_FullMethodName || line.Code != "ResourceExhausted" || line.Reason != "limit" {
		t.Errorf("%v: %s", err, &log)
	}
	cancel()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	text := body(t, get(srv.AdminHandler(), "GET", "/metrics"))
	for _, want := range []string{`pollbridge_rpcs_started_total{protocol="session"} 2`, `pollbridge_rpcs_completed_total{backend="",code="ResourceExhausted",protocol="session"} 1`} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
}
