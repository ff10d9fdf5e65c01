package main

import (
	"crypto/tls"
	"debug/elf"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/pemtest"
)

// nowhere is a backend that is never there: port 9 is discard's, which nobody
// runs. A bridge starts without its backends.
const nowhere = "127.0.0.1:9"

// TestFirstLine holds that port 0 picks a port, that the first line names an
// address that can be reached, and that nothing else goes to standard output.
func TestFirstLine(t *testing.T) {
	for _, test := range []struct{ listen, host string }{
		{"127.0.0.1:0", "127.0.0.1"}, {"localhost:0", "localhost"}, {":0", "127.0.0.1"}, {"0.0.0.0:0", "127.0.0.1"}, {"[::]:0", "127.0.0.1"},
	} {
		t.Run(test.listen, func(t *testing.T) {
			p := start(t, "serve", "--listen", test.listen, "--backend", nowhere)
			if !regexp.MustCompile(`^listening on http://` + regexp.QuoteMeta(test.host) + `:[1-9][0-9]*\n$`).MatchString(p.first) {
				t.Errorf("first line %q", p.first)
			}
			get(t, http.DefaultClient, p.url+"/")
			p.signal(syscall.SIGTERM)
			if rest, code := p.wait(); rest != "" || code != 0 {
				t.Errorf("exit code %d, further standard output %q", code, rest)
			}
		})
	}
}

func get(t *testing.T, client *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestLogs(t *testing.T) {
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", nowhere, "--log-format", "json")
	p.signal(syscall.SIGINT)
	if rest, code := p.wait(); rest != "" || code != 0 {
		t.Errorf("exit code %d, further standard output %q", code, rest)
	}
	if !strings.Contains(p.err.String(), `"msg":"drained"`) {
		t.Error("no JSON log on standard error")
	}
}

// TestTaken holds what a port in use gets.
func TestTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	for _, args := range [][]string{
		{"serve", "--backend", nowhere, "--listen", addr},
		{"serve", "--backend", nowhere, "--listen", "127.0.0.1:0", "--admin", addr},
		{"demo", "--listen", addr},
	} {
		stdout, stderr, code := runOnce(t, "", args...)
		want := "cannot listen on " + addr + ": another program does; choose another address, or port 0 for a free one\n"
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit code %d, standard output %q, standard error %q", args, code, stdout, stderr)
		}
	}
}

// TestTLS holds that HTTPS offers HTTP/2 and HTTP/1.1.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	roots := pemtest.Write(t, dir)
	p := start(t, "serve", "--listen", "localhost:0", "--backend", nowhere,
		"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	if !strings.HasPrefix(p.url, "https://localhost:") {
		t.Fatalf("first line %q", p.first)
	}
	for proto, next := range map[string]string{"HTTP/2.0": "h2", "HTTP/1.1": "http/1.1"} {
		client := &http.Client{Transport: &http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: roots, NextProtos: []string{next}},
			ForceAttemptHTTP2: next == "h2",
		}}
		resp, _ := get(t, client, p.url+"/")
		if resp.Proto != proto || resp.TLS.NegotiatedProtocol != next {
			t.Errorf("%s over %q, want %s over %q", resp.Proto, resp.TLS.NegotiatedProtocol, proto, next)
		}
		client.CloseIdleConnections()
	}
	p.signal(syscall.SIGTERM)
	if _, code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestConfigFile holds that a file is read, and that each mistake in it is
// told by file, line and key before anything listens.
func TestConfigFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "bridge.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("backend: " + nowhere + "\nlisten: 127.0.0.1:1\nprefix: nothing\nholt: 3s\n")
	stdout, stderr, code := runOnce(t, "", "serve", "--config", name)
	want := "bridge serve: " + name + ":3: prefix: \"nothing\" does not start with a slash\n" +
		"bridge serve: " + name + ":4: unknown key \"holt\", did you mean \"hold\"?\n" +
		"See \"bridge serve --help\".\n"
	if code != exitUsage || stdout != "" || stderr != want {
		t.Errorf("exit code %d, standard output %q, standard error\n%swant\n%s", code, stdout, stderr, want)
	}

	write("backend: " + nowhere + "\nlisten: 127.0.0.1:0\n")
	p := start(t, "serve", "--config", name)
	p.signal(syscall.SIGTERM)
	if _, code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestUnusable holds that what only the bridge can judge, files and service
