package bridge_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/wire"
)

func list(pairs ...string) []wire.Metadatum {
	var l []wire.Metadatum
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, wire.Metadatum{Key: pairs[i], Value: pairs[i+1]})
	}
	return l
}

func TestRequestMetadata(t *testing.T) {
	for _, tt := range []struct {
		what string
		in   []wire.Metadatum
		want metadata.MD
	}{
		{"nothing", nil, metadata.MD{}},
		{"credentials", list("Authorization", "Bearer x"), metadata.MD{"authorization": {"Bearer x"}}},
		{"trace", list("traceparent", "00-1-2-01", "tracestate", "a=b"), metadata.MD{"traceparent": {"00-1-2-01"}, "tracestate": {"a=b"}}},
		{"gRPC's trace keys", list("grpc-trace-bin", "\x01", "grpc-tags-bin", "\x02"), metadata.MD{"grpc-trace-bin": {"\x01"}, "grpc-tags-bin": {"\x02"}}},
		{"repeated keys, in order", list("k", "2", "x", "", "K", "1"), metadata.MD{"k": {"2", "1"}, "x": {""}}},
		{"bytes", list("k-bin", "\x00\xff,", "k-bin", ""), metadata.MD{"k-bin": {"\x00\xff,", ""}}},
		{"what gRPC refuses", list("bad key", "v"), metadata.MD{"bad key": {"v"}}},
		{"the client's user agent", list("user-agent", "app/1"), metadata.MD{"x-user-agent": {"app/1"}}},
		{"the caller's user agent", list("user-agent", "app/1", "x-user-agent", "mine"), metadata.MD{"x-user-agent": {"mine"}}},
	} {
		if got := bridge.RequestMetadata(tt.in); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
}

// TestRequestMetadata_dropped: HTTP's own headers, those of one hop and gRPC's
// never become metadata, however they are written.
func TestRequestMetadata_dropped(t *testing.T) {
	for key := range strings.FieldsSeq(`accept-encoding connection content-length content-type cookie host http2-settings keep-alive
		origin te trailer transfer-encoding upgrade proxy-authorization proxy-authenticate proxy-connection sec-fetch-site
		sec-websocket-key :path :authority :method grpc-timeout grpc-status grpc-message grpc-status-details-bin grpc-encoding
		grpc-accept-encoding grpc-message-type grpc-previous-rpc-attempts grpc-retry-pushback-ms grpc-internal-encoding-request`) {
		for _, written := range []string{key, strings.ToUpper(key), http.CanonicalHeaderKey(key)} {
			if got := bridge.RequestMetadata(list(written, "x", "kept", "y")); len(got) != 1 || got["kept"] == nil {
				t.Errorf("%s: got %v", written, got)
			}
		}
	}
}

// TestProxy_forgedMetadata: whatever keys a client puts into an Open, the backend
// sees its own channel's and those that a client may set.
func TestProxy_forgedMetadata(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{})
	forged := list("grpc-timeout", "1n", "grpc-encoding", "gzip", "grpc-status", "5", "grpc-previous-rpc-attempts", "3", "content-length", "1",
		"Content-Type", "text/html", "connection", "close", "te", "gzip", "host", "evil.example", ":authority", "evil.example", ":path", "/x",
		"cookie", "a=b", "origin", "https://evil.example", "transfer-encoding", "chunked", "authorization", "Bearer x", "traceparent", "00-1-2-01", "user-agent", "app/1")
	st := newStream(t, &echopb.Request{Script: &echopb.Script{Reflect: true}})
	close(st.up)
	end := srv.RunRPC(t.Context(), st, &wire.Open{Method: echopb.Echo_Unary_FullMethodName, SingleRequest: true, SingleResponse: true, Metadata: forged})
	if end.Status != 0 || len(st.messages) != 1 {
		t.Fatalf("ended with %+v after %d messages", end, len(st.messages))
	}
	seen := map[string]string{}
	for _, p := range st.messages[0].GetMetadata() {
		seen[p.GetKey()] += string(p.GetValue())
	}
	if agent := seen["user-agent"]; !strings.HasPrefix(agent, "pollbridge/") {
		t.Errorf("user agent %q", agent)
	}
	delete(seen, "user-agent")
	delete(seen, "grpc-accept-encoding") // what the bridge can decompress
	want := map[string]string{
		":authority": "in-process", "content-type": "application/grpc", "authorization": "Bearer x", "traceparent": "00-1-2-01", "x-user-agent": "app/1",
	}
	if !reflect.DeepEqual(seen, want) || st.messages[0].GetTimeoutMs() != 0 {
		t.Errorf("the backend saw %q and a deadline of %d ms, want %q and none", seen, st.messages[0].GetTimeoutMs(), want)
	}
}

// TestForwardHeaders: of the browser's request only what the list names becomes
// metadata.
func TestForwardHeaders(t *testing.T) {
	header := http.Header{
		"Cookie": {"a=b"}, "User-Agent": {"Mozilla/5.0"}, "X-Tenant": {"acme", "second"}, "X-Odd": {"caf\u00e9", "plain"}, "Origin": {"https://a.example"},
	}
	for _, tt := range []struct {
		names []string
		want  metadata.MD
	}{
		{nil, metadata.MD{}},
		{[]string{"X-Absent"}, metadata.MD{"x-absent": nil}},
		{[]string{"x-tenant", "cookie"}, metadata.MD{"x-tenant": {"acme", "second"}, "cookie": {"a=b"}}},
		{[]string{"User-Agent", "Origin"}, metadata.MD{"x-user-agent": {"Mozilla/5.0"}, "origin": {"https://a.example"}}},
		{[]string{"X-Odd"}, metadata.MD{"x-odd": {"plain"}}},
	} {
		if got := bridge.Forwarded(header, tt.names); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%v: got %q, want %q", tt.names, got, tt.want)
		}
	}
}
