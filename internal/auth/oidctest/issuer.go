// Package oidctest is an OpenID provider for tests: it publishes its keys, gives
// tokens, rotates keys, and can be out of reach.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// Audience is that of the tokens that Claims makes.
const Audience = "https://bridge.example"

// Key is one of the issuer's.
type Key struct {
	ID      string
	Private crypto.Signer
	Method  jwt.SigningMethod
}

// Issuer is a provider on a loopback address.
type Issuer struct {
	URL string // the issuer's name, and where it is

	t  *testing.T
	mu sync.Mutex
	// Guarded by mu.
	keys  []Key
	made  int
	down  bool
	asked int // times for the keys
}

// New starts a provider with one RSA key. It ends with the test.
func New(t *testing.T) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	server := httptest.NewServer(i.Handler())
	t.Cleanup(server.Close)
	i.URL = server.URL
	i.Rotate("RS256")
	return i
}

// Handler serves the provider's endpoints.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.configuration)
	mux.HandleFunc("GET /jwks.json", i.serveKeys)
	mux.HandleFunc("POST /token", i.token)
	return mux
}

// JWKS is where the keys are.
func (i *Issuer) JWKS() string { return i.URL + "/jwks.json" }

// Rotate makes a new key and publishes it alone.
func (i *Issuer) Rotate(alg string) Key { return i.publish(alg, false) }

// Add makes a new key and publishes it beside the others.
func (i *Issuer) Add(alg string) Key { return i.publish(alg, true) }

func (i *Issuer) publish(alg string, beside bool) Key {
	i.t.Helper()
	private, err := private(alg)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.made++
	key := Key{ID: fmt.Sprintf("key-%d", i.made), Private: private, Method: jwt.GetSigningMethod(alg)}
	if !beside {
		i.keys = nil
	}
	i.keys = append(i.keys, key)
	return key
}

func private(alg string) (crypto.Signer, error) {
	switch alg {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}

// Down lets the provider answer 503, or no longer.
func (i *Issuer) Down(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Asked is how often somebody asked for the keys.
func (i *Issuer) Asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

// Key is the latest.
func (i *Issuer) Key() Key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1]
}

// Claims are those of a good token of subject for the time that is given.
func (i *Issuer) Claims(subject string, life time.Duration) jwt.MapClaims {
	now := time.Now()
	return jwt.MapClaims{"iss": i.URL, "aud": Audience, "sub": subject, "iat": now.Unix(), "exp": float64(now.Add(life).UnixMilli()) / 1000}
}

// Token is a good one.
func (i *Issuer) Token(subject string, life time.Duration) string {
	i.t.Helper()
	return i.Sign(i.Claims(subject, life), i.Key())
}

// Sign makes a token of claims with a key, whether it is published or not.
func (i *Issuer) Sign(claims jwt.MapClaims, key Key) string {
	i.t.Helper()
	token := jwt.NewWithClaims(key.Method, claims)
	if key.ID != "" {
		token.Header["kid"] = key.ID
	}
	text, err := token.SignedString(key.Private)
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

// Set is the published key set.
func (i *Issuer) Set() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	set := jwkset.JWKSMarshal{}
	for _, key := range i.keys {
		jwk, err := jwkset.NewJWKFromKey(key.Private.Public(), jwkset.JWKOptions{
			Metadata: jwkset.JWKMetadataOptions{KID: key.ID, ALG: jwkset.ALG(key.Method.Alg()), USE: jwkset.UseSig},
		})
		if err != nil {
			i.t.Error(err)
			continue
		}
		set.Keys = append(set.Keys, jwk.Marshal())
	}
	text, err := json.Marshal(set)
	if err != nil {
		i.t.Error(err)
	}
	return text
}

func (i *Issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	i.asked++
	down := i.down
	i.mu.Unlock()
	if down {
		http.Error(w, "out of order", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(i.Set())
}

func (i *Issuer) configuration(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"issuer": i.URL, "jwks_uri": i.JWKS(), "token_endpoint": i.URL + "/token",
		"response_types_supported": []string{"token"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
	})
}

// token is the endpoint of the client credentials grant (RFC 6749 §4.4).
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	client, _, ok := r.BasicAuth()
	if !ok || r.FormValue("grant_type") != "client_credentials" {
		http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
		return
	}
	if client, err := url.QueryUnescape(client); err == nil {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": i.Token(client, time.Hour), "token_type": "Bearer", "expires_in": 3600})
	}
}
