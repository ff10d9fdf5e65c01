package client_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/wire"
)

const method = "/pkg.Service/Method"

type taggedOption struct {
	grpc.EmptyCallOption
	tag string
}

type sneakyOption struct{ grpc.CompressorCallOption }

func TestOptionsRefused(t *testing.T) {
	for _, tt := range []struct {
		option grpc.CallOption
		code   codes.Code
		want   string
	}{
		{grpc.CallAuthority("other.test"), codes.Unimplemented, "grpc.AuthorityOverrideCallOption"},
		{experimental.AcceptCompressors("gzip"), codes.Unimplemented, "grpc.acceptCompressorsCallOption"},
		{sneakyOption{}, codes.Unimplemented, "client_test.sneakyOption"},
		{grpc.CallContentSubtype("Cbor"), codes.Internal, "no codec registered for content-subtype cbor"},
		{grpc.UseCompressor("gz\xff"), codes.Internal, `compressor "gz\xff"`},
	} {
		var finished error
		c, err := client.New("http://bridge.test", client.Config{Lazy: true})
		if err != nil {
			t.Fatal(err)
		}
		err = c.Invoke(t.Context(), method, nil, nil, tt.option, grpc.OnFinish(func(err error) { finished = err }))
		if status.Code(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%T: %v", tt.option, err)
		}
		if !errors.Is(finished, err) {
			t.Errorf("%T: OnFinish got %v", tt.option, finished)
		}
	}
	c, err := client.New("http://bridge.test", client.Config{Lazy: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.NewStream(t.Context(), chat, method, client.Idempotent())
	if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), method) {
		t.Errorf("Idempotent on a stream of requests: %v", err)
	}
}

func TestOptionsTaken(t *testing.T) {
	f := &fakeRPC{end: &wire.End{}, sent: true}
	_, err := inTurn(t, f).NewStream(t.Context(), chat, taggedOption{tag: "x"}, &taggedOption{}, grpc.EmptyCallOption{},
		grpc.StaticMethod(), grpc.MaxRetryRPCBufferSize(5), grpc.WaitForReady(true))
	if err != nil || !f.open.WaitForReady {
		t.Errorf("%v, open %+v", err, f.open)
	}
}

func TestOutgoing(t *testing.T) {
	ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{
		"Key": {"a", ""}, "x-bin": {"\x00\xff"},
		"grpc-timeout": {"1S"}, "te": {"x"}, "user-agent": {"forged"}, "content-type": {"x"}, ":path": {"/"},
	})
	ctx = metadata.AppendToOutgoingContext(ctx, "KEY", "b", "x-bin", "raw", "grpc-status", "0", "grpc-previous-rpc-attempts", "1")
	got, err := client.Outgoing(ctx, "http://bridge.test", method)
	if err != nil {
		t.Fatal(err)
	}
	want := metadata.MD{
		"key": {"a", "", "b"}, "x-bin": {"\x00\xff", "raw"}, "grpc-previous-rpc-attempts": {"1"},
		"user-agent": {"app/1 " + client.Release + " grpc-go/" + grpc.Version},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestOutgoingRefused(t *testing.T) {
	for key, value := range map[string]string{
		"":          "empty key",
		"a b":       `"a b" contains illegal characters`,
		"k\u00e9":   "illegal characters",
		"bad-value": `"bad-value" contains value with non-printable`,
	} {
		_, err := client.Outgoing(metadata.AppendToOutgoingContext(t.Context(), key, "x\n"), "http://bridge.test", method)
		if status.Code(err) != codes.Internal || !strings.Contains(err.Error(), value) {
			t.Errorf("%q: %v does not say %q", key, err, value)
		}
	}
}

// TestMalformedMethod: what is no method is told at once, and nothing is sent.
func TestMalformedMethod(t *testing.T) {
	ch, err := client.New("http://bridge.test", client.Config{Lazy: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	for _, name := range []string{"", "a.B/C", "/a.B", "/a.x/../b.S/M", "/a%2eB/C", "/a.B/C D", "//a.B/C"} {
		var finished error
		err := ch.Invoke(t.Context(), name, nil, nil, grpc.OnFinish(func(err error) { finished = err }))
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "malformed") || finished == nil {
			t.Errorf("Invoke %q: %v, finished with %v", name, err, finished)
		}
		if _, err := ch.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, name); status.Code(err) != codes.Unimplemented {
			t.Errorf("NewStream %q: %v", name, err)
		}
	}
	if phase := ch.State().Phase; phase != "idle" {
		t.Errorf("the session is %s", phase)
	}
}

// tokens are credentials that note what they were asked.
type tokens struct {
	md     map[string]string
	err    error
	secure bool
	asked  []string
}

func (c *tokens) RequireTransportSecurity() bool { return c.secure }

func (c *tokens) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	info, _ := credentials.RequestInfoFromContext(ctx)
	c.asked = append(c.asked, info.Method, uri[0])
	if c.secure {
		if err := credentials.CheckSecurityLevel(info.AuthInfo, credentials.PrivacyAndIntegrity); err != nil {
			return nil, err
		}
	}
	return c.md, c.err
}

func TestCredentials(t *testing.T) {
	token := map[string]string{"Authorization": "Bearer x"}
	for _, tt := range []struct {
		name, url, want string
		creds           *tokens
		code            codes.Code
		audience        string
	}{
		{"secure", "https://bridge.test:443", "", &tokens{md: token, secure: true}, codes.OK, "https://bridge.test/pkg.Service"},
		{"secure by wss", "wss://bridge.test:8443", "", &tokens{md: token, secure: true}, codes.OK, "https://bridge.test:8443/pkg.Service"},
		{"insecure allowed", "http://bridge.test", "", &tokens{md: token}, codes.OK, "https://bridge.test/pkg.Service"},
		{"insecure", "http://bridge.test", "cannot send secure credentials", &tokens{md: token, secure: true}, codes.Unauthenticated, ""},
		{"failed", "http://bridge.test", "per-RPC creds failed due to error: none", &tokens{err: errors.New("none")}, codes.Internal, "https://bridge.test/pkg.Service"},
		{"status", "http://bridge.test", "late", &tokens{err: status.Error(codes.PermissionDenied, "late")}, codes.PermissionDenied, "https://bridge.test/pkg.Service"},
		{"illegal status", "http://bridge.test", "illegal status", &tokens{err: status.Error(codes.NotFound, "x")}, codes.Internal, "https://bridge.test/pkg.Service"},
		{"illegal key", "http://bridge.test", "illegal characters", &tokens{md: map[string]string{"a b": "c"}}, codes.Internal, "https://bridge.test/pkg.Service"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := client.Outgoing(t.Context(), tt.url, method, grpc.PerRPCCredentials(tt.creds))
			if status.Code(err) != tt.code || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
			if err == nil && !reflect.DeepEqual(got["authorization"], []string{"Bearer x"}) {
				t.Errorf("%v", got)
			}
			if tt.audience != "" && !reflect.DeepEqual(tt.creds.asked, []string{method, tt.audience}) {
				t.Errorf("asked %q", tt.creds.asked)
			}
		})
	}
}
