package schema_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pollbridge/pollbridge/internal/schema"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// server is one that can be asked for its types, with the service echo in a
// version that the test chooses.
type server struct {
	versions []string // of reflection that it has
	files    []*descriptorpb.FileDescriptorProto
	err      error
	asked    int // RPCs
}

func (s *server) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return errors.ErrUnsupported
}

func (s *server) NewStream(_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	s.asked++
	if s.err != nil {
		return nil, s.err
	}
	for _, v := range s.versions {
		if method == "/grpc.reflection."+v+".ServerReflection/ServerReflectionInfo" {
			return &answers{server: s}, nil
		}
	}
	return nil, status.Error(codes.Unimplemented, "unknown service")
}

// answers is a stream of them.
type answers struct {
	grpc.ClientStream
	server *server
	ask    *reflection.ServerReflectionRequest
}

func (a *answers) SendMsg(m any) error {
	a.ask = m.(*reflection.ServerReflectionRequest)
	return nil
}

func (a *answers) RecvMsg(m any) error {
	for _, f := range a.server.files {
		isIt := f.GetName() == a.ask.GetFileByFilename()
		for _, s := range f.GetService() {
			isIt = isIt || f.GetPackage()+"."+s.GetName() == a.ask.GetFileContainingSymbol()
		}
		if !isIt {
			continue
		}
		data, err := proto.Marshal(f)
		if err != nil {
			return err
		}
		proto.Merge(m.(proto.Message), &reflection.ServerReflectionResponse{MessageResponse: &reflection.ServerReflectionResponse_FileDescriptorResponse{
			FileDescriptorResponse: &reflection.FileDescriptorResponse{FileDescriptorProto: [][]byte{data}},
		}})
		return nil
	}
	proto.Merge(m.(proto.Message), &reflection.ServerReflectionResponse{MessageResponse: &reflection.ServerReflectionResponse_ErrorResponse{
		ErrorResponse: &reflection.ErrorResponse{ErrorCode: int32(codes.NotFound), ErrorMessage: "not here"},
	}})
	return nil
}

func (a *answers) CloseSend() error { return nil }

// echoFile is the test service's file, with further methods that are as Unary.
func echoFile(methods ...string) *descriptorpb.FileDescriptorProto {
	file := protodesc.ToFileDescriptorProto(echopb.File_internal_testsvc_echopb_echo_proto)
	for _, name := range methods {
		m := proto.CloneOf(file.GetService()[0].GetMethod()[0])
		m.Name = &name
		file.Service[0].Method = append(file.Service[0].Method, m)
	}
	return file
}

func newSource(s *server) *schema.Source {
	return schema.NewSource(s, nil, slog.New(slog.DiscardHandler))
}

const echo = "/pollbridge.test.v1.Echo/"

// TestSource_versions: reflection's older version does where there is no other.
func TestSource_versions(t *testing.T) {
	for _, version := range []string{"v1", "v1alpha"} {
		source := newSource(&server{versions: []string{version}, files: []*descriptorpb.FileDescriptorProto{echoFile()}})
		m, err := source.Method(t.Context(), echo+"Bidi")
		if err != nil || !m.IsStreamingClient() || !m.IsStreamingServer() {
			t.Errorf("%s: got %v, %v", version, m, err)
		}
	}
	_, err := newSource(&server{}).Method(t.Context(), echo+"Bidi")
	if _, ok := errors.AsType[*schema.NoReflectionError](err); !ok {
		t.Errorf("without reflection: %v", err)
	}
}

