package main

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
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
