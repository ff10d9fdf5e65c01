package client_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/netcheck"
	"github.com/pollbridge/pollbridge/internal/session"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/longpoll"
	"github.com/pollbridge/pollbridge/transport/ws"
)

// bridgeHandler is a bridge as far as sessions go: without a network check.
func bridgeHandler(t *testing.T, cfg session.Config) (*http.ServeMux, *session.Registry) {
	t.Helper()
	cfg.Handle = func(*session.Stream) {}
	registry := session.NewRegistry(cfg)
	t.Cleanup(registry.Close)
	mux := http.NewServeMux()
	mux.Handle("/bridge/v1/{sid}/poll", longpoll.New(longpoll.Config{Acceptor: registry}))
	mux.Handle("/bridge/v1/{sid}/ws", ws.New(ws.Config{Acceptor: registry}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Pollbridge", "1")
		http.NotFound(w, r)
	})
	return mux, registry
}

// outcomes are what the rows named came to.
func outcomes(report *client.CheckReport, checks ...string) string {
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

// TestCheck holds what is found where the bridge's check is switched off, and
// where something else answers. What networks do is held by e2e.
func TestCheck(t *testing.T) {
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
			mux, _ := bridgeHandler(t, session.Config{})
			server := httptest.NewServer(test.wrap(mux))
			defer server.Close()
			report, err := client.Check(t.Context(), server.URL, client.CheckConfig{})
			if err != nil {
				t.Fatal(err)
			}
			if got := outcomes(report, "reach", "longpoll", "ws"); got != test.want || report.Works != test.works {
				t.Errorf("%s, works: %v; want %s, %v\n%s", got, report.Works, test.want, test.works, report.Text())
			}
			if says := report.Rows[0].Says; !strings.Contains(says, test.problem) {
				t.Errorf("says %q, want part %q", says, test.problem)
			}
		})
	}
}

// TestCheckSession holds what opening a session comes to.
func TestCheckSession(t *testing.T) {
	mux, _ := bridgeHandler(t, session.Config{Authenticate: func(context.Context, transport.Hello, string) (session.Principal, error) {
		return session.Principal{}, errors.New("no")
	}})
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, name := range []string{"longpoll", "ws"} {
		if _, err := client.CheckSession(t.Context(), server.URL+"/bridge", name, client.Config{}); !errors.Is(err, netcheck.ErrUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheckBusy holds that a refusal is told in the bridge's words.
func TestCheckBusy(t *testing.T) {
	mux, _ := bridgeHandler(t, session.Config{MaxSessions: 1})
	server := httptest.NewServer(mux)
	defer server.Close()
	opened := make(chan struct{})
	channel, err := client.New(server.URL, client.Config{Transports: []string{"longpoll"}, OnState: func(s client.State) {
		if s.Phase == "open" {
			close(opened)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer channel.Close()
	<-opened
	report, err := client.Check(t.Context(), server.URL, client.CheckConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		if (row.Check == "longpoll" || row.Check == "ws") && !strings.Contains(row.Says, "refused by the bridge: ") {
			t.Errorf("%s: %s", row.Check, row.Says)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	if _, err := client.Check(t.Context(), "ftp://example.com", client.CheckConfig{}); err == nil {
		t.Error("a URL that cannot work was taken")
	}
	if _, err := client.Check(t.Context(), "http://example.com", client.CheckConfig{Holds: []time.Duration{time.Hour}}); err == nil {
		t.Error("a hold of an hour was taken")
	}
}

// TestCheckProxy holds that requests and tunnels are told apart: this proxy
// lets only tunnels through.
func TestCheckProxy(t *testing.T) {
	mux, _ := bridgeHandler(t, session.Config{})
	server := httptest.NewServer(mux)
	defer server.Close()
	proxy := httptest.NewServer(&forwardProxy{})
	defer proxy.Close()
	cfg := client.CheckConfig{Config: client.Config{Proxy: via(t, proxy, url.UserPassword("me", "secret"))}}
	report, err := client.Check(t.Context(), server.URL, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := outcomes(report, "reach", "longpoll", "ws"); got != "refused fails opens" {
		t.Errorf("%s\n%s", got, report.Text())
	}
	if text := report.Text(); strings.Contains(text, "secret") || !strings.Contains(text, "me:xxxxx@") {
		t.Errorf("the proxy's password must not show:\n%s", text)
	}
}
