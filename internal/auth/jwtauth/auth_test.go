package jwtauth_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/auth/jwtauth"
	"github.com/pollbridge/pollbridge/internal/auth/oidctest"
)

func newAuthenticator(t *testing.T, cfg jwtauth.Config) *jwtauth.Authenticator {
	t.Helper()
	a, err := jwtauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func authenticate(t *testing.T, a *jwtauth.Authenticator, token string) (bridge.Principal, error) {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	return a.Authenticate(t.Context(), bridge.AuthInfo{Request: request, Token: token})
}

func with(claims jwt.MapClaims, key string, value any) jwt.MapClaims {
	if value == nil {
		delete(claims, key)
	} else {
		claims[key] = value
	}
	return claims
}

// TestTokens holds which tokens are good, and what is said of the others.
func TestTokens(t *testing.T) {
	issuer := oidctest.New(t)
	a := newAuthenticator(t, jwtauth.Config{JWKS: issuer.JWKS(), Issuer: issuer.URL, Audiences: []string{"https://other.example", oidctest.Audience}})
	key, now := issuer.Key(), time.Now()
	claims := func() jwt.MapClaims { return issuer.Claims("ann", time.Hour) }
	stranger := oidctest.New(t).Key() // of the same ID, but another key
	nameless := key
	nameless.ID = ""
	for _, test := range []struct {
		name, token, want string
	}{
		{"good", issuer.Token("ann", time.Hour), ""},
		{"several audiences", issuer.Sign(with(claims(), "aud", []string{"x", oidctest.Audience}), key), ""},
		{"no key named", issuer.Sign(claims(), nameless), ""},
		{"none", "", "a token is needed"},
		{"nonsense", "nonsense", "the token is malformed"},
		{"huge", strings.Repeat("a", 1<<20), "the token is too long"},
		{"many dots", strings.Repeat(".", 16<<10), "the token is malformed"},
		{"another's key", issuer.Sign(claims(), stranger), "the token's signature or algorithm is not accepted"},
		{"unknown key", issuer.Sign(claims(), oidctest.Key{ID: "key-9", Private: key.Private, Method: key.Method}), "the token's key is not known"},
		{"alg=none", unsigned(t, claims(), key.ID), "the token's signature or algorithm is not accepted"},
		{"expired", issuer.Sign(with(claims(), "exp", now.Add(-31*time.Second).Unix()), key), "the token has expired"},
		{"no exp", issuer.Sign(with(claims(), "exp", nil), key), "the token is not valid"},
		{"exp is a text", issuer.Sign(with(claims(), "exp", "tomorrow"), key), "the token is not valid"},
		{"not yet", issuer.Sign(with(claims(), "nbf", now.Add(time.Minute).Unix()), key), "the token is not valid yet"},
		{"clocks apart", issuer.Sign(with(claims(), "nbf", now.Add(20*time.Second).Unix()), key), ""},
		{"wrong audience", issuer.Sign(with(claims(), "aud", "https://elsewhere.example"), key), "the token is for another audience"},
		{"no audience", issuer.Sign(with(claims(), "aud", nil), key), "the token is not valid"},
		{"wrong issuer", issuer.Sign(with(claims(), "iss", "https://evil.example"), key), "the token is another issuer's"},
		{"no issuer", issuer.Sign(with(claims(), "iss", nil), key), "the token is not valid"},
		{"nobody", issuer.Sign(with(claims(), "sub", nil), key), "the token does not say whose it is"},
		{"sub is a number", issuer.Sign(with(claims(), "sub", 7), key), "the token does not say whose it is"},
		{"tampered", tampered(issuer.Token("ann", time.Hour)), "the token's signature or algorithm is not accepted"},
	} {
		who, err := authenticate(t, a, test.token)
		if got := status.Convert(err); test.want != "" && (got.Code() != codes.Unauthenticated || got.Message() != test.want) {
			t.Errorf("%s: got %v, want UNAUTHENTICATED: %s", test.name, err, test.want)
		}
		if test.want == "" && (err != nil || who.Name != "ann") {
			t.Errorf("%s: got %q, %v", test.name, who.Name, err)
		}
		if test.want != "" && !reflect.DeepEqual(who, bridge.Principal{}) {
			t.Errorf("%s: refused, but got %+v", test.name, who)
		}
	}
}

func unsigned(t *testing.T, claims jwt.MapClaims, kid string) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodNone, claims)
	token.Header["kid"] = kid
	text, err := token.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// tampered gives a token another subject.
