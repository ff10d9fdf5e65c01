package probe_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/netcheck"
	"github.com/pollbridge/pollbridge/internal/netcheck/probe"
	"github.com/pollbridge/pollbridge/internal/testsvc"
)

// serve serves a handler in memory, until the test ends, and returns a way to it.
func serve(t *testing.T, handler http.Handler) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	l, server := bufconn.Listen(256<<10), &http.Server{Handler: handler}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		served.Wait()
	})
	return func(ctx context.Context, _, _ string) (net.Conn, error) { return l.DialContext(ctx) }
}

// newBridge returns a bridge with its network check switched off.
func newBridge(t *testing.T, cfg bridge.Config) *http.ServeMux {
	t.Helper()
	service := testsvc.New()
	t.Cleanup(service.Stop)
	cfg.Backends = []bridge.Backend{{GRPCServer: service.GRPC}}
	srv, err := bridge.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = srv.Shutdown(ctx)
	})
	mux := http.NewServeMux()
	mux.Handle("/", srv)
	return mux
}

func run(t *testing.T, cfg client.Config) *netcheck.Report {
	t.Helper()
	report, err := probe.Run(t.Context(), "http://bridge.test", probe.Config{Client: cfg})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// outcomes returns the outcomes of the rows named.
func outcomes(report *netcheck.Report, checks ...string) string {
	var words []string
	for _, check := range checks {
		for _, row := range report.Rows {
			if row.Check == check {
				words = append(words, row.Outcome)
			}
		}
	}
	return strings.Join(words, " ")
}

// TestRun_elsewhere: the report where the bridge's check is switched off, and
// where something else answers. What networks do is held by e2e.
func TestRun_elsewhere(t *testing.T) {
	page := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		}
	}
	tests := []struct {
		name    string
		wrap    func(*http.ServeMux) http.Handler
		want    string // of reach, longpoll and ws
		works   bool
		problem string // part of what the first row says
	}{
		{"switched off", func(m *http.ServeMux) http.Handler { return m }, "off opens opens", true, "switched off (404)"},
		{"login page", func(*http.ServeMux) http.Handler { return page(200, "<h1>Log in</h1>") }, "page fails fails", false, "“Log in”"},
		{"refused", func(*http.ServeMux) http.Handler { return page(403, "<h1>No</h1>") }, "refused fails fails", false, "status 403"},
		{"login", func(*http.ServeMux) http.Handler { return page(511, "<h1>Who?</h1>") }, "login skipped skipped", false, "status 511"},
		{"busy", func(m *http.ServeMux) http.Handler {
			m.HandleFunc("/bridge/v1/check/echo", page(503, `{"error":"too many"}`+"\n"))
			return m
		}, "busy opens opens", true, "too many network checks"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				report := run(t, client.Config{Dial: serve(t, test.wrap(newBridge(t, bridge.Config{})))})
				if got := outcomes(report, "reach", "longpoll", "ws"); got != test.want || report.Works != test.works {
					t.Errorf("%s, works: %v; want %s, %v\n%s", got, report.Works, test.want, test.works, report.Text())
				}
				if says := report.Rows[0].Says; !strings.Contains(says, test.problem) {
					t.Errorf("says %q, want part %q", says, test.problem)
				}
			})
		})
	}
}

// TestRun_refused: a session that the bridge does not admit is reported with the
// bridge's reason.
func TestRun_refused(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg           bridge.Config
		outcome, says string
	}{
		"unauthenticated": {bridge.Config{Authenticate: func(context.Context, bridge.AuthInfo) (bridge.Principal, error) {
			return bridge.Principal{}, status.Error(codes.Unauthenticated, "no token")
		}}, "unauthenticated", "no token"},
		"busy": {bridge.Config{MaxSessions: 1}, "fails", "refused by the bridge: the bridge has 1 sessions, its limit"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := client.Config{Dial: serve(t, newBridge(t, tt.cfg))}
				if tt.cfg.MaxSessions > 0 {
					hold(t, cfg)
				}
				report := run(t, cfg)
				if got := outcomes(report, "longpoll", "ws"); got != tt.outcome+" "+tt.outcome {
					t.Errorf("%s\n%s", got, report.Text())
				}
				i := slices.IndexFunc(report.Rows, func(row netcheck.Row) bool { return row.Check == "longpoll" })
				if says := report.Rows[i].Says; !strings.Contains(says, tt.says) {
					t.Errorf("says %q, want part %q", says, tt.says)
				}
			})
		})
	}
}

// hold keeps a session open until the test ends, over a WebSocket: between two
// polls it would be away, and would have to make room.
func hold(t *testing.T, cfg client.Config) {
	t.Helper()
	opened := make(chan struct{})
	cfg.Transports = []string{"ws"}
	cfg.OnState = func(s client.State) {
		if s.Phase == "open" {
			close(opened)
		}
	}
	channel, err := client.New("http://bridge.test", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = channel.Close() })
	<-opened
}

func TestRun_badArguments(t *testing.T) {
	for want, tt := range map[string]struct {
		url   string
		holds []time.Duration
	}{
		`scheme "ftp" is none of`: {"ftp://example.com", nil},
		"hold of 1h0m0s":          {"http://example.com", []time.Duration{time.Hour}},
		"hold of 3s after one of": {"http://example.com", []time.Duration{5 * time.Second, 3 * time.Second}},
	} {
		if _, err := probe.Run(t.Context(), tt.url, probe.Config{Holds: tt.holds}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// TestRun_proxy: requests and tunnels are told apart, through a proxy that lets
// only tunnels through; its password is not in the report.
func TestRun_proxy(t *testing.T) { synctest.Test(t, testProxy) }

func testProxy(t *testing.T) {
	dial := serve(t, newBridge(t, bridge.Config{}))
	way := serve(t, tunnel(dial))
	via := &url.URL{Scheme: "http", User: url.UserPassword("me", "secret"), Host: "proxy.test"}
	report := run(t, client.Config{Proxy: http.ProxyURL(via), Dial: way})
	if got := outcomes(report, "reach", "longpoll", "ws"); got != "refused fails opens" {
		t.Errorf("%s\n%s", got, report.Text())
	}
	if text := report.Text(); strings.Contains(text, "secret") || !strings.Contains(text, "me:xxxxx@") {
		t.Errorf("the proxy's password must not show:\n%s", text)
	}
}

// tunnel returns a proxy that serves CONNECT and nothing else.
func tunnel(dial func(context.Context, string, string) (net.Conn, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "CONNECT only", http.StatusForbidden)
			return
		}
		testsvc.Tunnel(w, r, dial)
	})
}
