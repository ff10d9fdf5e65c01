package bridge_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/bridge"
)

// TestCheck holds what of the network check is served, and that nothing of it
// is until it is switched on.
func TestCheck(t *testing.T) {
	for _, on := range []bool{false, true} {
		server, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{GRPCServer: grpc.NewServer()}}, Check: on})
		if err != nil {
			t.Fatal(err)
		}
		front := httptest.NewServer(server)
		for path, kind := range map[string]string{
			"/bridge/check":          "text/html",
			"/bridge/check/page.css": "text/css",
			"/bridge/check/page.js":  "text/javascript",
			"/bridge/diagnose.js":    "text/javascript",
			"/bridge/v1/check/nonce": "application/octet-stream",
		} {
			resp, err := http.Get(front.URL + path)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			header := resp.Header
			switch {
			case !on && resp.StatusCode != http.StatusNotFound:
				t.Errorf("switched off: %s: %s", path, resp.Status)
			case on && (resp.StatusCode != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), kind) || len(body) == 0):
				t.Errorf("%s: %s, %q, %d bytes", path, resp.Status, header.Get("Content-Type"), len(body))
			case on && kind == "text/html" && !strings.HasPrefix(header.Get("Content-Security-Policy"), "default-src 'self';"):
				t.Errorf("%s: policy %q", path, header.Get("Content-Security-Policy"))
			}
		}
		front.Close()
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
