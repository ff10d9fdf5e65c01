package main

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/cmd/bridge/internal/pemtest"
	"github.com/pollbridge/pollbridge/internal/demo"
	"github.com/pollbridge/pollbridge/internal/demo/demopb"
	"github.com/pollbridge/pollbridge/internal/look"
	"github.com/pollbridge/pollbridge/internal/netcheck"
)

// TestDemo holds that the demo serves its page, the client's script and RPCs.
func TestDemo(t *testing.T) {
	p := start(t, "demo", "--listen", "127.0.0.1:0")

	resp, body := get(t, http.DefaultClient, p.url+"/")
	want, err := fs.ReadFile(demo.Page(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || body != string(want) {
		t.Errorf("/: %s, %d bytes of body, want the page of %d", resp.Status, len(body), len(want))
	}
	if policy := resp.Header.Get("Content-Security-Policy"); policy != look.ContentSecurityPolicy {
		t.Errorf("/: Content-Security-Policy %q", policy)
	}
	resp, body = get(t, http.DefaultClient, p.url+"/bridge/client.js")
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/javascript") || body == "" {
		t.Errorf("/bridge/client.js: %s, %q, %d bytes", resp.Status, resp.Header.Get("Content-Type"), len(body))
	}
	if resp, _ := get(t, http.DefaultClient, p.url+"/nothing"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("/nothing: %s", resp.Status)
	}

	for _, transport := range transports {
		channel := dial(t, p.url, client.Config{Transports: []string{transport}})
		answer, err := demopb.NewDemoClient(channel).Greet(t.Context(), &demopb.GreetRequest{Name: "Ada"})
		if err != nil || answer.GetGreeting() != "Hello, Ada!" {
			t.Errorf("%s: %v, %v", transport, answer, err)
		}
		if err := channel.Close(); err != nil {
			t.Errorf("%s: %v", transport, err)
		}
	}
	out, errOut, code := runOnce(t, "", "call", p.url, "pollbridge.demo.v1.Demo/Count", "-d", `{"to": 3}`, "--compact")
	if out != "{\"number\":1}\n{\"number\":2}\n{\"number\":3}\n" || code != 0 {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, out, errOut)
	}
	p.signal(syscall.SIGINT)
	rest, code := p.wait()
	if code != 0 || !strings.Contains(rest, "\nOpen "+p.url+"/ in a browser") {
		t.Errorf("exit code %d, standard output %q", code, rest)
	}
}

// TestDemo_badOrigin holds that a wrong flag is named before anything listens.
func TestDemo_badOrigin(t *testing.T) {
	out, errOut, code := runOnce(t, "", "demo", "--allow-origin", "app.example/path")
	if code != exitUsage || out != "" || !strings.Contains(errOut, "app.example/path") {
		t.Errorf("exit code %d, standard output %q, standard error %q", code, out, errOut)
	}
}

// TestCheck holds what a check says with nothing wrong.
func TestCheck(t *testing.T) {
	p := start(t, "demo", "--listen", "127.0.0.1:0")
	out, _, code := runOnce(t, "", "check", "--json", "--hold", "1s", p.url)
	var report netcheck.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if code != 0 || !report.Works || report.Level != "good" || !strings.HasPrefix(report.Bridge, "pollbridge/") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

// TestCheckFails holds what a check says where nothing is, where something else is,
// and where a certificate is not trusted.
func TestCheckFails(t *testing.T) {
	out, errOut, code := runOnce(t, "", "check", "http://"+nowhere)
	if code != exitFailed || errOut != "" || !strings.Contains(out, "\nDoes not work: there is no way to the bridge.\n") {
		t.Errorf("exit code %d, standard error %q, standard output\n%s", code, errOut, out)
	}

	p := start(t, "demo", "--listen", "127.0.0.1:0")
	out, _, code = runOnce(t, "", "check", "--json", p.url+"/elsewhere")
	var report netcheck.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if code != exitFailed || report.Works || report.URL != p.url+"/elsewhere" || !slices.Equal(report.Profiles, []string{"refused"}) {
		t.Errorf("exit code %d, %s", code, out)
	}
	dir := t.TempDir()
	pemtest.Write(t, dir)
	p = start(t, "serve", "--listen", "127.0.0.1:0", "--backend", nowhere, "--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"))
	out, errOut, code = runOnce(t, "", "check", p.url)
	if code != exitFailed || errOut != "" || !strings.Contains(out, "The bridge's TLS certificate is not trusted: ") {
		t.Errorf("an untrusted certificate: exit code %d, standard error %q, standard output\n%s", code, errOut, out)
	}
	if _, errOut, code := runOnce(t, "", "check", "ftp://x"); code != exitUsage || !strings.Contains(errOut, `scheme "ftp"`) {
		t.Errorf("exit code %d, standard error %q", code, errOut)
	}
}
