package access_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/transport/access"
)

func policy(t *testing.T, cfg access.Config) *access.Policy {
	t.Helper()
	p, err := access.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// request is a POST to bridge.example from 192.0.2.1, with headers in pairs.
func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/bridge/v1/s/poll", nil)
	r.Host = "bridge.example"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func TestOrigin(t *testing.T) {
	own := access.Config{}
	listed := access.Config{AllowOrigins: []string{"https://app.example", "http://localhost:5173"}}
	anyone := access.Config{AllowOrigins: []string{"*"}}
	proxied := access.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	tests := []struct {
		name       string
		cfg        access.Config
		safelisted bool
		headers    []string
		want       bool
	}{
		{"no browser", own, false, nil, true},
		{"no browser, safelisted", own, true, nil, false},
		{"same origin, told by the browser", own, false, []string{"Origin", "https://bridge.example", "Sec-Fetch-Site", "same-origin"}, true},
		{"same origin behind a proxy that rewrites Host", own, false, []string{"Host", "127.0.0.1:9", "Origin", "https://bridge.example", "Sec-Fetch-Site", "same-origin"}, true},
		{"same origin, safelisted", own, true, []string{"Origin", "https://bridge.example", "Sec-Fetch-Site", "same-origin"}, true},
		{"same site is another origin", own, false, []string{"Origin", "https://bridge.example", "Sec-Fetch-Site", "same-site"}, false},
		{"cross site", own, false, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, false},
		{"user typed it", own, false, []string{"Origin", "https://bridge.example", "Sec-Fetch-Site", "none"}, false},
		{"old browser, same host", own, false, []string{"Origin", "http://bridge.example"}, true},
		{"old browser, same host, safelisted", own, true, []string{"Origin", "http://bridge.example"}, true},
		{"old browser, same host and port", own, false, []string{"Host", "bridge.example:8080", "Origin", "http://bridge.example:8080"}, true},
		{"old browser, scheme's own port", own, false, []string{"Host", "Bridge.example:443", "Origin", "https://bridge.example"}, true},
		{"old browser, other port", own, false, []string{"Origin", "http://bridge.example:8080"}, false},
		{"old browser, other host", own, false, []string{"Origin", "http://evil.example"}, false},
		{"old browser, suffix of the host", own, false, []string{"Origin", "http://example"}, false},
		{"null", own, false, []string{"Origin", "null"}, false},
		{"null, safelisted", own, true, []string{"Origin", "null"}, false},
		{"no origin at all", own, false, []string{"Origin", "nonsense"}, false},
		{"listed", listed, false, []string{"Origin", "https://app.example", "Sec-Fetch-Site", "cross-site"}, true},
		{"listed with port", listed, false, []string{"Origin", "http://localhost:5173"}, true},
		{"listed, safelisted", listed, true, []string{"Origin", "https://app.example", "Sec-Fetch-Site", "cross-site"}, true},
		{"listed host, other scheme", listed, false, []string{"Origin", "http://app.example"}, false},
		{"listed host, other port", listed, false, []string{"Origin", "https://app.example:8443"}, false},
		{"anyone", anyone, false, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, true},
		{"anyone, null", anyone, false, []string{"Origin", "null"}, true},
		{"anyone, null, safelisted", anyone, true, []string{"Origin", "null"}, false},
		{"anyone, none, safelisted", anyone, true, nil, false},
		{"forwarded host", proxied, false, []string{"Host", "upstream", "X-Forwarded-Host", "shop.example", "Origin", "https://shop.example"}, true},
		{"forwarded host, not ours", proxied, false, []string{"Host", "upstream", "X-Forwarded-Host", "shop.example", "Origin", "https://evil.example"}, false},
		{"forwarded host from a stranger", own, false, []string{"Host", "upstream", "X-Forwarded-Host", "shop.example", "Origin", "https://shop.example"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if got := policy(t, tt.cfg).Admit(w, request(tt.headers...), tt.safelisted); got != tt.want {
				t.Fatalf("admitted: %v, want %v", got, tt.want)
			}
			if !tt.want && w.Code != http.StatusForbidden {
				t.Errorf("status %d, want 403", w.Code)
			}
			if w.Header().Get(access.Marker) != "1" || w.Header().Get("Vary") != "Origin" {
				t.Errorf("headers %v lack the marker or Vary", w.Header())
			}
		})
	}
}

func TestRebinding(t *testing.T) {
	tests := []struct {
		name, local, host string
		cfg               access.Config
		want              bool
	}{
		{"loopback name", "127.0.0.1:80", "localhost:80", access.Config{}, true},
		{"loopback subdomain", "127.0.0.1:80", "App.Localhost", access.Config{}, true},
		{"loopback address", "127.0.0.1:80", "127.0.0.2:80", access.Config{}, true},
		{"loopback IPv6", "[::1]:80", "[::1]:80", access.Config{}, true},
		{"foreign name over loopback", "127.0.0.1:80", "evil.example", access.Config{}, false},
		{"foreign name over loopback IPv6", "[::1]:80", "evil.example:80", access.Config{}, false},
		{"no host", "127.0.0.1:80", "", access.Config{}, false},
		{"lookalike", "127.0.0.1:80", "127.0.0.1.evil.example", access.Config{}, false},
		{"other listener", "192.0.2.9:80", "bridge.example", access.Config{}, true},
		{"allowed host", "127.0.0.1:80", "Bridge.example:8080", access.Config{AllowHosts: []string{"bridge.example"}}, true},
		{"allowed origin's host", "127.0.0.1:80", "app.example", access.Config{AllowOrigins: []string{"https://app.example"}}, true},
		{"trusted proxy", "127.0.0.1:80", "app.example", access.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(tt.local))
			r := request("Host", tt.host)
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(addr)))
			if got := policy(t, tt.cfg).Admit(httptest.NewRecorder(), r, false); got != tt.want {
				t.Errorf("admitted: %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCORS(t *testing.T) {
	cfg := access.Config{AllowOrigins: []string{"https://app.example"}}
	tests := []struct {
		name, origin       string
		cfg                access.Config
		allow, credentials string
		expose             string
	}{
		{"listed", "https://app.example", cfg, "https://app.example", "true", access.Marker},
		{"anyone", "https://evil.example", access.Config{AllowOrigins: []string{"*"}}, "*", "", access.Marker},
		{"named beside anyone", "https://app.example", access.Config{AllowOrigins: []string{"*", "https://app.example"}}, "https://app.example", "true", access.Marker},
		{"own page", "https://bridge.example", cfg, "", "", ""},
		{"no browser", "", cfg, "", "", ""},
		{"refused: may read why, no more", "https://evil.example", cfg, "https://evil.example", "", access.Marker},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request()
			if tt.origin != "" {
				r.Header.Set("Origin", tt.origin)
			}
			w := httptest.NewRecorder()
			policy(t, tt.cfg).Admit(w, r, false)
			want := map[string]string{
				"Access-Control-Allow-Origin":      tt.allow,
				"Access-Control-Allow-Credentials": tt.credentials,
				"Access-Control-Expose-Headers":    tt.expose,
			}
			for key, value := range want {
				if got := w.Header().Get(key); got != value {
					t.Errorf("%s: %q, want %q", key, got, value)
				}
			}
		})
	}
}

func TestRefusalNamesTheRemedyAndIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	p := policy(t, access.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		w := httptest.NewRecorder()
		p.Admit(httptest.NewRecorder(), request(), true)
		p.Admit(w, request("Origin", "https://app.example"), false)
		if body := w.Body.String(); !strings.Contains(body, "--allow-origin https://app.example") {
			t.Errorf("body %q does not name the flag", body)
		}
	}
	if got := strings.Count(log.String(), "\n"); got != 2 {
		t.Errorf("%d lines logged, want 1 for each kind: %s", got, &log)
	}
	for _, want := range []string{"--allow-origin https://app.example", "origin=https://app.example", "host=bridge.example"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %s: %s", want, &log)
		}
	}
}

func TestNewNamesEveryBadOrigin(t *testing.T) {
	bad := []string{"app.example", "https://", "https://app.example/", "https://app.example/x", "https://u@app.example", "https://app.example?", "null", ""}
	_, err := access.New(access.Config{AllowOrigins: append(bad, "https://good.example")})
	if err == nil {
		t.Fatal("no error")
	}
	if got := strings.Count(err.Error(), "\n") + 1; got != len(bad) {
		t.Errorf("%d errors, want %d:\n%v", got, len(bad), err)
	}
}

func TestClientAddr(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	tests := []struct{ name, remote, forwarded, want string }{
		{"direct", "203.0.113.7:1234", "", "203.0.113.7"},
		{"direct, forged", "203.0.113.7:1234", "198.51.100.1", "203.0.113.7"},
		{"one proxy", "10.0.0.1:1234", "203.0.113.7", "203.0.113.7"},
		{"one proxy, forged left", "10.0.0.1:1234", "198.51.100.1, 203.0.113.7", "203.0.113.7"},
		{"two proxies", "10.0.0.1:1234", "203.0.113.7, 10.0.0.2", "203.0.113.7"},
		{"all trusted", "10.0.0.1:1234", "10.0.0.3,10.0.0.2", "10.0.0.3"},
		{"proxy says nothing", "10.0.0.1:1234", "", "10.0.0.1"},
		{"proxy says nonsense", "10.0.0.1:1234", "unknown", "10.0.0.1"},
		{"with ports", "[fd00::1]:1234", "[2001:db8::7]:99", "2001:db8::7"},
		{"mapped", "[::ffff:10.0.0.1]:1234", "::ffff:203.0.113.7", "203.0.113.7"},
		{"no address", "pipe", "203.0.113.7", "pipe"},
	}
	p := policy(t, access.Config{TrustedProxies: proxies})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request()
			r.RemoteAddr = tt.remote
			if tt.forwarded != "" {
				r.Header.Set("X-Forwarded-For", tt.forwarded)
			}
			if got := p.ClientAddr(r); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPreflight(t *testing.T) {
	tests := []struct {
		name    string
		private bool
		ask     string
		want    string
	}{
		{"plain", false, "", ""},
		{"private network, off", false, "Private-Network", ""},
		{"private network, on", true, "Private-Network", "true"},
		{"local network, on", true, "Local-Network", "true"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := policy(t, access.Config{AllowOrigins: []string{"https://app.example"}, PrivateNetwork: tt.private})
			r := request("Origin", "https://app.example", "Access-Control-Request-Method", "POST")
			r.Method = http.MethodOptions
			if tt.ask != "" {
				r.Header.Set("Access-Control-Request-"+tt.ask, "true")
			}
			w := httptest.NewRecorder()
			if !p.Admit(w, r, false) {
				t.Fatal("refused")
			}
			p.Preflight(w, r, "POST")
			if w.Code != http.StatusNoContent {
				t.Errorf("status %d, want 204", w.Code)
			}
			want := map[string]string{
				"Access-Control-Allow-Origin":  "https://app.example",
				"Access-Control-Allow-Methods": "POST",
				"Access-Control-Allow-Headers": "Content-Type",
				"Access-Control-Max-Age":       "7200",
				"Vary":                         "Origin",
			}
			if tt.ask != "" {
				want["Access-Control-Allow-"+tt.ask] = tt.want
			}
			for key, value := range want {
				if got := w.Header().Get(key); got != value {
					t.Errorf("%s: %q, want %q", key, got, value)
				}
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		r := request("Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
		r.Method = http.MethodOptions
		w := httptest.NewRecorder()
		if policy(t, access.Config{}).Admit(w, r, false) || w.Code != http.StatusForbidden {
			t.Errorf("status %d, want 403", w.Code)
		}
		if got := w.Header().Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("Access-Control-Allow-Origin: %q, want none", got)
		}
	})
}
