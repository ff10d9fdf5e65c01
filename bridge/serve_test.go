package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// text is a message in JSON, and its codec.
type text struct{ string }

func (text) Name() string { return "json" }

func (text) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.(*text).string)}, nil
}

func (text) Unmarshal(data mem.BufferSlice, v any) error {
	v.(*text).string = string(data.Materialize())
	return nil
}

// counted wraps a handler, and counts what it gets.
func counted(h http.Handler, n *int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*n++
		h.ServeHTTP(w, r)
	})
}

// TestServe_same: native gRPC is served alike by gRPC's own server, which connections
// of native clients get, and by net/http, which those of a proxy get: what clients are
// told, what is logged and what is counted.
func TestServe_same(t *testing.T) {
	reflecting := &echopb.Request{Script: &echopb.Script{Reflect: true}}
	stream := &grpc.StreamDesc{ServerStreams: true}
	for _, tt := range []struct {
		name   string
		cfg    bridge.Config
		method string
		md     []string
		opts   []grpc.CallOption
		in     any
		code   codes.Code
		want   string // in the message
	}{
		{name: "answered", method: unaryPath, in: reflecting, md: []string{"authorization", "Bearer good"}},
		{name: "no token", method: unaryPath, in: reflecting, code: codes.Unauthenticated, want: "who are you?"},
		{name: "bad token", method: unaryPath, in: reflecting, md: []string{"authorization", "Bearer bad"}, code: codes.Unauthenticated, want: "who are you?"},
		{name: "not for this principal", method: streamPath, in: reflecting, md: []string{"authorization", "Bearer good"}, code: codes.PermissionDenied},
		{name: "not allowed", method: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", in: reflecting, md: []string{"authorization", "Bearer good"}, code: codes.Unimplemented, want: "is not allowed on this bridge"},
		{name: "status", method: unaryPath, in: &echopb.Request{Script: &echopb.Script{Status: uint32(codes.NotFound), Message: "100% gone"}}, md: []string{"authorization", "Bearer good"}, code: codes.NotFound, want: "100% gone"},
		{name: "message over the limit", method: unaryPath, in: testsvc.Request(1, 70_000), md: []string{"authorization", "Bearer good"}, code: codes.ResourceExhausted, want: "65536"},
		{name: "metadata over the limit", method: unaryPath, in: reflecting, md: []string{"authorization", "Bearer good", "a", strings.Repeat("x", 5000)}, code: codes.ResourceExhausted, want: "over the limit of 4096"},
		{name: "no RPC left", cfg: bridge.Config{MaxRPCsPerPrincipal: 1}, method: unaryPath, in: reflecting, md: []string{"authorization", "Bearer good"}, code: codes.ResourceExhausted, want: "limit"},
		{name: "another host", method: unaryPath, in: reflecting, md: []string{"authorization", "Bearer good", ":authority", "evil.example"}, code: codes.PermissionDenied},
		{name: "a page of another origin", method: unaryPath, in: reflecting, md: []string{"authorization", "Bearer good", "origin", "https://evil.example"}, code: codes.PermissionDenied},
		{name: "JSON", method: unaryPath, in: &text{`{"number": "7"}`}, opts: []grpc.CallOption{grpc.ForceCodecV2(text{})}, md: []string{"authorization", "Bearer good"}},
		{name: "JSON that is none", method: unaryPath, in: &text{`{`}, opts: []grpc.CallOption{grpc.ForceCodecV2(text{})}, md: []string{"authorization", "Bearer good"}, code: codes.InvalidArgument, want: "request: "},
		{name: "compressed", method: unaryPath, in: testsvc.Request(1, 10_000), opts: []grpc.CallOption{grpc.UseCompressor("gzip")}, md: []string{"authorization", "Bearer good"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var lines [2]map[string]any
			var counts [2][]string
			for way, proxies := range [][]netip.Prefix{nil, {netip.MustParsePrefix("127.0.0.0/8")}} {
				var log bytes.Buffer
				requests := 0
				cfg := tt.cfg
				cfg.RPC, cfg.TrustedProxies, cfg.Descriptors = true, proxies, descriptorFile(t)
				cfg.MaxMessageBytes, cfg.MaxMetadataBytes = 1<<16, 1<<12
				cfg.AccessLog = slog.New(slog.NewJSONHandler(&log, nil))
				cfg.Authenticate = func(_ context.Context, info bridge.AuthInfo) (bridge.Principal, error) {
					if info.Token != "good" || info.RemoteAddr != "127.0.0.1" || info.Request.Host == "" {
						return bridge.Principal{}, status.Error(codes.Unauthenticated, "who are you?")
					}
					return bridge.Principal{Name: "ada", AllowMethods: []string{"pollbridge.test.v1.Echo/Unary"}}, nil
				}
				srv, svc := newServer(t, cfg)
				plain, _ := serve(t, srv, counted(srv, &requests))
				authority, md := authorityOf(tt.md)
				cc, err := grpc.NewClient(plain.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(authority))
				if err != nil {
					t.Fatal(err)
				}
				if cfg.MaxRPCsPerPrincipal > 0 {
					occupy(t, cc, svc)
				} else { // what makes the connection a native client's
					_ = cc.Invoke(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer good"), unaryPath, reflecting, new(echopb.Reply))
				}
				ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), md...))
				out := any(new(echopb.Reply))
				if _, json := tt.in.(*text); json {
					out = new(text)
				}
				if tt.method == unaryPath {
					err = cc.Invoke(ctx, tt.method, tt.in, out, tt.opts...)
				} else if s, failed := cc.NewStream(ctx, stream, tt.method, tt.opts...); failed == nil {
					_ = s.SendMsg(tt.in)
					_ = s.CloseSend()
					err = s.RecvMsg(out)
				}
				cancel()
				if status.Code(err) != tt.code || !strings.Contains(status.Convert(err).Message(), tt.want) {
					t.Errorf("way %d: %v, want %v with %q", way, err, tt.code, tt.want)
				}
				cc.Close()
				if (requests > 0) != (way == 1) {
					t.Errorf("way %d: net/http got %d requests", way, requests)
				}
				waitIdle(t, svc)
				if err := srv.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				lines[way], counts[way] = lastLine(t, log.Bytes()), rpcCounts(t, srv)
			}
			if !sameFields(lines[0], lines[1]) {
				t.Errorf("access logs differ: %v and %v", lines[0], lines[1])
			}
			if !slices.Equal(counts[0], counts[1]) {
				t.Errorf("metrics differ: %q and %q", counts[0], counts[1])
			}
		})
	}
}

