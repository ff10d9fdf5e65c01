package jwtauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/auth/jwtauth"
	"github.com/pollbridge/pollbridge/internal/auth/oidctest"
)

// TestDiscovery: the keys are where the issuer's configuration says.
func TestDiscovery(t *testing.T) {
	inBubble(t, func(t *testing.T, issuer *oidctest.Issuer, cfg jwtauth.Config, log *logged) {
		cfg.JWKS, cfg.Issuer = issuer.URL+"/.well-known/openid-configuration", issuer.URL
		a := newAuthenticator(t, cfg)
		if !accepted(t, a, issuer.Token("ann", time.Hour)) {
			t.Errorf("a good token is refused; log:\n%s", log)
		}
		time.Sleep(11 * time.Second)
		issuer.Rotate("ES256")
		if !accepted(t, a, issuer.Token("ann", time.Hour)) {
			t.Errorf("the new key is refused; log:\n%s", log)
		}
	})
}

// TestDiscovery_wrong: a configuration that is of no use is named, and no token counts.
func TestDiscovery_wrong(t *testing.T) {
	const issuer = "https://id.example"
	for name, c := range map[string]struct{ configuration, want string }{
		"no JSON":        {"<html>", "not the configuration of an issuer"},
		"another issuer": {`{"issuer": "https://eve.example", "jwks_uri": "https://id.example/keys"}`, `it is of issuer "https://eve.example", not of "https://id.example"`},
		"no keys":        {`{"issuer": "https://id.example"}`, `its jwks_uri "" is not a URL`},
		"keys in the clear": {
			`{"issuer": "https://id.example", "jwks_uri": "http://id.example/keys"}`,
			`its jwks_uri "http://id.example/keys" is not a URL as safe as its own`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, known *oidctest.Issuer, cfg jwtauth.Config, log *logged) {
				cfg.JWKS, cfg.Issuer = issuer+"/.well-known/openid-configuration", issuer
				cfg.Client.Transport = direct{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(r.URL.Path, "/keys") {
						t.Error("the keys were asked for")
					}
					fmt.Fprint(w, c.configuration)
				})}
				a := newAuthenticator(t, cfg)
				synctest.Wait()
				if text := log.String(); !strings.Contains(strings.ReplaceAll(text, `\"`, `"`), c.want) {
					t.Errorf("log: %s\nwant: %s", text, c.want)
				}
				if accepted(t, a, known.Token("ann", time.Hour)) {
					t.Error("a token counts")
				}
			})
		})
	}
}
