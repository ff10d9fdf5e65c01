package bridge_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// series returns the bridge's metrics with their values.
func series(t *testing.T, srv *bridge.Server) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(body(t, get(srv.AdminHandler(), "GET", "/metrics"))) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "pollbridge_") {
			all[name] = value
		}
	}
	return all
}

// newMetered is a bridge with a backend that is there, and one that is not.
func newMetered(t *testing.T) (*bridge.Server, string) {
	t.Helper()
	svc := testsvc.New()
	t.Cleanup(svc.Stop)
	srv := bridgeOf(t, bridge.Config{RPC: true, Check: true, MaxMetadataBytes: 1 << 10, Backends: []bridge.Backend{
		{Name: "echo", GRPCServer: svc.GRPC},
		{Name: "dead", Target: "127.0.0.1:1", Services: []string{"dead."}, ReadyTimeout: time.Millisecond},
	}})
	web := httptest.NewServer(srv)
	t.Cleanup(web.Close)
	return srv, web.URL
}

// TestMetrics_everySeriesFromTheStart: nothing that happens makes a series that
// was not there before, since rate() would miss its first event.
func TestMetrics_everySeriesFromTheStart(t *testing.T) {
	srv, url := newMetered(t)
	before := series(t, srv)
	if len(before) < 300 {
		t.Fatalf("only %d series", len(before))
	}
	cause(t, url)
	get(srv.AdminHandler(), "DELETE", "/api/v1/sessions/x")
	after := series(t, srv)
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s was not there from the start", name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			t.Errorf("%s has gone", name)
		}
	}
}

// cause has RPCs, and requests, end in many ways.
func cause(t *testing.T, url string) {
	t.Helper()
	for _, transport := range []string{"ws", "longpoll"} {
		channel, err := client.New(url, client.Config{Transports: []string{transport}})
		if err != nil {
			t.Fatal(err)
		}
		echo := echopb.NewEchoClient(channel)
		if _, err := echo.Unary(t.Context(), testsvc.Request(1, 1000)); err != nil {
			t.Fatal(err)
		}
		if _, err := echo.Unary(t.Context(), &echopb.Request{Script: &echopb.Script{Status: uint32(codes.NotFound)}}); status.Code(err) != codes.NotFound {
			t.Fatal(err)
		}
		for method, want := range map[string]codes.Code{"/dead.Service/Method": codes.Unavailable, "/grpc.channelz.v1.Channelz/GetServers": codes.Unimplemented} {
			if err := channel.Invoke(t.Context(), method, testsvc.Request(1, 1), &echopb.Reply{}, grpc.WaitForReady(false)); status.Code(err) != want {
				t.Fatalf("%s: %v, want %v", method, err, want)
			}
		}
		channel.Close()
	}
	request := func(method, path, body string, header ...string) {
		r, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return // cut off
		}
		response.Body.Close()
	}
	octets := []string{"Content-Type", "application/octet-stream"}
	const poll = "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll"
	request("POST", poll, "garbage", octets...)
	request("POST", poll, strings.Repeat("x", 3<<20), octets...)
	request("POST", poll, "", append([]string{"Origin", "https://evil.example"}, octets...)...)
	request("POST", poll, "", "Content-Type", "text/plain")
	request("OPTIONS", poll, "")
	request("PUT", poll, "")
	request("GET", "/bridge/v1/nothing", "")
	request("GET", "/bridge/client.js", "")
	request("GET", "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/ws", "")
	message, err := proto.Marshal(testsvc.Request(1, 1000))
	if err != nil {
		t.Fatal(err)
	}
	request("POST", echopb.Echo_Unary_FullMethodName, string(message), "Content-Type", "application/proto")
	request("POST", echopb.Echo_Unary_FullMethodName, "{}", "Content-Type", "application/json")
	request("POST", echopb.Echo_Unary_FullMethodName, "{}", "Content-Type", "text/html")
	request("POST", "/dead.Service/Method", "", "Content-Type", "application/proto")
}

