package jwtauth_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/auth/jwtauth"
	"github.com/pollbridge/pollbridge/internal/auth/oidctest"
)

// logged is a log that can be read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns what was logged, once nobody has more to say.
func (l *logged) String() string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// direct brings requests to a handler without a network, so that time can be
// virtual.
type direct struct{ handler http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Result(), nil
}

// inBubble runs a test with an issuer in virtual time.
func inBubble(t *testing.T, test func(t *testing.T, issuer *oidctest.Issuer, cfg jwtauth.Config, log *logged)) {
	t.Helper()
	issuer := oidctest.New(t)
	synctest.Test(t, func(t *testing.T) {
		var log logged
		test(t, issuer, jwtauth.Config{
			JWKS: issuer.JWKS(), Client: &http.Client{Transport: direct{issuer.Handler()}}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}, &log)
	})
}

func accepted(t *testing.T, a *jwtauth.Authenticator, token string) bool {
	t.Helper()
	_, err := authenticate(t, a, token)
	return err == nil
}

// TestRotation: a token of a key that is not known has the keys read at once,
// but no more than every 10 s, and a key that is no longer published counts until
// they are read the next time.
func TestRotation(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *oidctest.Issuer, cfg jwtauth.Config, _ *logged) {
		a := newAuthenticator(t, cfg)
		synctest.Wait()
		first := issuer.Key()
		old := issuer.Sign(issuer.Claims("ann", time.Hour), first)
		if !accepted(t, a, old) || issuer.Asked() != 1 {
			t.Fatalf("asked %d times", issuer.Asked())
		}
		time.Sleep(11 * time.Second)
		issuer.Rotate("RS256")
		if !accepted(t, a, old) || issuer.Asked() != 1 {
			t.Errorf("the key of before no longer counts, asked %d times", issuer.Asked())
		}
		if !accepted(t, a, issuer.Token("ann", time.Hour)) || issuer.Asked() != 2 {
			t.Errorf("the new key is refused, asked %d times", issuer.Asked())
		}
		if accepted(t, a, old) {
			t.Error("a key that is no longer published counts")
		}
		unknown := first
		for range 100 {
			if accepted(t, a, issuer.Sign(issuer.Claims("eve", time.Hour), unknown)) {
				t.Fatal("an unknown key counts")
			}
		}
		if issuer.Asked() != 2 {
			t.Errorf("unknown keys had the issuer asked %d times in one moment", issuer.Asked())
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if issuer.Asked() != 3 {
			t.Errorf("asked %d times after ten minutes", issuer.Asked())
		}
	})
}

// TestUnreachable: keys that were read count while the issuer cannot be reached,
// which the log and the metrics tell, and it is asked again every 30 s.
func TestUnreachable(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *oidctest.Issuer, cfg jwtauth.Config, log *logged) {
		a := newAuthenticator(t, cfg)
		synctest.Wait()
		token := issuer.Token("ann", 24*time.Hour)
		issuer.Down(true)
		time.Sleep(10*time.Minute + time.Second)
		if !accepted(t, a, token) {
			t.Error("the keys of before do not count")
		}
		if text := log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "503 Service Unavailable") || !strings.Contains(text, "the 1 keys of 2000-01-01T00:00:00Z") {
			t.Errorf("log:\n%s", text)
		}
		time.Sleep(time.Minute)
		metrics := func(reads, failed, last string) string {
			return "# HELP pollbridge_jwks_keys The issuer's keys that can be used.\n# TYPE pollbridge_jwks_keys gauge\npollbridge_jwks_keys 1\n" +
				"# HELP pollbridge_jwks_last_read_timestamp_seconds When the issuer's keys were last read; 0: never.\n# TYPE pollbridge_jwks_last_read_timestamp_seconds gauge\npollbridge_jwks_last_read_timestamp_seconds " + last + "\n" +
				"# HELP pollbridge_jwks_reads_total Times that the issuer's keys were read, by result.\n# TYPE pollbridge_jwks_reads_total counter\n" +
				"pollbridge_jwks_reads_total{result=\"failed\"} " + failed + "\npollbridge_jwks_reads_total{result=\"ok\"} " + reads + "\n"
		}
		if err := testutil.CollectAndCompare(a, strings.NewReader(metrics("1", "3", "9.466848e+08"))); err != nil {
			t.Error(err)
		}
		issuer.Down(false)
		time.Sleep(30 * time.Second)
		if err := testutil.CollectAndCompare(a, strings.NewReader(metrics("2", "3", "9.4668549e+08"))); err != nil {
			t.Error(err)
		}
	})
}

// TestUnreachableAtStart: until the keys could be read once nothing can be
// proved, which is UNAVAILABLE and no refusal.
func TestUnreachableAtStart(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *oidctest.Issuer, cfg jwtauth.Config, log *logged) {
		issuer.Down(true)
		a := newAuthenticator(t, cfg)
		synctest.Wait()
		token := issuer.Token("ann", time.Hour)
		if _, err := authenticate(t, a, token); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
		if !strings.Contains(log.String(), "none: every token is refused") {
			t.Errorf("log:\n%s", log)
		}
		issuer.Down(false)
		time.Sleep(31 * time.Second)
		if !accepted(t, a, token) {
			t.Error("refused after the issuer came back")
		}
	})
}

// TestExpiry: a session's RPCs are ended at exp; a token that comes within the
// skew of the clocks after it counts as long.
func TestExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *oidctest.Issuer, cfg jwtauth.Config, _ *logged) {
		a := newAuthenticator(t, cfg)
		token := issuer.Token("ann", time.Minute)
		exp := time.Now().Add(time.Minute)
		if who, err := authenticate(t, a, token); err != nil || !who.Expires.Equal(exp) {
			t.Errorf("expires %v, %v; want %v", who.Expires, err, exp)
		}
		time.Sleep(time.Minute + 10*time.Second)
		if who, err := authenticate(t, a, token); err != nil || !who.Expires.Equal(exp.Add(30*time.Second)) {
			t.Errorf("within the skew: expires %v, %v", who.Expires, err)
		}
		time.Sleep(20 * time.Second)
		if _, err := authenticate(t, a, token); status.Convert(err).Message() != "the token has expired" {
			t.Errorf("after it: %v", err)
		}
	})
}

// TestFile: a file of keys is read again, and one that is spoilt changes nothing.
func TestFile(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *oidctest.Issuer, cfg jwtauth.Config, log *logged) {
		cfg.JWKS = filepath.Join(t.TempDir(), "jwks.json")
		write := func(text []byte) {
			t.Helper()
			if err := os.WriteFile(cfg.JWKS, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(issuer.Set())
		a := newAuthenticator(t, cfg)
		if !accepted(t, a, issuer.Token("ann", time.Hour)) {
			t.Error("refused")
		}
		write([]byte("{"))
		time.Sleep(10*time.Minute + time.Second)
		if !accepted(t, a, issuer.Token("ann", time.Hour)) || !strings.Contains(log.String(), "not a JSON Web Key Set") {
			t.Errorf("a spoilt file: log\n%s", log)
		}
		issuer.Rotate("ES256")
		write(issuer.Set())
		time.Sleep(10 * time.Second)
		if !accepted(t, a, issuer.Token("ann", time.Hour)) {
			t.Error("a key that was put into the file is refused")
		}
	})
}
