package access_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/ratelog"
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

// request is a POST to bridge.example from 192.0.2.1, with headers in pairs;
// "TLS" is none of them.
func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/bridge/v1/s/poll", nil)
	r.Host = "bridge.example"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		if headers[i] == "TLS" {
			r.TLS = &tls.ConnectionState{}
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

// over is a request that came in at a local address.
func over(local net.Addr, r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
}

func tcpAddr(addr string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr)) }

func TestOrigin(t *testing.T) {
	own := access.Config{}
	listed := access.Config{AllowOrigins: []string{"https://app.example", "http://localhost:5173"}}
	anyone := access.Config{AllowOrigins: []string{"*"}}
	proxied := access.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	below := access.Config{AllowOrigins: []string{"https://*.app.example", "http://*.localhost:5173"}}
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
		{"old browser, scheme's own port", own, false, []string{"TLS", "", "Host", "Bridge.example:443", "Origin", "https://bridge.example"}, true},
		{"old browser, secure page, plain bridge", own, false, []string{"Origin", "https://bridge.example"}, false},
		{"old browser, plain page, secure bridge", own, false, []string{"TLS", "", "Origin", "http://bridge.example"}, false},
		{"old browser, plain page, secure bridge, one port", own, false, []string{"TLS", "", "Host", "bridge.example:8443", "Origin", "http://bridge.example:8443"}, false},
		{"old browser, no web scheme", own, false, []string{"Origin", "ftp://bridge.example"}, false},
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
		{"forwarded host and scheme", proxied, false, []string{"Host", "upstream", "X-Forwarded-Host", "shop.example", "X-Forwarded-Proto", "https", "Origin", "https://shop.example"}, true},
		{"forwarded scheme of a WebSocket", proxied, false, []string{"X-Forwarded-Proto", "wss", "Origin", "https://bridge.example"}, true},
		{"forwarded scheme of a plain WebSocket", proxied, false, []string{"X-Forwarded-Proto", "ws", "Origin", "https://bridge.example"}, false},
		{"another forwarded scheme", proxied, false, []string{"X-Forwarded-Proto", "http", "Origin", "https://bridge.example"}, false},
		{"forwarded scheme, encrypted again", proxied, false, []string{"TLS", "", "X-Forwarded-Proto", "http", "Origin", "http://bridge.example"}, true},
		{"forwarded scheme from a stranger", own, false, []string{"X-Forwarded-Proto", "https", "Origin", "https://bridge.example"}, false},
		{"below", below, false, []string{"Origin", "https://a.app.example", "Sec-Fetch-Site", "cross-site"}, true},
		{"below, safelisted", below, true, []string{"Origin", "https://a.app.example", "Sec-Fetch-Site", "cross-site"}, true},
		{"far below", below, false, []string{"Origin", "https://x-1.b.app.example"}, true},
		{"below, with the scheme's port", below, false, []string{"Origin", "https://a.app.example:443"}, true},
		{"below, with a port", below, false, []string{"Origin", "http://a.localhost:5173"}, true},
		{"not below: the domain", below, false, []string{"Origin", "https://app.example"}, false},
		{"not below: suffix", below, false, []string{"Origin", "https://evilapp.example"}, false},
		{"not below: prefix", below, false, []string{"Origin", "https://a.app.example.evil.example"}, false},
		{"not below: empty label", below, false, []string{"Origin", "https://.app.example"}, false},
		{"not below: empty labels", below, false, []string{"Origin", "https://a..app.example"}, false},
		{"not below: a star", below, false, []string{"Origin", "https://*.app.example"}, false},
		{"not below: escaped", below, false, []string{"Origin", "https://evil.example%2f.app.example"}, false},
		{"not below: user", below, false, []string{"Origin", "https://evil.example@a.app.example"}, false},
		{"not below: path", below, false, []string{"Origin", "https://evil.example/.app.example"}, false},
		{"not below: fragment", below, false, []string{"Origin", "https://evil.example#.app.example"}, false},
		{"not below: backslash", below, false, []string{"Origin", `https://evil.example\.app.example`}, false},
		{"not below: final dot", below, false, []string{"Origin", "https://a.app.example."}, false},
		{"not below: scheme", below, false, []string{"Origin", "http://a.app.example"}, false},
		{"not below: port", below, false, []string{"Origin", "https://a.app.example:8443"}, false},
		{"not below: no port", below, false, []string{"Origin", "http://a.localhost"}, false},
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

func TestHost(t *testing.T) {
	named := access.Config{AllowHosts: []string{"bridge.example", "*.wild.example", "[2001:db8::1]", "192.0.2.9"}}
	proxied := access.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}}
	both := access.Config{AllowHosts: named.AllowHosts, TrustedProxies: proxied.TrustedProxies}
	tests := []struct {
		name, local string
		headers     []string
		cfg         access.Config
		want        bool
	}{
		{"loopback name", "127.0.0.1:80", []string{"Host", "localhost:80"}, access.Config{}, true},
		{"loopback subdomain", "127.0.0.1:80", []string{"Host", "App.Localhost"}, access.Config{}, true},
		{"loopback address", "127.0.0.1:80", []string{"Host", "127.0.0.2:80"}, access.Config{}, true},
		{"loopback IPv6", "[::1]:80", []string{"Host", "[::1]:80"}, access.Config{}, true},
		{"foreign name over loopback", "127.0.0.1:80", []string{"Host", "evil.example"}, access.Config{}, false},
		{"foreign name over loopback IPv6", "[::1]:80", []string{"Host", "evil.example:80"}, access.Config{}, false},
		{"no host", "127.0.0.1:80", []string{"Host", ""}, access.Config{}, false},
		{"lookalike", "127.0.0.1:80", []string{"Host", "127.0.0.1.evil.example"}, access.Config{}, false},
		{"other listener", "192.0.2.9:80", nil, access.Config{}, true},
		{"allowed host", "127.0.0.1:80", []string{"Host", "Bridge.example:8080"}, named, true},
		{"allowed host, and loopback as ever", "127.0.0.1:80", []string{"Host", "localhost"}, named, true},
		{"allowed origin's host", "127.0.0.1:80", []string{"Host", "app.example"}, access.Config{AllowOrigins: []string{"https://app.example"}}, true},
		{"below an allowed origin", "127.0.0.1:80", []string{"Host", "a.app.example"}, access.Config{AllowOrigins: []string{"https://*.app.example"}}, true},

		// A page in this machine's browser can send any header but Host.
		{"trusted loopback", "127.0.0.1:80", []string{"Host", "evil.example"}, proxied, false},
		{"trusted loopback, forged address", "127.0.0.1:80", []string{"Host", "evil.example", "X-Forwarded-For", "203.0.113.7"}, proxied, false},
		{"trusted loopback, forged host", "127.0.0.1:80", []string{"Host", "evil.example", "X-Forwarded-Host", "localhost"}, proxied, false},
		{"trusted loopback, forged allowed host", "127.0.0.1:80", []string{"Host", "evil.example", "X-Forwarded-Host", "bridge.example"}, both, false},
		{"trusted loopback, allowed host", "127.0.0.1:80", []string{"Host", "bridge.example"}, both, true},
		{"trusted loopback, rewritten host", "127.0.0.1:80", []string{"Host", "127.0.0.1:8080", "X-Forwarded-Host", "shop.example"}, proxied, true},

		{"everywhere: allowed", "192.0.2.9:80", []string{"Host", "BRIDGE.example:443"}, named, true},
		{"everywhere: below", "192.0.2.9:80", []string{"Host", "a.b.wild.example"}, named, true},
		{"everywhere: IPv6", "192.0.2.9:80", []string{"Host", "[2001:db8::1]:80"}, named, true},
		{"everywhere: address", "192.0.2.9:80", []string{"Host", "192.0.2.9"}, named, true},
		{"everywhere: foreign", "192.0.2.9:80", []string{"Host", "evil.example"}, named, false},
		{"everywhere: suffix", "192.0.2.9:80", []string{"Host", "evilwild.example"}, named, false},
		{"everywhere: the domain below which", "192.0.2.9:80", []string{"Host", "wild.example"}, named, false},
		{"everywhere: loopback names are none there", "192.0.2.9:80", []string{"Host", "localhost"}, named, false},
		{"everywhere: none", "192.0.2.9:80", []string{"Host", ""}, named, false},
		{"everywhere: through a proxy", "192.0.2.9:80", []string{"Host", "upstream", "X-Forwarded-Host", "bridge.example"}, both, true},
		{"everywhere: foreign through a proxy", "192.0.2.9:80", []string{"Host", "bridge.example", "X-Forwarded-Host", "evil.example"}, both, false},
		{"everywhere: a stranger's word", "192.0.2.9:80", []string{"Host", "upstream", "X-Forwarded-Host", "bridge.example"}, named, false},
		{"everywhere: with any origin", "192.0.2.9:80", []string{"Host", "evil.example"}, access.Config{AllowHosts: named.AllowHosts, AllowOrigins: []string{"*"}}, false},
		{"any origin", "127.0.0.1:80", []string{"Host", "app.example"}, access.Config{AllowOrigins: []string{"*"}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if got := policy(t, tt.cfg).Admit(w, over(tcpAddr(tt.local), request(tt.headers...)), false); got != tt.want {
				t.Errorf("admitted: %v, want %v", got, tt.want)
			}
			if body := w.Body.String(); !tt.want && !strings.Contains(body, "--allow-host ") {
				t.Errorf("body %q does not name the flag", body)
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
		expose, timing     string
	}{
		{"listed", "https://app.example", cfg, "https://app.example", "true", access.Marker, "https://app.example"},
		{"anyone", "https://evil.example", access.Config{AllowOrigins: []string{"*"}}, "*", "", access.Marker, "*"},
		{"below", "https://a.app.example", access.Config{AllowOrigins: []string{"https://*.app.example"}}, "https://a.app.example", "true", access.Marker, "https://a.app.example"},
		{"below beside anyone", "https://a.app.example", access.Config{AllowOrigins: []string{"*", "https://*.app.example"}}, "https://a.app.example", "true", access.Marker, "https://a.app.example"},
		{"named beside anyone", "https://app.example", access.Config{AllowOrigins: []string{"*", "https://app.example"}}, "https://app.example", "true", access.Marker, "https://app.example"},
		{"own page", "http://bridge.example", cfg, "", "", "", ""},
		{"no browser", "", cfg, "", "", "", ""},
		{"refused: may read why, no more", "https://evil.example", cfg, "https://evil.example", "", access.Marker, ""},
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
				"Timing-Allow-Origin":              tt.timing,
			}
			for key, value := range want {
				if got := w.Header().Get(key); got != value {
					t.Errorf("%s: %q, want %q", key, got, value)
				}
			}
		})
	}
}

