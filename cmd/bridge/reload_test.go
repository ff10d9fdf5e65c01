package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/pemtest"
)

// reloadable is a bridge with a file and a certificate that a test changes, and
// an RPC open on each transport.
type reloadable struct {
	*process
	dir     string
	backend string
	streams []grpc.BidiStreamingClient[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]
}

func startReloadable(t *testing.T) *reloadable {
	t.Helper()
	r := &reloadable{dir: t.TempDir(), backend: interopServer(t)}
	roots := pemtest.Write(t, r.dir)
	r.write(t, "allow-origin: https://old.example\n")
	r.process = start(t, "serve", "--config", r.file())
	for _, transport := range transports {
		channel := dial(t, r.url, client.Config{Transports: []string{transport}, TLS: &tls.Config{RootCAs: roots}})
		stream, err := testgrpc.NewTestServiceClient(channel).FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.streams = append(r.streams, stream)
	}
	r.talk(t)
	return r
}

func (r *reloadable) file() string { return filepath.Join(r.dir, "bridge.yaml") }

// write writes the file: what the bridge began with, and more.
func (r *reloadable) write(t *testing.T, more string) {
	t.Helper()
	text := "listen: localhost:0\nbackend: " + r.backend + "\ntls-cert: " + filepath.Join(r.dir, "cert.pem") + "\ntls-key: " + filepath.Join(r.dir, "key.pem") + "\n"
	if err := os.WriteFile(r.file(), []byte(text+more), 0o600); err != nil {
		t.Fatal(err)
	}
}

// talk has a message go through each open RPC.
func (r *reloadable) talk(t *testing.T) {
	t.Helper()
	for _, stream := range r.streams {
		pingPong(t, stream)
	}
}

// admits reports whether pages of an origin may use the bridge, and which
// certificate it presents.
func (r *reloadable) admits(t *testing.T, origin string) (admitted bool, certificate string) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Origin", origin)
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK, string(resp.TLS.PeerCertificates[0].Raw)
}

// TestReload holds that SIGHUP puts the file and the certificate in force, and
// cuts no RPC.
func TestReload(t *testing.T) {
	r := startReloadable(t)
	_, first := r.admits(t, "https://old.example")
	pemtest.Write(t, r.dir)
	r.write(t, "allow-origin: https://new.example\nlog-level: debug\ndrain-timeout: 9m\ndeny-method: grpc.testing.TestService/EmptyCall\n")
	r.signal(syscall.SIGHUP)
	if got, want := r.err.await(t, "msg=reloaded changed="), "drain-timeout,deny-method,allow-origin,log-level"; got != want {
		t.Errorf("changed %s, want %s", got, want)
	}
	r.talk(t)
	if old, second := r.admits(t, "https://old.example"); old || second == first {
		t.Errorf("the old origin is admitted: %v, the old certificate is presented: %v", old, second == first)
	}
	if admitted, _ := r.admits(t, "https://new.example"); !admitted {
		t.Error("the new origin is refused")
	}
	r.signal(syscall.SIGTERM)
	if got := r.err.await(t, "msg=draining "); !strings.Contains(got, "timeout=9m0s") {
		t.Errorf("draining %s", got)
	}
	r.signal(syscall.SIGHUP) // has no effect any more
	r.talk(t)
	for _, stream := range r.streams {
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != io.EOF {
			t.Errorf("an RPC ended with %v", err)
		}
	}
	if _, code := r.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestReload_refused holds that nothing changes when something cannot, and that
// all of it is named.
func TestReload_refused(t *testing.T) {
	for name, test := range map[string]struct {
		more string
		want []string
	}{
		"what needs a restart": {
			"allow-origin: https://new.example\nprefix: /other\nmax-sessions: 5\n",
			[]string{"bridge.yaml:6: prefix: cannot change without a restart", "bridge.yaml:7: max-sessions: cannot change without a restart"},
		},
		"a mistake": {
			"allow-origin: https://new.example\nholt: 3s\nlog-level: loud\n",
			[]string{"bridge.yaml:6: unknown key \\\"holt\\\"", "bridge.yaml:7: log-level: \\\"loud\\\" is wrong"},
		},
		"a bad origin": {"allow-origin: [https://new.example, 'https://*']\n", []string{"bridge.yaml:5: allow-origin:"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := startReloadable(t)
			r.write(t, test.more)
			r.signal(syscall.SIGHUP)
			for _, want := range test.want {
				r.err.await(t, want)
			}
			if !strings.Contains(r.err.String(), "not reloaded: all goes on as before") {
				t.Errorf("log lacks it:\n%s", r.err)
			}
			r.talk(t)
			if admitted, _ := r.admits(t, "https://old.example"); !admitted {
				t.Error("the old origin is refused")
			}
			if admitted, _ := r.admits(t, "https://new.example"); admitted {
				t.Error("the new origin is admitted")
			}
		})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		dir := t.TempDir()
		pemtest.Write(t, dir)
		file := filepath.Join(dir, "bridge.yaml")
		write := func(text string) {
			if err := os.WriteFile(file, []byte("listen: 127.0.0.1:0\nbackend: "+nowhere+"\n"+text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("")
		p := start(t, "serve", "--config", file)
		write("tls-cert: " + filepath.Join(dir, "cert.pem") + "\ntls-key: " + filepath.Join(dir, "key.pem") + "\n")
		p.signal(syscall.SIGHUP)
		p.err.await(t, "bridge.yaml:3: tls-cert: cannot be added or removed without a restart")
	})
}