// authorityOf takes the authority out of metadata.
func authorityOf(md []string) (authority string, rest []string) {
	if i := slices.Index(md, ":authority"); i >= 0 {
		return md[i+1], slices.Delete(slices.Clone(md), i, i+2)
	}
	return "127.0.0.1", md
}

// occupy has a principal use its only RPC.
func occupy(t *testing.T, cc *grpc.ClientConn, svc *testsvc.Server) {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer good")
	go func() {
		_ = cc.Invoke(ctx, unaryPath, &echopb.Request{Script: &echopb.Script{Hang: true}}, new(echopb.Reply)) // until cc is closed
	}()
	for svc.Counts().Active == 0 {
		time.Sleep(time.Millisecond)
	}
}

// lastLine is the last line of an access log, without what is of one run.
func lastLine(t *testing.T, log []byte) map[string]any {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(log), []byte("\n"))
	fields := map[string]any{}
	if last := lines[len(lines)-1]; len(last) > 0 {
		if err := json.Unmarshal(last, &fields); err != nil {
			t.Fatal(err)
		}
	}
	delete(fields, "time")
	delete(fields, "duration")
	return fields
}

func sameFields(a, b map[string]any) bool {
	x, _ := json.Marshal(a) // of strings and numbers
	y, _ := json.Marshal(b)
	return bytes.Equal(x, y)
}

// rpcCounts are the metrics that count RPCs, and are not 0.
func rpcCounts(t *testing.T, srv *bridge.Server) []string {
	t.Helper()
	var counts []string
	for line := range strings.Lines(body(t, get(srv.AdminHandler(), "GET", "/metrics"))) {
		for _, name := range []string{"pollbridge_rpcs_", "pollbridge_rpc_duration_seconds_count", "pollbridge_authentications", "pollbridge_received_", "pollbridge_sent_", "pollbridge_streams"} {
			if strings.HasPrefix(line, name) && !strings.HasSuffix(line, " 0\n") {
				counts = append(counts, line)
			}
		}
	}
	return counts
}

// TestServe_plain: without what it takes for gRPC's own server, Serve is what
// net/http's is.
func TestServe_plain(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: srv, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(server, l) }()
	answer, err := http.Get("http://" + l.Addr().String() + "/bridge/client.js")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("got %s", answer.Status)
	}
	server.Close()
	if err := <-ended; err != http.ErrServerClosed {
		t.Error(err)
	}
}