// TestRefusals: each kind is counted, and logged once in 10 s with the count
// and what would mend it. The remedy that is named is one that works.
func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := policy(t, access.Config{AllowHosts: []string{"bridge.example"}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for _, tt := range []struct {
			kind    string
			request *http.Request
			remedy  string
		}{
			{"origin", request("Origin", "https://app.example"), "--allow-origin https://app.example"},
			{"origin", request("Origin", "null"), "--allow-origin '*'"},
			{"no_origin", request("Content-Type", "text/plain"), "application/octet-stream"},
			{"host", request("Host", "evil.example:80"), "--allow-host evil.example"},
		} {
			before := p.Refused()[tt.kind]
			for range 1000 {
				w := httptest.NewRecorder()
				if p.Admit(w, tt.request, true) {
					t.Fatal("admitted")
				}
				if body := w.Body.String(); !strings.Contains(body, tt.remedy) {
					t.Fatalf("body %q does not name %s", body, tt.remedy)
				}
			}
			if got := p.Refused()[tt.kind] - before; got != 1000 {
				t.Errorf("%s: %d refusals counted, want 1000", tt.kind, got)
			}
		}
		w := httptest.NewRecorder()
		policy(t, access.Config{AllowOrigins: []string{"*"}}).Admit(w, request("Origin", "null"), true)
		if body := w.Body.String(); !strings.Contains(body, "application/octet-stream") || strings.Contains(body, "--allow-origin") {
			t.Errorf("body %q names what is set, not what would help", body)
		}
		for range 1000 {
			r := request("Origin", "http://bridge.example", "Access-Control-Request-Headers", "content-type,Traceparent")
			p.Preflight(httptest.NewRecorder(), r, "POST")
		}
		if got := p.Refused()["header"]; got != 1000 {
			t.Errorf("%d refused headers counted, want 1000", got)
		}
		time.Sleep(ratelog.Interval)
		synctest.Wait()
		got := log.String()
		// The second kind of origin falls into the interval of the first.
		if n := strings.Count(got, "\n"); n != 8 {
			t.Errorf("%d lines logged, want 2 for each kind:\n%s", n, got)
		}
		for _, want := range []string{
			"--allow-origin https://app.example", "origin=https://app.example", "host=bridge.example", "remote=192.0.2.1", "count=1\n", "count=999\n",
			"count=1999\n", "--allow-origin '*'", "--allow-host evil.example", "--allow-header traceparent",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("log lacks %s:\n%s", want, got)
			}
		}
	})
}

