package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/auth/forwardauth"
	"github.com/pollbridge/pollbridge/internal/auth/jwtauth"
)

func authentication() []*Option {
	return slices.Concat(jwtOptions(jwtauth.Config{}.WithDefaults()), forwardOptions(forwardauth.Config{}.WithDefaults()))
}

func jwtOptions(d jwtauth.Config) []*Option {
	const group = "Authentication by token"
	return []*Option{
		{
			Group: group, Name: "jwt-jwks", Value: "URL|FILE",
			Help: "admit only clients with a token (JWT) of an issuer whose keys are there, as a JSON Web Key Set",
			set:  one(func(s *Settings) *string { return &s.JWT.JWKS }, jwks),
		}, {
			Group: group, Name: "jwt-issuer", Value: "ISSUER", needs: "jwt-jwks",
			Help: "what a token's iss must be; without it anything",
			set:  one(func(s *Settings) *string { return &s.JWT.Issuer }, plain),
		}, {
			Group: group, Name: "jwt-audience", Value: "AUDIENCE", Many: true, needs: "jwt-jwks",
			Help: "what a token may be for: one of its aud must be one of these; without it anything",
			set:  many(func(s *Settings) *[]string { return &s.JWT.Audiences }, plain),
		}, {
			Group: group, Name: "jwt-algorithm", Value: "NAME", Many: true, Words: jwtauth.Algorithms(), needs: "jwt-jwks",
			Help: "algorithms by which a token may be signed; without it " + strings.Join(jwtauth.Algorithms(), ", "),
			set:  many(func(s *Settings) *[]string { return &s.JWT.Algorithms }, oneOf(jwtauth.Algorithms()...)),
		}, {
			Group: group, Name: "jwt-clock-skew", Value: "DURATION", Default: durationText(d.ClockSkew), needs: "jwt-jwks",
			Help: "how far the issuer's clock may be from the bridge's",
			set:  one(func(s *Settings) *time.Duration { return &s.JWT.ClockSkew }, duration),
		}, {
			Group: group, Name: "jwt-cache-duration", Value: "DURATION", Default: durationText(d.CacheDuration), needs: "jwt-jwks",
			Help: "how long the keys count before they are read again; they also are, every 10s at most, for a token of an unknown one",
			set:  one(func(s *Settings) *time.Duration { return &s.JWT.CacheDuration }, duration),
		}, {
			Group: group, Name: "jwt-principal-claim", Value: "CLAIM", Default: d.PrincipalClaim, needs: "jwt-jwks",
			Help: "claim that says who a client is",
			set:  one(func(s *Settings) *string { return &s.JWT.PrincipalClaim }, plain),
		}, {
			Group: group, Name: "jwt-claim-to-metadata", Value: "CLAIM=KEY", Many: true, needs: "jwt-jwks",
			Help: "claim that RPCs take along to the backend as metadata; what a page sets under that key is dropped; dots lead into a claim: realm_access.roles=x-roles",
			set:  many(func(s *Settings) *[]jwtauth.ClaimToMetadata { return &s.JWT.ClaimToMetadata }, claimToMetadata),
		}, {
			Group: group, Name: "jwt-allow-method", Value: "CLAIM=VALUE:PATTERN", Many: true, needs: "jwt-jwks",
			Help: "methods, as of --allow-method, that a token with this claim may call; with one of these, those without are refused; VALUE is the claim, one of its list or of its words, or *",
			set:  many(func(s *Settings) *[]jwtauth.AllowMethods { return &s.JWT.AllowMethods }, allowMethod),
		},
	}
}