func tampered(token string) string {
	parts := strings.Split(token, ".")
	text, _ := base64.RawURLEncoding.DecodeString(parts[1])
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(text), `"ann"`, `"eve"`, 1)))
	return strings.Join(parts, ".")
}

// TestKeyConfusion signs by HMAC with what is published of an RSA key, in every
// form that it might be taken in, and with an RSA key by another algorithm than
// it is for.
func TestKeyConfusion(t *testing.T) {
	issuer := oidctest.New(t)
	a := newAuthenticator(t, jwtauth.Config{JWKS: issuer.JWKS()})
	key := issuer.Key()
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	for form, secret := range map[string][]byte{
		"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "JWKS": issuer.Set(), "nothing": {},
	} {
		for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
			for _, kid := range []string{key.ID, ""} {
				token := jwt.NewWithClaims(method, issuer.Claims("eve", time.Hour))
				if kid != "" {
					token.Header["kid"] = kid
				}
				text, err := token.SignedString(secret)
				if err != nil {
					t.Fatal(err)
				}
				if who, err := authenticate(t, a, text); status.Code(err) != codes.Unauthenticated {
					t.Errorf("%s with the key's %s: got %q, %v", method.Alg(), form, who.Name, err)
				}
			}
		}
	}
	other := key
	other.Method = jwt.SigningMethodPS256
	if who, err := authenticate(t, a, issuer.Sign(issuer.Claims("eve", time.Hour), other)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("PS256 with a key for RS256: got %q, %v", who.Name, err)
	}
}

