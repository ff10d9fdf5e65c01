package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	var out strings.Builder
	if _, err := parse([]string{"--help"}, &out); err == nil {
		t.Error("help is no options")
	}
	for _, want := range []string{"--listen address", "--upstream URL", "--cut age", "--noupgrade "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help does not say %q:\n%s", want, &out)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	for _, bad := range []string{"--nonsense", "extra", "--cut=soon", "--tls=host"} {
		if _, err := parse([]string{bad}, io.Discard); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

// TestRun switches a running one by its control listener.
func TestRun(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "origin") }))
	defer origin.Close()
	o, err := parse([]string{"--listen=127.0.0.1:0", "--control=127.0.0.1:0", "--upstream=" + origin.URL, "--inspect=" + filepath.Join(t.TempDir(), "ca.pem"), "--inject=1"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	done := make(chan error)
	go func() { done <- run(ctx, o, w) }()
	lines := bufio.NewReader(r)
	control, _ := lines.ReadString('\n')
	front, _ := lines.ReadString('\n')
	control = strings.TrimSpace(strings.TrimPrefix(control, "control on "))
	front = "http://" + strings.TrimSpace(strings.TrimPrefix(front, "listening on "))

	holds := func(method, url, body, want string) {
		t.Helper()
		req, _ := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, _ := io.ReadAll(resp.Body); !strings.Contains(string(got), want) {
			t.Errorf("%s %s: %q, want %q", method, url, got, want)
		}
	}
	holds("GET", front, "", "Log in")
	holds("GET", control+"/profile", "", "inject=1")
	holds("PUT", control+"/profile", "nonsense", "nonsense")
	holds("PUT", control+"/profile", "buffer", "buffer")
	holds("GET", front, "", "origin")
	holds("GET", control+"/counts", "", `"inject":1`)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
