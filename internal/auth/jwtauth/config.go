package jwtauth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config says which tokens are good. The zero value of each field stands for
// the default that its comment gives; only JWKS is required.
type Config struct {
	// JWKS is where the issuer's keys are: an http or https URL, or a file. A URL
	// that ends in /.well-known/openid-configuration names the issuer's
	// configuration, which says where they are (OpenID Connect Discovery); it must
	// be of Issuer, if that is given.
	JWKS string
	// Issuer is what a token's iss must be. Default: anything.
	Issuer string
	// Audiences are what a token may be for: its aud must name one of them.
	// Default: anything.
	Audiences []string
	// Algorithms are those by which a token may be signed. Default:
	// Algorithms(), every one that has a public key.
	Algorithms []string
	// ClockSkew is how far the issuer's clock may be from this one's when a
	// token is looked at. Default: 30 s. Negative: none.
	ClockSkew time.Duration
	// CacheDuration is how long the keys count before they are read again.
	// Default: 10 min.
	CacheDuration time.Duration

	// Claim to the name of the principal. Default: "sub".
	PrincipalClaim string
	// ClaimToMetadata are the claims that RPCs take along to the backend.
	ClaimToMetadata []ClaimToMetadata
	// AllowMethods say which claims allow which methods. Default: every token
	// allows what the bridge does.
	AllowMethods []AllowMethods

	// Client asks for the keys. Default: one that gives up after 10 s.
	Client *http.Client
	// Logger gets what happens to the keys. Default: discard.
	Logger *slog.Logger
}

// ClaimToMetadata takes a claim along as metadata of each RPC.
type ClaimToMetadata struct {
	Claim string // as of AllowMethods
	Key   string // of the metadata
}

// AllowMethods lets tokens with a claim call methods.
type AllowMethods struct {
	// Claim is a name, or several with dots between where one lies in another:
	// "realm_access.roles".
	Claim string
	// Value is what the claim, one of its elements where it is a list, or one of
	// its words where it is a text with spaces, as scope, must be. "*" is any.
	Value string
	// Patterns are methods, as in bridge.Config.AllowMethods.
	Patterns []string
}

const (
	defaultClockSkew     = 30 * time.Second
	defaultCacheDuration = 10 * time.Minute
	fetchTimeout         = 10 * time.Second
)

// Algorithms are those by which a token may be signed: of a key that signs and
// another that proves. With the others of RFC 7518, HMAC and "none", whoever
// knows the published keys could make tokens.
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// WithDefaults returns the Config with its defaults put in.
func (c Config) WithDefaults() Config {
	if len(c.Algorithms) == 0 {
		c.Algorithms = Algorithms()
	}
	if c.ClockSkew == 0 {
		c.ClockSkew = defaultClockSkew
	}
	c.ClockSkew = max(c.ClockSkew, 0)
	if c.CacheDuration == 0 {
		c.CacheDuration = defaultCacheDuration
	}
	if c.PrincipalClaim == "" {
		c.PrincipalClaim = "sub"
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: fetchTimeout}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func (c Config) check() error {
	if c.JWKS == "" {
		return errors.New("jwt: no JWKS given")
	}
	if isURL(c.JWKS) {
		if u, err := url.Parse(c.JWKS); err != nil || u.Host == "" {
			return fmt.Errorf("jwt: JWKS %q is not a URL", c.JWKS)
		}
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(Algorithms(), a) {
			return fmt.Errorf("jwt: algorithm %q is none of %s", a, strings.Join(Algorithms(), ", "))
		}
	}
	return nil
}

// isURL reports whether JWKS names a URL, not a file.
func isURL(jwks string) bool {
	return strings.HasPrefix(jwks, "http://") || strings.HasPrefix(jwks, "https://")
}
