package deploy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestAlerts runs the alert rules' own tests.
func TestAlerts(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("no promtool")
	}
	run(t, "prometheus", "promtool", "check", "rules", "alerts.yaml")
	run(t, "prometheus", "promtool", "test", "rules", "alerts_test.yaml")
}

type dashboard struct {
	Panels []panel
}

type panel struct {
	Title       string
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
}

// TestDashboard_queries has a real Prometheus scrape bridges that carry RPCs, and
// asks it every query of the dashboard: each must come to have data.
func TestDashboard_queries(t *testing.T) {
	for _, program := range []string{"prometheus", "nats-server"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("no " + program)
		}
	}
	content, err := os.ReadFile("grafana/pollbridge.json")
	if err != nil {
		t.Fatal(err)
	}
	var board dashboard
	if err := json.Unmarshal(content, &board); err != nil {
		t.Fatal(err)
	}
	prometheus := startPrometheus(t, startBridges(t))
	queries := 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			queries++
			if err := awaitData(t.Context(), prometheus, concrete(target.Expr)); err != nil {
				t.Errorf("panel %q: %s: %v", panel.Title, target.Expr, err)
			}
		}
	}
	if queries == 0 {
		t.Error("the dashboard has no query")
	}
	if *picture != "" {
		drawBoard(t, board, prometheus, *picture)
	}
}

// concrete replaces the dashboard's variables as Grafana does.
func concrete(expr string) string {
	return strings.NewReplacer("$job", "pollbridge", "$instance", ".*", "$__rate_interval", "10s").Replace(expr)
}

// awaitData asks until the query has data, for a minute at most.
func awaitData(ctx context.Context, prometheus, query string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		n, err := ask(ctx, prometheus, query)
		if err != nil || n > 0 {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("no data")
		}
	}
}

// ask returns how many series a query has.
func ask(ctx context.Context, prometheus, query string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, prometheus+"/api/v1/query?query="+url.QueryEscape(query), nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil // it does not listen yet
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusServiceUnavailable {
		return 0, nil // it is starting
	}
	var answer struct {
		Error string
		Data  struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, errors.New(answer.Error)
	}
	return len(answer.Data.Result), nil
}

// keys is a JWKS: the public key of RFC 7517, appendix A.1.
const keys = `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","use":"sig","alg":"ES256",
"x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`

// startBridges runs two bridges of a cluster before the demo's gRPC server, and has
// RPCs made for as long as the test runs, and a session now and then; and a bridge
// that checks tokens. It returns the addresses of their admin listeners.
func startBridges(t *testing.T) []string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "bridge")
	run(t, "..", "go", "build", "-o", binary, "./cmd/bridge")
	backend := strings.TrimPrefix(listening(t, start(t, binary, "demo", "--listen", "127.0.0.1:0").stdout), "http://")
	serve := func(args ...string) (url, admin string) {
		admin = freeAddr(t)
		args = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", admin, "--backend", backend}, args...)
		return listening(t, start(t, binary, args...).stdout), admin
	}
	nats := startNATS(t)
	var urls, admins []string
	for range 2 {
		url, admin := serve("--rpc", "--allow-method", "grpc.reflection.v1.*", "--allow-method", "pollbridge.demo.v1.*", "--cluster", nats)
		urls, admins = append(urls, url), append(admins, admin)
	}
	load(t, binary, balance(t, urls))
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(jwks, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	_, checking := serve("--jwt-jwks", jwks, "--jwt-issuer", "https://issuer.example", "--jwt-audience", "chat")
	return append(admins, checking)
}

// startNATS returns the URL of a NATS server that takes connections.
func startNATS(t *testing.T) string {
	t.Helper()
	addr := freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	start(t, "nats-server", "--addr", host, "--port", port)
	for {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return "nats://" + addr
		}
		select {
		case <-t.Context().Done():
			t.Fatal("NATS does not listen")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// balance gives each request to the next of the URLs, whatever its session.
func balance(t *testing.T, urls []string) string {
	t.Helper()
	targets := make([]*url.URL, len(urls))
	for i, text := range urls {
		target, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		targets[i] = target
	}
	var turn atomic.Uint64
	balancer := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(targets[turn.Add(1)%uint64(len(targets))]) },
		ErrorLog: log.New(io.Discard, "", 0), // connections that end with the test
	})
	t.Cleanup(balancer.Close)
	return balancer.URL
}

// load makes RPCs, and a session with every twentieth, beside a long stream on
// each transport.
func load(t *testing.T, binary, url string) {
	t.Helper()
	for _, transport := range []string{"ws", "longpoll"} {
		start(t, binary, "call", url, "pollbridge.demo.v1.Demo/Count", "-d", `{"to": 10000, "intervalMs": 50}`, "--transport", transport)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		calls.Wait()
	})
	calls.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if err := greet(ctx, url); err != nil && ctx.Err() == nil {
				t.Errorf("call %d: %v", n, err)
				return
			}
			if n%20 == 0 {
				run(t, ".", binary, "check", "--ping", url)
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
}

// greet makes one unary RPC as a client of Connect does.
func greet(ctx context.Context, url string) error {
	name := strings.NewReader("\x0a\x03Ada") // GreetRequest{Name: "Ada"}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/pollbridge.demo.v1.Demo/Greet", name)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/proto")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// startPrometheus scrapes the bridges every second.
func startPrometheus(t *testing.T, admins []string) string {
	t.Helper()
	folder, addr := t.TempDir(), freeAddr(t)
	config := fmt.Sprintf("scrape_configs:\n- job_name: pollbridge\n  scrape_interval: 1s\n  static_configs:\n  - targets: [%s]\n",
		strings.Join(admins, ", "))
	file := filepath.Join(folder, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "prometheus", "--config.file="+file, "--storage.tsdb.path="+folder, "--web.listen-address="+addr)
	base := "http://" + addr
	if err := awaitData(t.Context(), base, "vector(1)"); err != nil {
		t.Fatal(err)
	}
	return base
}

// freeAddr is a loopback address that nobody listened on a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// process is a program that runs until the test ends.
type process struct {
	pid    int
	stdout io.Reader
}

func start(t *testing.T, name string, args ...string) process {
	t.Helper()
	command := exec.Command(name, args...)
	command.Stderr = t.Output()
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill() //nolint:errcheck // it may be over
		command.Wait()         //nolint:errcheck // it was killed
	})
	return process{pid: command.Process.Pid, stdout: stdout}
}

// listening returns the URL in a bridge's first line.
func listening(t *testing.T, stdout io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		t.Fatalf("first line %q", line)
	}
	return url
}
