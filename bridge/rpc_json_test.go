package bridge_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// post makes a request as curl does.
func post(t *testing.T, url, contentType, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(text)
}

// sameJSON reports whether two texts say the same.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}

// jsonServer is a bridge before a test service that tells its types or not.
func jsonServer(t *testing.T, cfg bridge.Config, withReflection bool) string {
	t.Helper()
	svc := testsvc.New()
	if withReflection {
		reflection.Register(svc.GRPC)
	}
	cfg.RPC = true
	cfg.Backends = []bridge.Backend{{GRPCServer: svc.GRPC}}
	plain, _ := listen(t, bridgeOf(t, cfg))
	t.Cleanup(svc.Stop)
	return plain.URL
}

func descriptorFile(t *testing.T) string {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(echopb.File_internal_testsvc_echopb_echo_proto)
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "echo.binpb")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestJSON_unary: what curl says and hears, with types from the backend and
// from a file.
func TestJSON_unary(t *testing.T) {
	urls := map[string]string{
		"reflection": jsonServer(t, bridge.Config{}, true),
		"file":       jsonServer(t, bridge.Config{Descriptors: descriptorFile(t)}, false),
	}
	for name, url := range urls {
		for _, tt := range []struct {
			method, body string
			status       int
			want         string
		}{
			{"Unary", `{"number":"1","payload":"AAE="}`, 200, `{"number":"1","payload":"AAE=","requests":"1","requestBytes":"2"}`},
			{"Unary", ``, 200, `{"number":"1","requests":"1"}`},
			{"Unary", `{"number":"1","nobody":"knows"}`, 200, `{"number":"1","requests":"1"}`},
			{"Unary", `{"script":{"status":5,"message":"gone"}}`, 404, `{"code":"not_found","message":"gone"}`},
			{"Unary", `{"number":`, 400, `{"code":"invalid_argument","message":"request: not a pollbridge.test.v1.Request: unexpected EOF"}`},
			{"Unary", `{"number":{}}`, 400, `{"code":"invalid_argument","message":"request: not a pollbridge.test.v1.Request: (line 1:11): invalid value for uint64 field number: {"}`},
			{"Nothing", `{}`, 501, `{"code":"unimplemented","message":"no method Nothing in pollbridge.test.v1.Echo, have Unary, ServerStream, ClientStream, Bidi"}`},
			{"ServerStream", `{}`, 501, `{"code":"unimplemented","message":"/pollbridge.test.v1.Echo/ServerStream is a stream, for application/connect+json"}`},
		} {
			answer, got := post(t, url+"/pollbridge.test.v1.Echo/"+tt.method, "application/json", tt.body)
			if answer.StatusCode != tt.status || !sameJSON(t, got, tt.want) || answer.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s %s: got %d %s %s, want %d %s", name, tt.method, tt.body, answer.StatusCode, answer.Header.Get("Content-Type"), got, tt.status, tt.want)
			}
		}
	}
	answer, got := post(t, urls["reflection"]+"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "application/json", `{}`)
	if answer.StatusCode != 404 || !strings.Contains(got, "not allowed on this bridge") {
		t.Errorf("reflection itself: got %d %s", answer.StatusCode, got)
	}
}

// TestJSON_noTypes: a backend that does not tell its types.
func TestJSON_noTypes(t *testing.T) {
	url := jsonServer(t, bridge.Config{}, false)
	answer, got := post(t, url+"/pollbridge.test.v1.Echo/Unary", "application/json", `{}`)
	if answer.StatusCode != 501 || !strings.Contains(got, "give the bridge --descriptors FILE") {
		t.Errorf("got %d %s", answer.StatusCode, got)
	}
}

// TestJSON_stream: a stream of JSON in Connect's envelopes.
func TestJSON_stream(t *testing.T) {
	url := jsonServer(t, bridge.Config{}, true)
	answer, got := post(t, url+"/pollbridge.test.v1.Echo/ServerStream", "application/connect+json", enveloped(0, `{"number":"7","script":{"replies":2,"trailers":[{"key":"t","value":"MQ=="}]}}`))
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "application/connect+json" {
		t.Errorf("got %d, %s", answer.StatusCode, answer.Header.Get("Content-Type"))
	}
	want := []string{`{"number":"1","requests":"1"}`, `{"number":"2","requests":"2"}`, `{"metadata":{"T":["1"]}}`}
	frames := open(t, got)
	if len(frames) != len(want) {
		t.Fatalf("%d frames: %q", len(frames), frames)
	}
	for i, f := range frames {
		if !sameJSON(t, f.text, want[i]) || (f.flags == 2) != (i == len(want)-1) {
			t.Errorf("frame %d: flags %d, %s, want %s", i, f.flags, f.text, want[i])
		}
	}
	_, got = post(t, url+"/pollbridge.test.v1.Echo/ServerStream", "application/connect+json", enveloped(0, `{"script":{"status":5,"message":"gone"}}`))
	if frames := open(t, got); len(frames) != 1 || frames[0].flags != 2 || !sameJSON(t, frames[0].text, `{"error":{"code":"not_found","message":"gone"}}`) {
		t.Errorf("got %q", got)
	}
}

// enveloped puts messages into envelopes, one behind the other.
func enveloped(flags byte, messages ...string) string {
	var b bytes.Buffer
	for _, m := range messages {
		b.WriteByte(flags)
		_ = binary.Write(&b, binary.BigEndian, uint32(len(m)))
		b.WriteString(m)
	}
	return b.String()
}

type frame struct {
	flags byte
	text  string
}

// open takes a stream of envelopes apart.
func open(t *testing.T, stream string) (frames []frame) {
	t.Helper()
	for len(stream) > 0 {
		if len(stream) < 5 || len(stream) < 5+int(binary.BigEndian.Uint32([]byte(stream[1:5]))) {
			t.Fatalf("cut envelope: %q", stream)
		}
		end := 5 + int(binary.BigEndian.Uint32([]byte(stream[1:5])))
		frames = append(frames, frame{stream[0], stream[5:end]})
		stream = stream[end:]
	}
	return frames
}

// anyCodec hands bytes through, whatever they are called.
type anyCodec struct{ name string }

func (anyCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (anyCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (c anyCodec) Name() string                     { return c.name }

// TestJSON_passed: a backend that speaks JSON gets and gives the very bytes.
func TestJSON_passed(t *testing.T) {
	server := grpc.NewServer(grpc.ForceServerCodec(anyCodec{"json"}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(stream.Context())
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		reply := fmt.Appendf(nil, `{ "type" :%q,"got":%s}`, md.Get("content-type")[0], request)
		return stream.SendMsg(&reply)
	}))
	plain, _ := listen(t, bridgeOf(t, bridge.Config{RPC: true, Backends: []bridge.Backend{{GRPCServer: server, JSON: true}}}))
	t.Cleanup(server.Stop)
	answer, got := post(t, plain.URL+"/any.Service/Method", "application/json; charset=utf-8", `{ "a":1 }`)
	if want := `{ "type" :"application/grpc+json","got":{ "a":1 }}`; answer.StatusCode != 200 || got != want {
		t.Errorf("got %d %s, want %s", answer.StatusCode, got, want)
	}
}
