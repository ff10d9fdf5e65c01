package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// TestMetadata_notFromHTTP: of the HTTP requests that carry a session nothing
// becomes metadata, and of the caller's metadata nothing is lost.
func TestMetadata_notFromHTTP(t *testing.T) {
	header := http.Header{}
	for name := range strings.FieldsSeq(`Accept-Language Authorization Cookie Forwarded Grpc-Timeout Proxy-Authorization Referer Te Traceparent
		User-Agent X-Forwarded-For X-Grpc-Web X-Tenant X-User-Agent`) {
		header.Set(name, "1n")
	}
	each(t, func(t *testing.T, choice []string) {
		w := newWorld(t, choice, bridge.Config{})
		ch := w.Client(t, client.Config{Transports: choice, UserAgent: "shop/1", Header: header})
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer x", "traceparent", "00-1-2-01", "mine", "kept")
		direct, err := reflected(ctx, w.Direct)
		check(t, err)
		through, err := reflected(ctx, ch)
		check(t, err)
		if !strings.HasPrefix(through["x-user-agent"], "shop/1 ") || !strings.HasPrefix(through["user-agent"], "pollbridge/") {
			t.Errorf("user agent %q, the caller's %q", through["user-agent"], through["x-user-agent"])
		}
		delete(through, "x-user-agent")
		for _, seen := range []map[string]string{direct, through} {
			seen["user-agent"] = "" // each channel's own
		}
		if !maps.Equal(through, direct) {
			t.Errorf("through the bridge %q, directly %q", through, direct)
		}
	})
}

// TestMetadata_limit: metadata over the limit ends its RPC, in either direction,
// with a status that names both sizes: keys, values, and 32 bytes for each pair.
func TestMetadata_limit(t *testing.T) {
	size := regexp.MustCompile(`^(metadata|headers|trailers) of (\d+) bytes (?:is|are) over the limit of 65536$`)
	each(t, func(t *testing.T, choice []string) {
		w := newWorld(t, choice, bridge.Config{})
		ch := w.Client(t, client.Config{Transports: choice})
		over := func(what string, ctx context.Context, script *echopb.Script) int {
			_, err := echopb.NewEchoClient(ch).Unary(ctx, &echopb.Request{Script: script})
			m := size.FindStringSubmatch(status.Convert(err).Message())
			if status.Code(err) != codes.ResourceExhausted || m == nil || m[1] != what {
				t.Fatalf("%s: %v", what, err)
			}
			n, err := strconv.Atoi(m[2])
			check(t, err)
			return n
		}
		long, more := strings.Repeat("x", 65536), strings.Repeat("y", 100)
		ctx := metadata.AppendToOutgoingContext(t.Context(), "k", long)
		pairs := []*echopb.Pair{{Key: "k", Value: []byte(long)}}
		further := append(pairs, &echopb.Pair{Key: "more", Value: []byte(more)})
		for what, sizes := range map[string][2]int{
			"metadata": {over("metadata", ctx, nil), over("metadata", metadata.AppendToOutgoingContext(ctx, "more", more), nil)},
			"headers":  {over("headers", t.Context(), &echopb.Script{Headers: pairs}), over("headers", t.Context(), &echopb.Script{Headers: further})},
			"trailers": {over("trailers", t.Context(), &echopb.Script{Trailers: pairs}), over("trailers", t.Context(), &echopb.Script{Trailers: further})},
		} {
			if got, want := sizes[1]-sizes[0], len("more")+len(more)+32; got != want {
				t.Errorf("%s: a further pair counts %d bytes, want %d", what, got, want)
			}
		}
	})
}

// echoAny is a server's answer to methods that it does not know: each message
// comes back as it is.
func echoAny(_ any, stream grpc.ServerStream) error {
	for {
		var m emptypb.Empty // keeps the fields that it does not know
		if err := stream.RecvMsg(&m); err != nil {
			return nil
		}
		if err := stream.SendMsg(&m); err != nil {
			return err
		}
	}
}