func forwardOptions(d forwardauth.Config) []*Option {
	const group = "Authentication by asking a URL"
	return []*Option{
		{
			Group: group, Name: "forward-auth", Value: "URL",
			Help: "admit only clients that this URL answers 2xx for",
			set:  one(func(s *Settings) *string { return &s.ForwardAuth.URL }, webURL),
		}, {
			Group: group, Name: "forward-auth-request-header", Value: "NAME", Default: strings.Join(d.RequestHeaders, ","), Many: true, needs: "forward-auth",
			Help: "header of the client's request that goes along; its token, if it has one, goes as a Bearer in Authorization",
			set:  many(func(s *Settings) *[]string { return &s.ForwardAuth.RequestHeaders }, headerName),
		}, {
			Group: group, Name: "forward-auth-response-header", Value: "NAME", Many: true, needs: "forward-auth",
			Help: "header of the answer that RPCs take along to the backend as metadata; what a page sets under that key is dropped",
			set:  many(func(s *Settings) *[]string { return &s.ForwardAuth.ResponseHeaders }, headerName),
		}, {
			Group: group, Name: "forward-auth-principal-header", Value: "NAME", Default: d.PrincipalHeader, needs: "forward-auth",
			Help: "header of the answer that says who a client is",
			set:  one(func(s *Settings) *string { return &s.ForwardAuth.PrincipalHeader }, headerName),
		}, {
			Group: group, Name: "forward-auth-valid-for", Value: "DURATION", needs: "forward-auth",
			Help: "how long an answer counts; then the client has to send a token again; without it as long as its session lives",
			set:  one(func(s *Settings) *time.Duration { return &s.ForwardAuth.ValidFor }, duration),
		}, {
			Group: group, Name: "forward-auth-timeout", Value: "DURATION", Default: durationText(d.Timeout), needs: "forward-auth",
			Help: "how long the bridge waits for an answer",
			set:  one(func(s *Settings) *time.Duration { return &s.ForwardAuth.Timeout }, duration),
		},
	}
}

// webURL takes an http or https URL.
func webURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", wrong(redact(text), "a URL such as https://auth.example.com/verify")
	}
	return text, nil
}

// jwks takes the URL or the file of a key set.
func jwks(text string) (string, error) {
	if strings.Contains(text, "://") {
		return webURL(text)
	}
	return readable(text, "a URL or a file with a JSON Web Key Set")
}

// headerName takes what can be metadata as well.
func headerName(text string) (string, error) {
	if fieldProblem(bridge.Config{ForwardHeaders: []string{text}}, "ForwardHeaders[0]") != "" {
		return "", wrong(text, "the name of a header, such as X-Roles")
	}
	return text, nil
}

func claimToMetadata(text string) (jwtauth.ClaimToMetadata, error) {
	i := strings.LastIndexByte(text, '=')
	if i <= 0 {
		return jwtauth.ClaimToMetadata{}, wrong(text, "CLAIM=KEY, such as email=x-email")
	}
	key := text[i+1:]
	if _, err := headerName(key); err != nil || key != strings.ToLower(key) {
		return jwtauth.ClaimToMetadata{}, fmt.Errorf("%q is wrong: %q cannot be a key of metadata, want one such as x-email", text, key)
	}
	return jwtauth.ClaimToMetadata{Claim: text[:i], Key: key}, nil
}

func allowMethod(text string) (jwtauth.AllowMethods, error) {
	claim, rest, ok := strings.Cut(text, "=")
	i := strings.LastIndexByte(rest, ':')
	if !ok || claim == "" || i <= 0 {
		return jwtauth.AllowMethods{}, wrong(text, "CLAIM=VALUE:PATTERN, such as scope=chat.read:chat.Chat/Get*")
	}
	pattern := rest[i+1:]
	if problem := fieldProblem(bridge.Config{AllowMethods: []string{pattern}}, "AllowMethods[0]"); problem != "" {
		return jwtauth.AllowMethods{}, fmt.Errorf("%q is wrong: %s", text, problem)
	}
	return jwtauth.AllowMethods{Claim: claim, Value: rest[:i], Patterns: []string{pattern}}, nil
}

// fieldProblem is what the bridge finds wrong with one field of a Config, "" for
// nothing.
func fieldProblem(cfg bridge.Config, field string) string {
	joined, ok := cfg.Validate().(interface{ Unwrap() []error })
	if !ok {
		return ""
	}
	for _, err := range joined.Unwrap() {
		if problem, ok := errors.AsType[*bridge.ConfigError](err); ok && problem.Field == field {
			return problem.Problem
		}
	}
	return ""
}

// redact hides a password in a URL.
func redact(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return text
}