// configs, is wrong configuration too.
func TestUnusable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve", "config validate"} {
		for want, args := range map[string][]string{
			"--backend-ca: no certificate in " + name + "\n": {"--backend", nowhere, "--backend-tls", "--backend-ca", name},
			"--backend-service-config: grpc: the provided default service config is invalid: invalid retry policy": {
				"--backend", nowhere, "--backend-service-config", `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":1}}]}`,
			},
			"--backend: ca: no certificate in " + name + "\n":          {"--backend", "{target: b:1, tls: true, ca: " + name + "}"},
			"--jwt-jwks: keys of " + name + ": not a JSON Web Key Set": {"--backend", nowhere, "--jwt-jwks", name},
		} {
			stdout, stderr, code := runOnce(t, "", append(strings.Fields(command), args...)...)
			if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "bridge "+command+": "+want) {
				t.Errorf("%s %v: exit code %d, standard output %q, standard error %q, want %q", command, args, code, stdout, stderr, want)
			}
		}
	}
}

// TestConfig holds what the commands print that look at settings without serving.
func TestConfig(t *testing.T) {
	if stdout, stderr, code := runOnce(t, "", "config", "validate", "--backend", nowhere); code != 0 || stdout != "the settings are good\n" || stderr != "" {
		t.Errorf("validate: exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
	if stdout, stderr, code := runOnce(t, "", "config", "print", "--backend", nowhere); code != 0 || !strings.Contains(stdout, "backend:\n  - "+nowhere+" ") || stderr != "" {
		t.Errorf("print: exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
	if stdout, stderr, code := runOnce(t, "", "config", "schema"); code != 0 || !json.Valid([]byte(stdout)) || stderr != "" {
		t.Errorf("schema: exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
	if stdout, stderr, code := runOnce(t, "", "config"); code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, "bridge config: want validate, print or schema\n") {
		t.Errorf("alone: exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
	if stdout, stderr, code := runOnce(t, "", "__complete", "serve", "--log-format", ""); code != 0 || !strings.HasPrefix(stdout, "text\njson\n") {
		t.Errorf("completion: exit code %d, standard output %q, standard error %q", code, stdout, stderr)
	}
}

// TestStatic holds that what "make build" makes needs no library of the machine, so
// that it starts in an empty image.
func TestStatic(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("a program for Linux is looked at")
	}
	name := filepath.Join(t.TempDir(), "bridge")
	if out, err := exec.CommandContext(t.Context(), "make", "-C", "../..", "build", "BIN="+name).CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	program, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	libraries, err := program.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("needs %q, %v", libraries, err)
	}
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			t.Error("needs a dynamic linker")
		}
	}
}

// TestOrigins holds which pages may use the bridge under a prefix of its own.
func TestOrigins(t *testing.T) {
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", nowhere, "--prefix", "/rpc", "--allow-origin", "https://app.example")
	const sid = "AAAAAAAAAAAAAAAAAAAAAA"
	for _, test := range []struct {
		path, origin string
		status       int
		allowed      string
	}{
		{"/rpc/v1/" + sid + "/poll", "https://app.example", 200, "https://app.example"},
		{"/rpc/v1/" + sid + "/poll", p.url, 200, ""}, // needs no header,
		{"/rpc/v1/" + sid + "/poll", "https://evil.example", 403, "https://evil.example"},
		{"/rpc/v1/" + sid + "/ws", "https://evil.example", 403, "https://evil.example"},
		{"/bridge/v1/" + sid + "/poll", "https://app.example", 404, ""},
	} {
		req, err := http.NewRequest(http.MethodPost, p.url+test.path, strings.NewReader("not a batch"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", test.origin)
		req.Header.Set("Content-Type", "application/octet-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if allowed := resp.Header.Get("Access-Control-Allow-Origin"); resp.StatusCode != test.status || allowed != test.allowed {
			t.Errorf("%s from %s: %s, allowed %q; want %d, %q", test.path, test.origin, resp.Status, allowed, test.status, test.allowed)
		}
	}
}

// TestMemory holds how the garbage collector is set, and that the environment
// wins.
func TestMemory(t *testing.T) {
	tests := []struct {
		env  []string
		want []string
	}{
		{nil, []string{"go_gc_gogc_percent 400\n"}},
		{[]string{"GOGC=150", "GOMEMLIMIT=3GiB"}, []string{"go_gc_gogc_percent 150\n", "go_gc_gomemlimit_bytes 3.221225472e+09\n"}},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.env, " "), func(t *testing.T) {
			for _, v := range test.env {
				name, value, _ := strings.Cut(v, "=")
				t.Setenv(name, value)
			}
			p := start(t, "serve", "--listen", "127.0.0.1:0", "--backend", nowhere, "--admin", "127.0.0.1:0", "--log-format", "json")
			_, body := get(t, http.DefaultClient, adminURL(t, p)+"/metrics")
			for _, want := range test.want {
				if !strings.Contains(body, want) {
					t.Errorf("metrics lack %q", want)
				}
			}
			if strings.Contains(body, "go_gc_gomemlimit_bytes 9.223372036854776e+18\n") {
				t.Error("no memory limit")
			}
		})
	}
}