// TestNew_names every value that could not do what its writer wants.
func TestNew_names(t *testing.T) {
	bad := access.Config{
		AllowOrigins: []string{
			"app.example", "https://", "https://app.example/", "https://app.example/x", "https://u@app.example", "https://app.example?", "https://app.example#", "null", "",
			"*.app.example", "https://*", "https://*.", "https://*app.example", "https://a.*.example", "https://*.*.example", "https://app.*", "https://app.example:*",
			"*://app.example", "https://app.example:", "https://app.example:99999", "https://:443", "https://bücher.example", "https://*.exa mple", "**",
		},
		AllowHosts:   []string{"", "*", "*.", "a.example:80", "http://a.example", "a.*.example", "*a.example", "a..example", "bücher.example", "a/b", "10.0.0.0/8"},
		AllowHeaders: []string{"", "*", "x-*", "a b", "a:b", "träce", "a,b"},
	}
	_, err := access.New(bad)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("no list of errors: %v", err)
	}
	values := slices.Concat(bad.AllowOrigins, bad.AllowHosts, bad.AllowHeaders)
	errs := joined.Unwrap()
	for i, value := range values {
		if i >= len(errs) || !strings.Contains(errs[i].Error(), strconv.Quote(value)) {
			t.Fatalf("no error for %q:\n%v", value, err)
		}
	}
	if len(errs) > len(values) {
		t.Errorf("too many errors: %v", errs[len(values):])
	}
	_, err = access.New(access.Config{
		AllowOrigins: []string{"*", "https://app.example", "HTTPS://App.Example:443", "https://*.app.example:8443", "http://[::1]:80", "capacitor://localhost", "https://xn--bcher-kva.example"},
		AllowHosts:   []string{"bridge", "a_b.example", "a.example.", "10.0.0.1", "::1", "[2001:db8::1]", "*.a.example"},
		AllowHeaders: []string{"traceparent", "X-Datadog-Trace-Id", "traceparent"},
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSet(t *testing.T) {
	p := policy(t, access.Config{AllowOrigins: []string{"https://old.example"}})
	admitted := func(origin string) bool {
		return p.Admit(httptest.NewRecorder(), request("Origin", origin, "Sec-Fetch-Site", "cross-site"), false)
	}
	if err := p.Set(access.Config{AllowOrigins: []string{"https://new.example", "https://*"}}); err == nil || !admitted("https://old.example") || admitted("https://new.example") {
		t.Errorf("a bad Config: %v; old admitted: %v, new: %v", err, admitted("https://old.example"), admitted("https://new.example"))
	}
	if err := p.Set(access.Config{AllowOrigins: []string{"https://new.example"}}); err != nil || admitted("https://old.example") || !admitted("https://new.example") {
		t.Errorf("a good one: %v; old admitted: %v, new: %v", err, admitted("https://old.example"), admitted("https://new.example"))
	}
	if got := p.Refused()["origin"]; got != 2 {
		t.Errorf("%d refusals counted, want those before and after", got)
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
		{"Unix socket", "unix", "203.0.113.7", "203.0.113.7"},
		{"Unix socket, two proxies", "unix", "203.0.113.7, 10.0.0.2", "203.0.113.7"},
		{"Unix socket, proxy says nothing", "unix", "", "@"},
	}
	p := policy(t, access.Config{TrustedProxies: proxies})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request()
			if r.RemoteAddr = tt.remote; tt.remote == "unix" {
				r.RemoteAddr = "@"
				r = over(&net.UnixAddr{Net: "unix"}, r)
			}
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
		headers []string
		allowed string
	}{
		{"plain", false, "", "", nil, "Content-Type"},
		{"private network, off", false, "Private-Network", "", nil, "Content-Type"},
		{"private network, on", true, "Private-Network", "true", nil, "Content-Type"},
		{"local network, on", true, "Local-Network", "true", nil, "Content-Type"},
		{"headers", false, "", "", []string{"traceparent", "X-Trace", "content-type"}, "Content-Type, traceparent, X-Trace"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := policy(t, access.Config{AllowOrigins: []string{"https://app.example"}, AllowHeaders: tt.headers, PrivateNetwork: tt.private})
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
				"Access-Control-Allow-Headers": tt.allowed,
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
