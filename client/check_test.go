package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/session"
	"github.com/pollbridge/pollbridge/transport/access"
	"github.com/pollbridge/pollbridge/transport/longpoll"
	"github.com/pollbridge/pollbridge/transport/ws"
)

// bridgeHandler is a bridge as far as sessions go.
func bridgeHandler(t *testing.T, cfg session.Config) (*http.ServeMux, *session.Registry) {
	t.Helper()
	cfg.Handle = func(*session.Stream) {}
	registry := session.NewRegistry(cfg)
	t.Cleanup(registry.Close)
	mux := http.NewServeMux()
	mux.Handle("/bridge/v1/{sid}/poll", longpoll.New(longpoll.Config{Acceptor: registry}))
	mux.Handle("/bridge/v1/{sid}/ws", ws.New(ws.Config{Acceptor: registry}))
	return mux, registry
}

func TestCheck(t *testing.T) {
	type outcome struct {
		works  bool
		proto  string
		status int
		ours   bool
		err    string // part of it
	}
	page := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			io.WriteString(w, text)
		}
	}
	refused := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(access.Marker, "1")
		http.Error(w, "not from there", http.StatusForbidden)
	}
	tests := []struct {
		name         string
		poll, ws     http.HandlerFunc // in the bridge's place
		longpoll, so outcome
	}{
		{
			name:     "clear way",
			longpoll: outcome{true, "HTTP/1.1", 200, true, ""}, so: outcome{true, "HTTP/1.1", 101, true, ""},
		}, {
			name: "WebSocket not let through", ws: page(http.StatusBadGateway, "<html>no"),
			longpoll: outcome{true, "HTTP/1.1", 200, true, ""}, so: outcome{false, "HTTP/1.1", 502, false, `status 502, content-type "text/html", body begins "<html>no"`},
		}, {
			name: "login page", poll: page(http.StatusOK, "<html>log in"), ws: page(http.StatusOK, "<html>log in"),
			longpoll: outcome{false, "HTTP/1.1", 200, false, `status 200, content-type "text/html", body begins "<html>log in"`},
			so:       outcome{false, "HTTP/1.1", 200, false, `status 200`},
		}, {
			name: "refused by the bridge", poll: refused, ws: refused,
			longpoll: outcome{false, "HTTP/1.1", 403, true, "not from there"}, so: outcome{false, "HTTP/1.1", 403, true, "not from there"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mux, registry := bridgeHandler(t, session.Config{Release: "pollbridge/test"})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case test.poll != nil && strings.HasSuffix(r.URL.Path, "/poll"):
					test.poll(w, r)
				case test.ws != nil && strings.HasSuffix(r.URL.Path, "/ws"):
					test.ws(w, r)
				default:
					mux.ServeHTTP(w, r)
				}
			}))
			defer server.Close()
			report, err := client.Check(t.Context(), server.URL, client.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if report.URL != server.URL+"/bridge" || len(report.Transports) != 2 {
				t.Fatalf("report %+v", report)
			}
			for i, want := range []outcome{test.longpoll, test.so} {
				got := report.Transports[i]
				if (got.Err == nil) != want.works || got.Proto != want.proto || got.Status != want.status || got.Ours != want.ours {
					t.Errorf("%s: got %+v, want %+v", got.Transport, got, want)
				}
				if got.Err != nil && !strings.Contains(got.Err.Error(), want.err) {
					t.Errorf("%s: got error %v, want %s", got.Transport, got.Err, want.err)
				}
				if want.works && (got.Opened <= 0 || got.RTT <= 0) {
					t.Errorf("%s: opened in %v, round trip %v", got.Transport, got.Opened, got.RTT)
				}
			}
			if works := test.longpoll.works || test.so.works; works != (report.Welcome != nil && report.Welcome.Release == "pollbridge/test") {
				t.Errorf("welcome %+v", report.Welcome)
			}
			for registry.Stats().Sessions != 0 { // ended once its last answer has left
				runtime.Gosched()
			}
			if stats := registry.Stats(); stats.SessionsClosed[session.ReasonClosed] != stats.SessionsOpened {
				t.Errorf("%d sessions opened, closed %v", stats.SessionsOpened, stats.SessionsClosed)
			}
		})
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
	report, err := client.Check(t.Context(), server.URL, client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range report.Transports {
		if found.Err == nil || !strings.Contains(found.Err.Error(), "refused by the bridge: ") {
			t.Errorf("%s: %v", found.Transport, found.Err)
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	if _, err := client.Check(t.Context(), "ftp://example.com", client.Config{}); err == nil {
		t.Error("a URL that cannot work was taken")
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
	report, err := client.Check(t.Context(), server.URL, client.Config{Proxy: via(t, proxy, url.UserPassword("me", "secret"))})
	if err != nil {
		t.Fatal(err)
	}
	if found := report.Transports[0]; found.Err == nil || found.Status != http.StatusUpgradeRequired || found.Ours {
		t.Errorf("longpoll: %+v, want status 426 of the proxy", found)
	}
	if found := report.Transports[1]; found.Err != nil {
		t.Errorf("ws: %v", found.Err)
	}
}