// TestSource_changes: a server is asked once, again at once for what it did not
// have, and beside its use after a minute.
func TestSource_changes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{versions: []string{"v1"}, files: []*descriptorpb.FileDescriptorProto{echoFile()}}
		source := newSource(s)
		expect := func(method string, known bool, asked int) {
			t.Helper()
			_, err := source.Method(t.Context(), echo+method)
			if _, unknown := errors.AsType[*schema.UnknownError](err); (err == nil) != known || !known && !unknown {
				t.Errorf("%s: %v, want known: %v", method, err, known)
			}
			synctest.Wait()
			if s.asked != asked {
				t.Errorf("%s: asked %d times, want %d", method, s.asked, asked)
			}
		}
		expect("Unary", true, 1)
		expect("Unary", true, 1)
		expect("New", false, 1) // it has just been asked
		time.Sleep(time.Second)
		expect("New", false, 2)
		s.files[0] = echoFile("New")
		expect("New", false, 2)
		time.Sleep(time.Second)
		expect("New", true, 3)
		time.Sleep(59 * time.Second)
		expect("New", true, 3)
		s.files[0] = echoFile("New", "Newer")
		time.Sleep(time.Second)
		expect("New", true, 4) // and is asked without anybody waiting
		expect("Newer", true, 4)
		s.err = status.Error(codes.Unavailable, "away")
		time.Sleep(time.Minute)
		expect("Newer", true, 5) // what is known counts on
		expect("Newer", true, 5)
		source.Close()
	})
}

// TestSource_bounded: no more than so many services are kept, the latest.
func TestSource_bounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{versions: []string{"v1"}, files: []*descriptorpb.FileDescriptorProto{echoFile()}}
		source := newSource(s)
		for i := range 600 {
			name := "/a.S" + strings.Repeat("x", i) + "/M"
			if _, err := source.Method(t.Context(), name); err == nil {
				t.Fatal("an unknown service is known")
			}
			time.Sleep(time.Millisecond)
			if _, err := source.Method(t.Context(), echo+"Unary"); err != nil {
				t.Fatal(err)
			}
		}
		if s.asked != 601 {
			t.Errorf("asked %d times, want 601: the service in use was forgotten", s.asked)
		}
	})
}

// TestFile: a file counts before the server, and is read again when it changed.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.binpb")
	write := func(files ...*descriptorpb.FileDescriptorProto) {
		t.Helper()
		data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: files})
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := schema.OpenFile(path, slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	write(echoFile())
	file, err := schema.OpenFile(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{}
	source := schema.NewSource(s, file, slog.New(slog.DiscardHandler))
	if _, err := source.Method(t.Context(), echo+"Unary"); err != nil || s.asked != 0 {
		t.Errorf("got %v, asked %d times", err, s.asked)
	}
	write(echoFile("New"))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := source.Method(t.Context(), echo+"New"); err == nil || time.Now().After(deadline) {
			if err != nil {
				t.Error(err)
			}
			break
		}
	}
	if err := os.WriteFile(path, []byte("\xff"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond)
	if _, err := source.Method(t.Context(), echo+"New"); err != nil {
		t.Errorf("a broken file in its place: %v", err)
	}
}

// FuzzJSON: what is taken from JSON is the same after a way through protobuf and
// back.
func FuzzJSON(f *testing.F) {
	source := newSource(&server{versions: []string{"v1"}, files: []*descriptorpb.FileDescriptorProto{echoFile()}})
	method, err := source.Method(context.Background(), echo+"Unary")
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"number":"1","payload":"AAE=","script":{"headers":[{"key":"a","value":"YQ=="}]}}`))
	f.Add([]byte(`{"script":{"script":{}}}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		message, err := method.Request(text, true)
		if err != nil {
			return
		}
		once, err := method.JSON(message)
		if err != nil {
			t.Fatal(err)
		}
		again, err := method.Request(once, false)
		if err != nil || !proto.Equal(message, again) {
			t.Errorf("%s became %s: %v", text, once, err)
		}
	})
}

// FuzzParse: a descriptor set is taken or refused.
func FuzzParse(f *testing.F) {
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{echoFile()}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := schema.Parse(data)
		if err != nil {
			return
		}
		if m, err := s.Method("pollbridge.test.v1.Echo", "Unary"); err == nil {
			_, err = m.Request([]byte(`{"number":1}`), false)
			_ = m.NewResponse()
			if err != nil && errors.Is(err, io.EOF) {
				t.Error(err)
			}
		}
	})
}
