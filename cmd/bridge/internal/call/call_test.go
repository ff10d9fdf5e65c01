package call_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/call"
	"github.com/pollbridge/pollbridge/internal/demo"
	"github.com/pollbridge/pollbridge/internal/demo/demopb"
)

// dial starts the demo service and returns a channel to it. A call whose
// metadata has the key "fail" gets a status with a detail of each sort.
func dial(t *testing.T, withReflection bool) *grpc.ClientConn {
	t.Helper()
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.UnaryInterceptor(failUnary))
	demo.Register(server)
	if withReflection {
		reflection.Register(server)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///demo", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		<-done
	})
	return conn
}

func failUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	grpc.SetHeader(ctx, metadata.Pairs("h", "1", "raw-bin", "\x00\xff"))
	grpc.SetTrailer(ctx, metadata.Pairs("t", "2"))
	if len(md["fail"]) == 0 {
		return handler(ctx, req)
	}
	s, err := status.New(codes.NotFound, "no such thing").WithDetails(
		protoadapt.MessageV1Of(&errdetails.ErrorInfo{Reason: "GONE", Domain: "example.com"}),
		protoadapt.MessageV1Of(structpb.NewStringValue("x")))
	if err != nil {
		return nil, err
	}
	p := s.Proto()
	p.Details[1].TypeUrl = "type.googleapis.com/nowhere.Known"
	return nil, status.FromProto(p).Err()
}

func descriptorSet(t *testing.T) []byte {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(demopb.File_pollbridge_demo_v1_demo_proto)
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const demoService = "pollbridge.demo.v1.Demo/"

// TestKinds calls one method of each kind, with types from reflection and from
// a descriptor set.
func TestKinds(t *testing.T) {
	echoFile := filepath.Join(t.TempDir(), "echo.json")
	if err := os.WriteFile(echoFile, []byte("{\"text\":\"two\"}\n{\"text\":\"three\"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, method string
		data         []string
		stdin        string
		want         []string
	}{
		{"unary", "Greet", []string{`{"name":"Ada"}`}, "", []string{`{"greeting":"Hello, Ada!"}`}},
		{"server streaming", "Count", []string{`{"to":3}`}, "", []string{`{"number":1}`, `{"number":2}`, `{"number":3}`}},
		{
			"client streaming, two of standard input", "Upload", []string{"-"}, `{"chunk":"AAAA"} {"chunk":"AA=="}`,
			[]string{`{"bytes":"4","messages":"2","sha256":"3z9hmASpL9tAVxktxD3XSOp3itxSvEmM6AUkwBS4ERk="}`},
		},
		{"client streaming, nothing given", "Upload", nil, "", []string{`{"sha256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`}},
		{
			"bidi streaming, text and file", "Echo", []string{`{"text":"one"}`, "@" + echoFile}, "",
			[]string{`{"text":"one","number":"1"}`, `{"text":"two","number":"2"}`, `{"text":"three","number":"3"}`},
		},
	}
	conn, bare := dial(t, true), dial(t, false)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, source := range []struct {
				conn *grpc.ClientConn
				set  []byte
			}{{conn, nil}, {bare, descriptorSet(t)}} {
				var out bytes.Buffer
				request := call.Request{
					Method: demoService + test.method, Descriptors: source.set, Compact: true,
					Messages: call.Read(test.data, strings.NewReader(test.stdin)),
				}
				if err := call.Run(t.Context(), source.conn, request, &out); err != nil {
					t.Fatal(err)
				}
				if got, want := out.String(), strings.Join(test.want, "\n")+"\n"; got != want {
					t.Errorf("got\n%swant\n%s", got, want)
				}
			}
		})
	}
}

// TestReflectionFails: what went wrong is said once.
func TestReflectionFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := call.Run(ctx, dial(t, true), call.Request{Method: demoService + "Greet", Messages: call.Read(nil, nil)}, io.Discard)
	if want := "reflection: CANCELLED: context canceled"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestStatus(t *testing.T) {
	var out, notes bytes.Buffer
	request := call.Request{
		Method: "/" + demoService + "Greet", Messages: call.Read(nil, nil), Metadata: metadata.Pairs("fail", "yes"), Headers: true, Notes: &notes,
	}
	err := call.Run(t.Context(), dial(t, true), request, &out)
	ended, ok := errors.AsType[*call.StatusError](err)
	if !ok {
		t.Fatalf("got %v, want a StatusError", err)
	}
	want := "NOT_FOUND: no such thing\n" +
		`detail: {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"GONE","domain":"example.com"}` + "\n" +
		"detail: type.googleapis.com/nowhere.Known of unknown type, 3 bytes"
	if ended.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", ended, want)
	}
	for _, line := range []string{"header h: 1\n", "header raw-bin: AP8=\n", "trailer t: 2\n"} {
		if !strings.Contains(notes.String(), line) {
			t.Errorf("notes lack %q:\n%s", line, notes.String())
		}
	}
	if out.Len() != 0 {
		t.Errorf("printed %q", out.String())
	}
}