// TestMethods: the lists of methods that may be called hold on the whole road,
// and services by which a server describes itself are refused unless allowed.
func TestMethods(t *testing.T) {
	const own, reflection, channelz, envoy = "/shop.v1.Cart/Add", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.channelz.v1.Channelz/GetServers", "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"
	all := []string{own, reflection, channelz, envoy}
	for name, tt := range map[string]struct {
		allow, deny, reached []string
	}{
		"default":            {nil, nil, []string{own}},
		"reflection allowed": {[]string{"*", "grpc.reflection.*"}, nil, []string{own, reflection}},
		"channelz allowed":   {[]string{"*", "grpc.channelz.v1.Channelz"}, nil, []string{own, channelz}},
		"envoy allowed":      {[]string{"*", "envoy.*"}, nil, []string{own, envoy}},
		"one method":         {[]string{"shop.v1.Cart/Add"}, nil, []string{own}},
		"another method":     {[]string{"shop.v1.Cart/Get"}, nil, nil},
		"denied":             {nil, []string{"shop.v1.Cart/Add"}, []string{reflection, channelz, envoy}},
		"nothing denied":     {nil, []string{}, all},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, choice []string) {
				var mu sync.Mutex
				var came []string
				note := grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
					mu.Lock()
					came = append(came, info.FullMethod)
					mu.Unlock()
					return next(srv, stream)
				})
				w := newWorld(t, choice, bridge.Config{AllowMethods: tt.allow, DenyMethods: tt.deny}, grpc.UnknownServiceHandler(echoAny), note)
				for _, method := range all {
					err := w.Bridged.Invoke(t.Context(), method, new(emptypb.Empty), new(emptypb.Empty))
					if slices.Contains(tt.reached, method) {
						check(t, err)
					} else if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), method) {
						t.Errorf("got %v, want UNIMPLEMENTED that names %s", err, method)
					}
				}
				if !slices.Equal(came, tt.reached) {
					t.Errorf("%q reached the backend, want %q", came, tt.reached)
				}
			})
		})
	}
}

// sizes notes what a server receives: the compressor, and the lengths of
// messages.
type sizes struct {
	mu   sync.Mutex
	seen []string
}

func (*sizes) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*sizes) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*sizes) HandleConn(context.Context, stats.ConnStats)                       {}

func (s *sizes) HandleRPC(_ context.Context, e stats.RPCStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := e.(type) {
	case *stats.InHeader:
		s.seen = append(s.seen, fmt.Sprintf("%q", e.Compression))
	case *stats.InPayload:
		s.seen = append(s.seen, fmt.Sprintf("%d of %d bytes", e.CompressedLength, e.Length))
	}
}

// taken is what came since the last call.
func (s *sizes) taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.Join(s.seen, ", ")
	s.seen = nil
	return text
}

// TestCompression_asDirectly: the server gets messages compressed as the caller
// asked, and messages of no bytes at all, both ways.
func TestCompression_asDirectly(t *testing.T) {
	server := new(sizes)
	each(t, func(t *testing.T, choice []string) {
		w := newWorld(t, choice, bridge.Config{}, grpc.StatsHandler(server), grpc.UnknownServiceHandler(echoAny))
		for _, compressor := range []string{"", "gzip", "identity"} {
			for kind, desc := range map[string]*grpc.StreamDesc{
				"unary": {}, "server-stream": {ServerStreams: true}, "client-stream": {ClientStreams: true}, "bidi": {ServerStreams: true, ClientStreams: true},
			} {
				compare(t, kind+", 0 bytes, "+compressor, w, func(cc grpc.ClientConnInterface) string {
					return exchangeEmpty(t, cc, desc, compressor) + server.taken()
				})
			}
			for kind, run := range kinds {
				sc := scenario{size: 20_000, requests: 1, script: &echopb.Script{Replies: 1}}
				if compressor != "" {
					sc.opts = []grpc.CallOption{grpc.UseCompressor(compressor)}
				}
				compare(t, kind+", "+compressor, w, func(cc grpc.ClientConnInterface) string { return play(t, run, cc, sc) + server.taken() })
			}
		}
	})
}

// exchangeEmpty sends a message of no bytes and returns what came back.
func exchangeEmpty(t *testing.T, cc grpc.ClientConnInterface, desc *grpc.StreamDesc, compressor string) string {
	t.Helper()
	var opts []grpc.CallOption
	if compressor != "" {
		opts = append(opts, grpc.UseCompressor(compressor))
	}
	stream, err := cc.NewStream(t.Context(), desc, "/any.Service/Method", opts...)
	if err != nil {
		t.Fatal(err)
	}
	check(t, stream.SendMsg(new(emptypb.Empty)))
	check(t, stream.CloseSend())
	var seen strings.Builder
	for {
		reply := &emptypb.Empty{}
		err := stream.RecvMsg(reply)
		fmt.Fprintln(&seen, shown(err), len(reply.ProtoReflect().GetUnknown()))
		if err != nil || !desc.ServerStreams {
			return seen.String()
		}
	}
}