// TestMetrics_values: what RPCs are counted by, and answers by their status.
func TestMetrics_values(t *testing.T) {
	srv, url := newMetered(t)
	before := series(t, srv)
	cause(t, url)
	// The last link of a client ends after its channel does.
	for deadline := time.Now().Add(time.Minute); series(t, srv)["pollbridge_sessions"] != "0" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	after := series(t, srv)
	changed := map[string]string{}
	for name, value := range after {
		if before[name] != value && !strings.Contains(name, "_seconds") && !strings.Contains(name, `{transport="`) {
			changed[name] = value
		}
	}
	for name, want := range map[string]string{
		`pollbridge_rpcs_completed_total{backend="echo",code="OK",protocol="session"}`:          "2",
		`pollbridge_rpcs_completed_total{backend="echo",code="NotFound",protocol="session"}`:    "2",
		`pollbridge_rpcs_completed_total{backend="dead",code="Unavailable",protocol="session"}`: "2",
		`pollbridge_rpcs_completed_total{backend="",code="Unimplemented",protocol="session"}`:   "2",
		`pollbridge_rpcs_completed_total{backend="dead",code="Unavailable",protocol="connect"}`: "1",
		`pollbridge_http_responses_total{code="101"}`:                                           "1",
		`pollbridge_http_responses_total{code="204"}`:                                           "1",
		`pollbridge_http_responses_total{code="403"}`:                                           "2",
		`pollbridge_http_responses_total{code="404"}`:                                           "1",
		`pollbridge_http_responses_total{code="405"}`:                                           "1",
		`pollbridge_http_responses_total{code="501"}`:                                           "1",
		`pollbridge_http_responses_total{code="other"}`:                                         "",
		`pollbridge_rpcs_completed_total{backend="echo",code="OK",protocol="connect"}`:          "1",
		`pollbridge_http_responses_total{code="415"}`:                                           "1",
		`pollbridge_http_responses_total{code="503"}`:                                           "1",
		`pollbridge_refusals_total{reason="garbled"}`:                                           "1",
		`pollbridge_refusals_total{reason="too_large"}`:                                         "1",
	} {
		if changed[name] != want {
			t.Errorf("%s is %s, want %s", name, after[name], want)
		}
	}
	for name, want := range map[string]string{
		"pollbridge_ready": "1", "pollbridge_draining": "0",
		`pollbridge_backend_ready{backend="echo"}`: "1", `pollbridge_backend_ready{backend="dead"}`: "0",
		"pollbridge_sessions_limit": "100000", "pollbridge_streams_limit": "16384", "pollbridge_buffered_bytes_limit": "1.073741824e+09",
	} {
		if after[name] != want {
			t.Errorf("%s is %s, want %s", name, after[name], want)
		}
	}
	for _, transport := range []string{"ws", "longpoll", "connect"} {
		for _, direction := range []string{"received", "sent"} {
			name := `pollbridge_` + direction + `_bytes_total{transport="` + transport + `"}`
			if after[name] == before[name] {
				t.Errorf("%s stays %s", name, after[name])
			}
		}
	}
	if t.Failed() {
		for _, name := range slices.Sorted(maps.Keys(changed)) {
			t.Logf("%s %s", name, changed[name])
		}
	}
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if after := series(t, srv); after["pollbridge_ready"] != "0" || after["pollbridge_draining"] != "1" {
		t.Errorf("ready %s, draining %s after Shutdown", after["pollbridge_ready"], after["pollbridge_draining"])
	}
}

// TestMetrics_noAnswer: a request that got no answer is counted as that.
func TestMetrics_noAnswer(t *testing.T) {
	srv, _ := newMetered(t)
	r := httptest.NewRequest("POST", "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", &cutBody{})
	r.Header.Set("Content-Type", "application/octet-stream")
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("panic %v", p)
			}
		}()
		srv.ServeHTTP(httptest.NewRecorder(), r)
	}()
	if got := series(t, srv)[`pollbridge_http_responses_total{code="none"}`]; got != "1" {
		t.Errorf("%s requests without an answer, want 1", got)
	}
}

// cutBody is the body of a client that goes in the middle.
type cutBody struct{}

func (*cutBody) Read([]byte) (int, error) { return 0, http.ErrBodyReadAfterClose }