// TestNothingGiven holds that an RPC of one message then gets an empty one.
func TestNothingGiven(t *testing.T) {
	request := call.Request{Method: demoService + "Greet", Messages: call.Read(nil, nil)}
	err := call.Run(t.Context(), dial(t, true), request, &bytes.Buffer{})
	if want := "INVALID_ARGUMENT: name length: 0 is not in 1 to 100"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestIndent(t *testing.T) {
	var out bytes.Buffer
	request := call.Request{Method: demoService + "Greet", Messages: call.Read([]string{`{"name":"Ada"}`}, nil)}
	if err := call.Run(t.Context(), dial(t, true), request, &out); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"greeting\": \"Hello, Ada!\"\n}\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

// TestInput holds what bad input is told.
func TestInput(t *testing.T) {
	conn, bare := dial(t, true), dial(t, false)
	tests := []struct {
		name, method string
		data         []string
		conn         *grpc.ClientConn
		set          []byte
		want         string
	}{
		{"no slash", "Greet", nil, conn, nil, `"Greet" is not a method, want package.Service/Method`},
		{"no service", "a.B/C", nil, conn, nil, "the server does not know a.B"},
		{"no service in set", "a.B/C", nil, bare, descriptorSet(t), "no service a.B, have pollbridge.demo.v1.Demo"},
		{"no method", demoService + "Great", nil, conn, nil, "no method Great in pollbridge.demo.v1.Demo, have Greet, Count, Upload, Download, Echo, Chat"},
		{"no set", demoService + "Greet", nil, bare, []byte{1}, "not a descriptor set: "},
		{"not JSON", demoService + "Greet", []string{"{"}, conn, nil, `-d "{" is not JSON: unexpected EOF`},
		{"no file", demoService + "Greet", []string{"@missing.json"}, conn, nil, "open missing.json: no such file or directory"},
		{"two for one", demoService + "Greet", []string{"{} {}"}, conn, nil, `pollbridge.demo.v1.Demo.Greet takes one message, but -d "{} {}", message 2 is a second one`},
		{"unknown field", demoService + "Greet", []string{`{"nam":"x"}`}, conn, nil, `-d "{\"nam\":\"x\"}" is not a pollbridge.demo.v1.GreetRequest: (line 1:2): unknown field "nam"`},
		{"unknown field in a stream", demoService + "Echo", []string{`{}`, `{"a":1}`}, conn, nil, `-d "{\"a\":1}" is not a pollbridge.demo.v1.EchoRequest: (line 1:2): unknown field "a"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request := call.Request{Method: test.method, Messages: call.Read(test.data, nil), Descriptors: test.set, Compact: true}
			err := call.Run(t.Context(), test.conn, request, &bytes.Buffer{})
			if _, ok := errors.AsType[*call.InputError](err); !ok || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %T %v, want an InputError that begins %s", err, err, test.want)
			}
		})
	}
}

func TestNoReflection(t *testing.T) {
	request := call.Request{Method: demoService + "Greet", Messages: call.Read(nil, nil)}
	err := call.Run(t.Context(), dial(t, false), request, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "give --descriptor-set FILE") {
		t.Errorf("got %v, want advice", err)
	}
}

func TestParseMetadata(t *testing.T) {
	md, err := call.ParseMetadata([]string{"A: b", "a:c:d", "x-bin: AP8", "y-bin: AP8="})
	if err != nil {
		t.Fatal(err)
	}
	want := metadata.Pairs("a", "b", "a", "c:d", "x-bin", "\x00\xff", "y-bin", "\x00\xff")
	for key := range want {
		if strings.Join(md[key], "|") != strings.Join(want[key], "|") {
			t.Errorf("%s: got %q, want %q", key, md[key], want[key])
		}
	}
	for _, bad := range []string{"a", ": b", "a-bin: *"} {
		if _, err := call.ParseMetadata([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
