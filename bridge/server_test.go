package bridge_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/labstack/echo/v4"
	"google.golang.org/grpc/codes"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/jsclient"
)

func get(h http.Handler, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, http.NoBody)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestServer_routes(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{Prefix: "/x/y"})
	mounted := echo.New()
	srv.Mount(mounted)
	for name, h := range map[string]http.Handler{"handler": srv, "echo": mounted} {
		for _, tt := range []struct {
			method, path string
			want         int
		}{
			{"GET", "/x/y/client.js", 200},
			{"HEAD", "/x/y/client.global.js", 200},
			{"GET", "/x/y/later.js", 404},
			{"POST", "/x/y/client.js", 405},
			{"GET", "/x/y/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", 405},
			{"OPTIONS", "/x/y/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", 204},
			{"POST", "/x/y/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", 200}, // garbled, says the bridge itself
			{"GET", "/x/y/v1/AAAAAAAAAAAAAAAAAAAAAA/ws", 400},    // no WebSocket handshake
			{"POST", "/x/y/v1/AAAAAAAAAAAAAAAAAAAAAA/ws", 405},
			{"GET", "/x/y/v1/AAAAAAAAAAAAAAAAAAAAAA/else", 404},
			{"GET", "/x/y/v2/AAAAAAAAAAAAAAAAAAAAAA/poll", 404},
			{"GET", "/x/y/", 404},
			{"GET", "/bridge/client.js", 404},
			{"GET", "/metrics", 404},
		} {
			if got := get(h, tt.method, tt.path, "Content-Type", "application/octet-stream"); got.StatusCode != tt.want {
				t.Errorf("%s: %s %s: got %d, want %d", name, tt.method, tt.path, got.StatusCode, tt.want)
			}
		}
	}
}

func TestServer_scripts(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{})
	scripts := map[string][]byte{"/bridge/client.js": jsclient.Module, "/bridge/client.global.js": jsclient.Global}
	for name, text := range jsclient.Adapters() {
		scripts["/bridge/"+name] = text
	}
	if len(scripts) != 8 {
		t.Errorf("%d scripts", len(scripts))
	}
	for path, want := range scripts {
		got := get(srv, "GET", path)
		if text := body(t, got); text != string(want) {
			t.Errorf("%s: %d bytes, want %d", path, len(text), len(want))
		}
		if ct := got.Header.Get("Content-Type"); ct != "text/javascript; charset=utf-8" {
			t.Errorf("%s: content-type %q", path, ct)
		}
		again := get(srv, "GET", path, "If-None-Match", got.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
			t.Errorf("%s: got %d for its own ETag", path, again.StatusCode)
		}
	}
}

func TestServer_originRefused(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{AllowOrigins: []string{"https://good.example"}})
	path := "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll"
	for origin, want := range map[string]int{"https://good.example": 200, "https://evil.example": 403, "": 200} {
		for _, route := range []string{path, strings.TrimSuffix(path, "poll") + "ws"} {
			header := []string{"Content-Type", "application/octet-stream"}
			if origin != "" {
				header = append(header, "Origin", origin)
			}
			got := get(srv, "POST", route, header...)
			if (got.StatusCode == 403) != (want == 403) {
				t.Errorf("%s from %q: got %d", route, origin, got.StatusCode)
			}
		}
	}
}

func TestServer_reload(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{AllowMethods: []string{"a.*"}, DenyMethods: []string{"a.B/Deny"}})
	poll := func(origin string) int {
		return get(srv, "POST", "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", "Content-Type", "application/octet-stream", "Origin", origin, "Sec-Fetch-Site", "cross-site").StatusCode
	}
	call := func(method string) codes.Code {
		st := newStream(t, testsvc.Request(1, 1))
		close(st.up)
		return codes.Code(srv.RunRPC(t.Context(), st, &wire.Open{Method: method, SingleRequest: true}).Status)
	}
	cfg := good()
	cfg.AllowOrigins, cfg.AllowMethods = []string{"https://good.example"}, []string{"bad/"}
	if err := srv.Reload(cfg); err == nil || poll("https://good.example") != 403 {
		t.Errorf("a bad Config was taken: %v", err)
	}
	if got := call(echopb.Echo_Unary_FullMethodName); got != codes.Unimplemented {
		t.Errorf("before: %v", got)
	}
	cfg.AllowMethods = nil
	if err := srv.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if status, code := poll("https://good.example"), call(echopb.Echo_Unary_FullMethodName); status != 200 || code != codes.OK {
		t.Errorf("after: status %d, code %v", status, code)
	}
}

