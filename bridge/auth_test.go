package bridge

import (
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/metadata"
)

// TestIdentity: what is known of the principal takes the place of what its page
// set, also where it is nothing.
func TestIdentity(t *testing.T) {
	id, err := newIdentity(Principal{Metadata: metadata.MD{"x-user": {"ann"}, "x-team": nil, "x-both": {"principal"}}}, metadata.MD{"x-both": {"header"}, "cookie": {"c"}})
	if err != nil {
		t.Fatal(err)
	}
	md := metadata.MD{"x-user": {"root", "eve"}, "x-team": {"red"}, "x-own": {"kept"}}
	id.forward(md)
	want := metadata.MD{"x-user": {"ann"}, "x-team": nil, "x-both": {"principal"}, "cookie": {"c"}, "x-own": {"kept"}}
	if !reflect.DeepEqual(md, want) {
		t.Errorf("got %q, want %q", md, want)
	}
	for _, key := range []string{"", "a b", "X-User", "grpc-status", "content-type", ":path", "te"} {
		if _, err := newIdentity(Principal{Metadata: metadata.MD{key: {"v"}}}, metadata.MD{}); err == nil || !strings.Contains(err.Error(), "Metadata") {
			t.Errorf("key %q: got %v", key, err)
		}
	}
}

// TestIdentity_methods holds which methods a principal may call.
func TestIdentity_methods(t *testing.T) {
	for _, test := range []struct {
		patterns []string
		allowed  bool
	}{
		{nil, true}, {[]string{}, false}, {[]string{"a.B"}, true}, {[]string{"a.B/C"}, true}, {[]string{"a.*"}, true}, {[]string{"*"}, true},
		{[]string{"x.*", "a.B/Get*"}, false}, {[]string{"a.B/CD"}, false},
	} {
		id, err := newIdentity(Principal{AllowMethods: test.patterns}, metadata.MD{})
		if err != nil {
			t.Fatal(err)
		}
		if got := id.allows("/a.B/C"); got != test.allowed {
			t.Errorf("%q: allowed %v, want %v", test.patterns, got, test.allowed)
		}
	}
	if _, err := newIdentity(Principal{AllowMethods: []string{"a b"}}, metadata.MD{}); err == nil {
		t.Error("a pattern that fits nothing was taken")
	}
	var nobody *identity
	if !nobody.allows("/a.B/C") {
		t.Error("without authentication nothing is allowed")
	}
}

// TestRegistry: metrics go to the registry that was given, beside what is in it.
func TestRegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), prometheus.NewGauge(prometheus.GaugeOpts{Name: "own"}))
	server, err := New(Config{Backends: []Backend{{Target: "127.0.0.1:1"}}, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown(t.Context())
	w := httptest.NewRecorder()
	server.AdminHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{"own 0", "pollbridge_sessions 0", `pollbridge_authentications_total{result="refused"} 0`} {
		if !slices.Contains(strings.Split(w.Body.String(), "\n"), line) {
			t.Errorf("metrics lack %s", line)
		}
	}
	if _, err := New(Config{Backends: []Backend{{Target: "127.0.0.1:1"}}, Registry: registry}); err == nil || !strings.Contains(err.Error(), "Registry") {
		t.Errorf("a second bridge with the same registry: %v", err)
	}
}