// TestSymmetricKey: a key set with a secret in it, which is then none, lets
// nobody sign by it.
func TestSymmetricKey(t *testing.T) {
	issuer := oidctest.New(t)
	name := filepath.Join(t.TempDir(), "jwks.json")
	secret := base64.RawURLEncoding.EncodeToString([]byte("a secret of thirty-two characters"))
	if err := os.WriteFile(name, []byte(`{"keys":[{"kty":"oct","kid":"s","k":"`+secret+`"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newAuthenticator(t, jwtauth.Config{JWKS: name})
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, issuer.Claims("eve", time.Hour))
	token.Header["kid"] = "s"
	text, err := token.SignedString([]byte("a secret of thirty-two characters"))
	if err != nil {
		t.Fatal(err)
	}
	if who, err := authenticate(t, a, text); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %q, %v", who.Name, err)
	}
}

// TestAlgorithms holds which keys can be used, and that the list is a limit.
func TestAlgorithms(t *testing.T) {
	issuer := oidctest.New(t)
	for _, alg := range []string{"RS256", "PS384", "ES256", "EdDSA"} {
		key := issuer.Add(alg)
		text := issuer.Sign(issuer.Claims("ann", time.Hour), key)
		all := newAuthenticator(t, jwtauth.Config{JWKS: issuer.JWKS()})
		if _, err := authenticate(t, all, text); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		one := newAuthenticator(t, jwtauth.Config{JWKS: issuer.JWKS(), Algorithms: []string{"ES256"}})
		if _, err := authenticate(t, one, text); (err == nil) != (alg == "ES256") {
			t.Errorf("%s where only ES256 is allowed: %v", alg, err)
		}
	}
	for _, alg := range []string{"none", "HS256", "rs256", ""} {
		if _, err := jwtauth.New(jwtauth.Config{JWKS: issuer.JWKS(), Algorithms: []string{alg}}); err == nil {
			t.Errorf("algorithm %q was taken", alg)
		}
	}
}

// TestHeader holds where a token may come from.
func TestHeader(t *testing.T) {
	issuer := oidctest.New(t)
	a := newAuthenticator(t, jwtauth.Config{JWKS: issuer.JWKS()})
	good, bad := issuer.Token("ann", time.Hour), issuer.Token("bob", -time.Hour)
	for _, test := range []struct {
		token, header string
		ok            bool
	}{
		{"", "Bearer " + good, true}, {"", "bearer  " + good, true}, {good, "Bearer " + bad, true}, {good, "", true},
		{bad, "Bearer " + good, false}, {"", "Basic " + good, false}, {"", good, false}, {"", "Bearer", false},
	} {
		request := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
		request.Header.Set("Authorization", test.header)
		_, err := a.Authenticate(t.Context(), bridge.AuthInfo{Request: request, Token: test.token})
		if (err == nil) != test.ok {
			t.Errorf("token of %d bytes, header of %d: %v", len(test.token), len(test.header), err)
		}
	}
}

// TestPrincipal holds what becomes of claims.
func TestPrincipal(t *testing.T) {
	issuer := oidctest.New(t)
	claims := issuer.Claims("ann", time.Hour)
	maps.Copy(claims, map[string]any{
		"email": "ann@x.example", "name": "Änn", "id": int64(9007199254740993), "admin": true, "groups": []any{"a", "b", 3}, "scope": "chat.read chat.write",
		"realm_access": map[string]any{"roles": []any{"editor"}}, "https://x.example/plan": "gold", "address": map[string]any{"city": "X"},
	})
	to := func(pairs ...string) (list []jwtauth.ClaimToMetadata) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, jwtauth.ClaimToMetadata{Claim: pairs[i], Key: pairs[i+1]})
		}
		return list
	}
	a := newAuthenticator(t, jwtauth.Config{
		JWKS: issuer.JWKS(), PrincipalClaim: "email",
		ClaimToMetadata: to("sub", "x-sub", "name", "x-name", "name", "x-name-bin", "id", "x-id", "admin", "x-admin", "groups", "x-groups", "realm_access.roles", "x-role",
			"https://x.example/plan", "x-plan", "address", "x-address", "missing", "x-missing", "sub.deeper", "x-deeper"),
		AllowMethods: []jwtauth.AllowMethods{
			{Claim: "scope", Value: "chat.read", Patterns: []string{"chat.Chat/Get*"}},
			{Claim: "scope", Value: "chat", Patterns: []string{"no.*"}},
			{Claim: "realm_access.roles", Value: "editor", Patterns: []string{"edit.*", "view.*"}},
			{Claim: "admin", Value: "true", Patterns: []string{"admin.Admin"}},
			{Claim: "missing", Value: "*", Patterns: []string{"no.*"}},
			{Claim: "sub", Value: "*", Patterns: []string{"all.Ping"}},
		},
	})
	who, err := authenticate(t, a, issuer.Sign(claims, issuer.Key()))
	if err != nil {
		t.Fatal(err)
	}
	want := metadata.MD{
		"x-sub": {"ann"}, "x-name": nil, "x-name-bin": {"Änn"}, "x-id": {"9007199254740993"}, "x-admin": {"true"}, "x-groups": {"a", "b", "3"},
		"x-role": {"editor"}, "x-plan": {"gold"}, "x-address": {`{"city":"X"}`}, "x-missing": nil, "x-deeper": nil,
	}
	if who.Name != "ann@x.example" || !reflect.DeepEqual(who.Metadata, want) {
		t.Errorf("%s with metadata\n\t%q\nwant\n\t%q", who.Name, who.Metadata, want)
	}
	if want := []string{"chat.Chat/Get*", "edit.*", "view.*", "admin.Admin", "all.Ping"}; !reflect.DeepEqual(who.AllowMethods, want) {
		t.Errorf("methods %q, want %q", who.AllowMethods, want)
	}
	if exp, _ := claims.GetExpirationTime(); !who.Expires.Truncate(time.Second).Equal(exp.Truncate(time.Second)) {
		t.Errorf("expires %v, want %v", who.Expires, exp)
	}
	none, err := authenticate(t, a, issuer.Sign(with(issuer.Claims("bob", time.Hour), "email", "bob@x.example"), issuer.Key()))
	if err != nil || !reflect.DeepEqual(none.AllowMethods, []string{"all.Ping"}) {
		t.Errorf("a token without such claims: methods %q, %v", none.AllowMethods, err)
	}
}

// TestUnusable holds what New refuses.
func TestUnusable(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for want, jwks := range map[string]string{
		"no JWKS given":                 "",
		"is not a URL":                  "https://",
		"no such file":                  filepath.Join(dir, "missing"),
		"not a JSON Web Key Set":        write("html", "<html>"),
		"no key in it that can be used": write("empty", `{"keys":[]}`),
		"longer than 1048576 bytes":     write("long", strings.Repeat(" ", 1<<20+1)),
		"key in it that can be used":    write("odd", `{"keys":[{"kty":"XX","kid":"a"}]}`),
	} {
		if _, err := jwtauth.New(jwtauth.Config{JWKS: jwks}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", jwks, err, want)
		}
	}
}