func TestAdmin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, _ := newServer(t, bridge.Config{})
		admin := srv.AdminHandler()
		synctest.Wait()
		if got := get(admin, "GET", "/healthz"); got.StatusCode != 200 {
			t.Errorf("healthz: %d", got.StatusCode)
		}
		if got := get(admin, "GET", "/readyz"); got.StatusCode != 200 || body(t, got) != "ready\nin-process: READY\n" {
			t.Errorf("readyz: %d", got.StatusCode)
		}
		st := newStream(t, &echopb.Request{Script: &echopb.Script{Status: 5}})
		close(st.up)
		srv.RunRPC(t.Context(), st, &wire.Open{Method: echopb.Echo_Unary_FullMethodName, SingleRequest: true})
		get(srv, "POST", "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", "Content-Type", "application/octet-stream")
		text := body(t, get(admin, "GET", "/metrics"))
		for _, line := range []string{
			`pollbridge_sessions 0`, `pollbridge_links{transport="ws"} 0`, `pollbridge_streams{protocol="session"} 0`, `pollbridge_buffered_bytes 0`,
			`pollbridge_backend_channels{backend="in-process",state="READY"} 1`, `pollbridge_backend_too_many_pings_total{backend="in-process"} 0`, `pollbridge_refusals_total{reason="garbled"} 1`,
			`pollbridge_refusals_total{reason="busy"} 0`, `pollbridge_requests_refused_total{reason="origin"} 0`, `pollbridge_sessions_closed_total{reason="expired"} 0`,
			`pollbridge_rpcs_completed_total{backend="in-process",code="Unavailable",protocol="session"} 0`, `pollbridge_rpcs_completed_total{backend="",code="other",protocol="session"} 0`,
			`pollbridge_rpcs_started_total{protocol="session"} 0`, `pollbridge_resumes_total 0`, `pollbridge_rpc_duration_seconds_count{backend="in-process",protocol="session"} 0`,
		} {
			if !slices.Contains(strings.Split(text, "\n"), line) {
				t.Errorf("metrics lack %s", line)
			}
		}
		if !strings.Contains(text, "pollbridge_build_info{") || !strings.Contains(text, "go_goroutines") {
			t.Error("metrics lack the build or Go's own")
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := get(admin, "GET", "/readyz"); got.StatusCode != 503 || body(t, got) != "draining\n" {
			t.Errorf("readyz while draining: %d", got.StatusCode)
		}
		if got := get(admin, "GET", "/readyz?draining=404"); got.StatusCode != 404 || body(t, got) != "draining\n" {
			t.Errorf("readyz?draining=404 while draining: %d", got.StatusCode)
		}
		if got := get(admin, "GET", "/healthz"); got.StatusCode != 200 {
			t.Errorf("healthz while draining: %d", got.StatusCode)
		}
	})
}

func TestAdmin_notReadyWithoutBackend(t *testing.T) {
	srv, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: "127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	for {
		got := get(srv.AdminHandler(), "GET", "/readyz")
		text := body(t, got)
		if got.StatusCode != 503 || !strings.HasPrefix(text, "no backend can be used\n127.0.0.1:1: ") {
			t.Fatalf("readyz: %d %q", got.StatusCode, text)
		}
		if strings.Contains(text, "TRANSIENT_FAILURE: dial tcp 127.0.0.1:1: connect: connection refused") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
