package e2e_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

var oldBridge = flag.String("compat", "", "the program bridge of 0.1.0")

// TestCompat_oldBridge has this client at the bridge of 0.1.0.
func TestCompat_oldBridge(t *testing.T) {
	svc, direct := oldWorld(t)
	url := serveOld(t, svc.Addr)
	for _, name := range []string{"plain", "empty", "many", "fragments", "large", "metadata", "failure", "details", "gzip"} {
		t.Run(name, func(t *testing.T) {
			for choice, transports := range transports {
				ch, err := client.New(url, client.Config{Transports: transports})
				check(t, err)
				for kind, run := range kinds {
					want := play(t, run, direct, scenarios[name])
					if got := play(t, run, ch, scenarios[name]); got != want {
						t.Errorf("%s, %s: through the bridge:\n%.2000s\ndirectly:\n%.2000s", choice, kind, got, want)
					}
				}
				check(t, ch.Close())
			}
		})
	}
}

// TestCompat_oldClient has the client of 0.1.0 at this bridge.
func TestCompat_oldClient(t *testing.T) {
	svc, _ := oldWorld(t)
	srv, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: svc.Addr}}})
	check(t, err)
	front := httptest.NewServer(srv)
	t.Cleanup(func() {
		front.Close()
		check(t, srv.Shutdown(context.Background()))
	})
	types := filepath.Join(t.TempDir(), "echo.binpb")
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(echopb.File_internal_testsvc_echopb_echo_proto)}}
	data, err := proto.Marshal(set)
	check(t, err)
	check(t, os.WriteFile(types, data, 0o600))

	calls := map[string]struct {
		messages []string
		replies  int
	}{
		"Unary":        {[]string{`{"number":1}`}, 1},
		"ServerStream": {[]string{`{"number":1,"script":{"replies":3}}`}, 3},
		"ClientStream": {[]string{`{"number":1}`, `{"number":2}`}, 1},
		"Bidi":         {[]string{`{"number":1}`, `{"number":2}`, `{"number":3}`}, 3},
	}
	for method, c := range calls {
		for _, transport := range []string{"longpoll", "ws", "auto"} {
			args := []string{"call", front.URL, echopb.Echo_ServiceDesc.ServiceName + "/" + method, "--descriptor-set", types, "--compact", "--transport", transport}
			for _, m := range c.messages {
				args = append(args, "-d", m)
			}
			out, err := exec.CommandContext(t.Context(), *oldBridge, args...).CombinedOutput()
			if err != nil || strings.Count(string(out), "\n") != c.replies {
				t.Errorf("%s over %s: %v, want %d replies:\n%s", method, transport, err, c.replies, out)
			}
		}
	}
}

// oldWorld is a test service on a socket, and a way to it without a bridge.
func oldWorld(t *testing.T) (*testsvc.Server, *grpc.ClientConn) {
	t.Helper()
	if *oldBridge == "" {
		t.Skip("no -compat: ./test.sh full builds it")
	}
	svc, err := testsvc.Listen("")
	check(t, err)
	t.Cleanup(svc.Stop)
	direct, err := grpc.NewClient(svc.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(t, err)
	t.Cleanup(func() { check(t, direct.Close()) })
	return svc, direct
}

// serveOld starts the bridge of 0.1.0 and returns its URL.
func serveOld(t *testing.T, backend string) string {
	t.Helper()
	cmd := exec.Command(*oldBridge, "serve", "--listen", "127.0.0.1:0", "--backend", backend)
	pipe, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		check(t, cmd.Process.Kill())
		_ = cmd.Wait() // says that it was killed
	})
	line, err := bufio.NewReader(pipe).ReadString('\n')
	check(t, err)
	var url string
	if _, err := fmt.Sscanf(line, "listening on %s", &url); err != nil {
		t.Fatalf("first line %q: %v", line, err)
	}
	return url
}
