package forwardauth_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/auth/forwardauth"
)

// asking runs an Authenticator against a server that answers what the test says,
// with a request of a client.
func asking(t *testing.T, cfg forwardauth.Config, token string, answer http.HandlerFunc) (bridge.Principal, error) {
	t.Helper()
	server := httptest.NewServer(answer)
	defer server.Close()
	cfg.URL = server.URL + "/verify?x=1"
	a, err := forwardauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	request := httptest.NewRequest(http.MethodPost, "http://bridge.example/bridge/v1/abc/poll", strings.NewReader("a batch"))
	request.Header.Set("Authorization", "Basic eA==")
	request.Header.Set("Cookie", "session=1")
	request.Header.Set("X-Team", "red")
	request.Header.Set("X-Forwarded-For", "6.6.6.6")
	return a.Authenticate(t.Context(), bridge.AuthInfo{Request: request, Token: token, RemoteAddr: "192.0.2.7"})
}

// TestQuestion holds what is asked.
func TestQuestion(t *testing.T) {
	for _, test := range []struct {
		name  string
		cfg   forwardauth.Config
		token string
		want  map[string]string
	}{
		{"as it is", forwardauth.Config{}, "", map[string]string{
			"Authorization": "Basic eA==", "Cookie": "session=1", "X-Team": "", "X-Forwarded-Method": "POST", "X-Forwarded-Proto": "http",
			"X-Forwarded-Host": "bridge.example", "X-Forwarded-Uri": "/bridge/v1/abc/poll", "X-Forwarded-For": "192.0.2.7", "Content-Length": "",
		}},
		{"a token", forwardauth.Config{}, "t", map[string]string{"Authorization": "Bearer t", "Cookie": "session=1"}},
		{"other headers", forwardauth.Config{RequestHeaders: []string{"x-team"}}, "", map[string]string{"Authorization": "", "Cookie": "", "X-Team": "red"}},
	} {
		_, err := asking(t, test.cfg, test.token, func(_ http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.RequestURI() != "/verify?x=1" {
				t.Errorf("%s: asked by %s %s", test.name, r.Method, r.URL)
			}
			for name, want := range test.want {
				if got := strings.Join(r.Header.Values(name), "|"); got != want {
					t.Errorf("%s: %s: %q, want %q", test.name, name, got, want)
				}
			}
		})
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestAnswer holds what becomes of an answer.
func TestAnswer(t *testing.T) {
	var log bytes.Buffer
	cfg := forwardauth.Config{ResponseHeaders: []string{"Remote-Email", "Remote-Groups", "X-None"}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	for _, test := range []struct {
		status int
		want   codes.Code
		text   string
	}{
		{200, codes.OK, ""}, {204, codes.OK, ""},
		{302, codes.Unauthenticated, "not admitted (302)"}, {401, codes.Unauthenticated, "not admitted (401)"}, {403, codes.Unauthenticated, "not admitted (403)"},
		{404, codes.Unauthenticated, "not admitted (404)"}, {500, codes.Unavailable, "credentials cannot be checked now"}, {503, codes.Unavailable, "credentials cannot be checked now"},
	} {
		who, err := asking(t, cfg, "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/login")
			w.Header().Set("Remote-User", "ann")
			w.Header().Set("Remote-Email", "ann@x.example")
			w.Header()["Remote-Groups"] = []string{"a", "b"}
			w.WriteHeader(test.status)
		})
		if got := status.Convert(err); got.Code() != test.want || got.Message() != test.text {
			t.Errorf("%d: got %v, want %v: %s", test.status, err, test.want, test.text)
		}
		want := bridge.Principal{Name: "ann", Metadata: metadata.MD{"remote-email": {"ann@x.example"}, "remote-groups": {"a", "b"}, "x-none": nil}}
		if test.want != codes.OK {
			want = bridge.Principal{}
		}
		if !reflect.DeepEqual(who, want) {
			t.Errorf("%d: got %+v, want %+v", test.status, who, want)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 2 {
		t.Errorf("%d errors in the log, want 2:\n%s", n, &log)
	}
	who, err := asking(t, forwardauth.Config{PrincipalHeader: "X-Who", ValidFor: time.Minute}, "", func(http.ResponseWriter, *http.Request) {})
	if left := time.Until(who.Expires); err != nil || who.Name != "192.0.2.7" || left <= 0 || left > time.Minute {
		t.Errorf("an answer that names nobody: %+v, %v", who, err)
	}
}

// TestNobodyThere: who cannot be asked admits nobody, and refuses nobody either.
func TestNobodyThere(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	_, err := asking(t, forwardauth.Config{Timeout: time.Millisecond}, "", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestUnusable(t *testing.T) {
	for _, u := range []string{"", "auth.example", "ftp://auth.example", "http://", "://"} {
		if _, err := forwardauth.New(forwardauth.Config{URL: u}); err == nil {
			t.Errorf("%q was taken", u)
		}
	}
}
