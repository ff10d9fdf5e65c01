package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/cmd/bridge/internal/pemtest"
)

// over is a client that reaches a Unix socket whatever a URL says.
func over(t *testing.T, path string) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestUnixSocket holds that clients and operators are served on Unix sockets, and
// that what a killed process left is in nobody's way.
func TestUnixSocket(t *testing.T) {
	path, admin := filepath.Join(t.TempDir(), "b"), filepath.Join(t.TempDir(), "a")
	args := []string{"serve", "--listen", "unix:" + path, "--admin", "unix:" + admin, "--backend", nowhere, "--health-path", "/healthz"}
	for _, end := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		p := start(t, args...)
		if p.first != "listening on unix:"+path+"\n" {
			t.Fatalf("first line %q", p.first)
		}
		for _, socket := range []string{path, admin} {
			if resp, body := get(t, over(t, socket), "http://any.example/healthz"); resp.StatusCode != 200 || body != "ok\n" {
				t.Errorf("%s: status %d, %q", socket, resp.StatusCode, body)
			}
		}
		if resp, _ := get(t, over(t, path), "http://any.example/bridge/client.js"); resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
		_, stderr, code := runOnce(t, "", args...)
		if code != exitFailed || !strings.Contains(stderr, "another program does") {
			t.Errorf("a second one: exit code %d, %s", code, stderr)
		}
		p.signal(end)
		if _, code := p.wait(); end == syscall.SIGTERM && code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestSystemdSocket holds that the bridge serves on the socket that systemd hands
// over, which stays open behind it, and says what is wrong when there is none.
func TestSystemdSocket(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for range 2 { // a second one takes the same socket over
		p := &process{t: t, err: newOutput()}
		self := program(t, "serve", "--listen", "systemd", "--backend", nowhere)
		p.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"`}, self.Args...)...)
		p.cmd.Dir, p.cmd.Env, p.cmd.ExtraFiles = self.Dir, self.Env, []*os.File{file}
		p.run()
		if want := "http://" + listener.Addr().String(); p.url != want {
			t.Errorf("listening on %s, want %s", p.url, want)
		}
		if resp, _ := get(t, http.DefaultClient, p.url+"/bridge/client.js"); resp.StatusCode != 200 {
			t.Errorf("status %d", resp.StatusCode)
		}
		http.DefaultClient.CloseIdleConnections()
		p.signal(syscall.SIGTERM)
		if _, code := p.wait(); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	_, stderr, code := runOnce(t, "", "serve", "--listen", "systemd", "--backend", nowhere)
	if code != exitFailed || !strings.Contains(stderr, "0 stream sockets were handed over, want 1") {
		t.Errorf("without a socket: exit code %d, %s", code, stderr)
	}
}

// TestHealthPath holds that the public listener says that the process serves only
// when asked to.
func TestHealthPath(t *testing.T) {
	for _, test := range []struct {
		args []string
		want int
	}{{nil, 404}, {[]string{"--health-path", "/live/now"}, 200}} {
		p := start(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--backend", nowhere}, test.args...)...)
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			req, err := http.NewRequestWithContext(t.Context(), method, p.url+"/live/now", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Errorf("%v: %s gets %d, want %d", test.args, method, resp.StatusCode, test.want)
			}
		}
	}
}

// TestDescriptors holds that clients cannot use up what operators and backends
// need: /healthz and /metrics answer while connections are refused, and the log
// says so once.
func TestDescriptors(t *testing.T) {
	p := &process{t: t, err: newOutput()}
	self := program(t, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--backend", nowhere)
	p.cmd = exec.Command("sh", append([]string{"-c", `ulimit -n 64 && exec "$0" "$@"`}, self.Args...)...)
	p.cmd.Dir, p.cmd.Env = self.Dir, self.Env
	p.run()
	admin := p.err.await(t, `msg="admin listening" url=`)

	addr := strings.TrimPrefix(p.url, "http://")
	for range 200 {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	p.err.await(t, "file descriptors are used up")
	for range 3 { // each on a connection of its own
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		if resp, body := get(t, client, admin+"/healthz"); resp.StatusCode != 200 || body != "ok\n" {
			t.Errorf("status %d, %q", resp.StatusCode, body)
		}
		if _, body := get(t, client, admin+"/metrics"); !strings.Contains(body, "\npollbridge_connections_refused_total 1") {
			t.Errorf("refused connections are not counted:\n%s", body)
		}
	}
	if n := strings.Count(p.err.String(), "file descriptors are used up"); n > 2 {
		t.Errorf("%d lines about it", n)
	}
}

// TestCertificate holds that a certificate is read again when its files change,
// and that the one before stays while they are of no use.
func TestCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		pemtest.Write(t, dir)
		log := newOutput()
		c, err := newCertificate(cert, key, slog.New(slog.NewTextHandler(log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		presented := func() string {
			t.Helper()
			pair, err := c.get(nil)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%x", pair.Certificate[0])
		}
		// replace puts a file of another directory in place, as who renews does.
		replace := func(from, name string) {
			t.Helper()
			if err := os.Rename(filepath.Join(from, filepath.Base(name)), name); err != nil {
				t.Fatal(err)
			}
		}

		first := presented()
		next := t.TempDir()
		pemtest.Write(t, next)
		replace(next, cert)
		time.Sleep(certificateInterval)
		if presented() != first {
			t.Error("a certificate without its key is presented")
		}
		if !strings.Contains(log.String(), "of no use") {
			t.Errorf("log: %s", log)
		}
		replace(next, key)
		if presented() != first {
			t.Error("the files are looked at for each handshake")
		}
		time.Sleep(certificateInterval)
		second := presented()
		if second == first || !strings.Contains(log.String(), "certificate read again") {
			t.Errorf("the new certificate is not presented; log: %s", log)
		}
		if err := os.Remove(cert); err != nil {
			t.Fatal(err)
		}
		time.Sleep(certificateInterval)
		if presented() != second {
			t.Error("a certificate whose file is gone is no longer presented")
		}
		if err := c.read(filepath.Join(dir, "other.pem"), key); err == nil || presented() != second {
			t.Errorf("a file that is not there was taken: %v", err)
		}
		time.Sleep(20 * time.Second) // until no line of the log is due
	})
}
