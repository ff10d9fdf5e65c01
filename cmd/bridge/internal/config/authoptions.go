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
			Help: "admit only clients with a token (JWT) signed with a key of this JSON Web Key Set, or of the one that an issuer's /.well-known/openid-configuration names",
			set:  one(func(s *Settings) *string { return &s.JWT.JWKS }, jwks),
		}, {
			Group: group, Name: "jwt-issuer", Value: "ISSUER", needs: "jwt-jwks",
			Help: "required iss of a token; without it any",
			set:  one(func(s *Settings) *string { return &s.JWT.Issuer }, plain),
		}, {
			Group: group, Name: "jwt-audience", Value: "AUDIENCE", Many: true, needs: "jwt-jwks",
			Help: "accepted aud of a token; without it any",
			set:  many(func(s *Settings) *[]string { return &s.JWT.Audiences }, plain),
		}, {
			Group: group, Name: "jwt-algorithm", Value: "NAME", Many: true, Words: jwtauth.Algorithms(), needs: "jwt-jwks",
			Help: "accepted signature algorithms; without it " + strings.Join(jwtauth.Algorithms(), ", "),
			set:  many(func(s *Settings) *[]string { return &s.JWT.Algorithms }, oneOf(jwtauth.Algorithms()...)),
		}, {
			Group: group, Name: "jwt-clock-skew", Value: "DURATION", Default: durationText(d.ClockSkew), needs: "jwt-jwks",
			Help: "accepted difference of the issuer's clock and the bridge's",
			set:  one(func(s *Settings) *time.Duration { return &s.JWT.ClockSkew }, duration),
		}, {
			Group: group, Name: "jwt-cache-duration", Value: "DURATION", Default: durationText(d.CacheDuration), needs: "jwt-jwks",
			Help: "how often the keys are reread; also, every 10s at most, for a token with an unknown key",
			set:  one(func(s *Settings) *time.Duration { return &s.JWT.CacheDuration }, duration),
		}, {
			Group: group, Name: "jwt-principal-claim", Value: "CLAIM", Default: d.PrincipalClaim, needs: "jwt-jwks",
			Help: "claim that identifies a client",
			set:  one(func(s *Settings) *string { return &s.JWT.PrincipalClaim }, plain),
		}, {
			Group: group, Name: "jwt-claim-to-metadata", Value: "CLAIM=KEY", Many: true, needs: "jwt-jwks",
			Help: "claim that RPCs carry to the backend as metadata, replacing the page's own of that key; dots name a claim within a claim: realm_access.roles=x-roles",
			set:  many(func(s *Settings) *[]jwtauth.ClaimToMetadata { return &s.JWT.ClaimToMetadata }, claimToMetadata),
		}, {
			Group: group, Name: "jwt-allow-method", Value: "CLAIM=VALUE:PATTERN", Many: true, needs: "jwt-jwks",
			Help: "methods, as in --allow-method, that a token with this claim may call; with any of these, all others are refused; VALUE is the claim, an element of its list, one of its words, or *",
			set:  many(func(s *Settings) *[]jwtauth.AllowMethods { return &s.JWT.AllowMethods }, allowMethod),
		},
	}
}

func forwardOptions(d forwardauth.Config) []*Option {
	const group = "Authentication by asking a URL"
	return []*Option{
		{
			Group: group, Name: "forward-auth", Value: "URL",
			Help: "admit only clients for which this URL responds with 2xx",
			set:  one(func(s *Settings) *string { return &s.ForwardAuth.URL }, webURL),
		}, {
			Group: group, Name: "forward-auth-request-header", Value: "NAME", Default: strings.Join(d.RequestHeaders, ","), Many: true, needs: "forward-auth",
			Help: "header of the client's request that is sent to the URL; the client's token, if any, is sent as a Bearer in Authorization",
			set:  many(func(s *Settings) *[]string { return &s.ForwardAuth.RequestHeaders }, headerName),
		}, {
			Group: group, Name: "forward-auth-response-header", Value: "NAME", Many: true, needs: "forward-auth",
			Help: "header of the URL's response that RPCs carry to the backend as metadata, replacing the page's own of that key",
			set:  many(func(s *Settings) *[]string { return &s.ForwardAuth.ResponseHeaders }, headerName),
		}, {
			Group: group, Name: "forward-auth-principal-header", Value: "NAME", Default: d.PrincipalHeader, needs: "forward-auth",
			Help: "header of the URL's response that identifies a client",
			set:  one(func(s *Settings) *string { return &s.ForwardAuth.PrincipalHeader }, headerName),
		}, {
			Group: group, Name: "forward-auth-valid-for", Value: "DURATION", needs: "forward-auth",
			Help: "how long a response is valid; then the client must send a token again; without it for the session's life",
			set:  one(func(s *Settings) *time.Duration { return &s.ForwardAuth.ValidFor }, duration),
		}, {
			Group: group, Name: "forward-auth-timeout", Value: "DURATION", Default: durationText(d.Timeout), needs: "forward-auth",
			Help: "how long the bridge waits for the URL's response",
			set:  one(func(s *Settings) *time.Duration { return &s.ForwardAuth.Timeout }, duration),
		},
	}
}

// webURL parses an http or https URL.
func webURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", wrong(redact(text), "a URL such as https://auth.example.com/verify")
	}
	return text, nil
}

// jwks parses the URL or the file of a key set.
func jwks(text string) (string, error) {
	if strings.Contains(text, "://") {
		return webURL(text)
	}
	return readable(text, "a URL or a file with a JSON Web Key Set")
}

// headerName parses the name of a header that can also be a metadata key.
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

// fieldProblem returns the bridge's error about one field of a Config, "" for none.
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

// redact returns a URL, or several separated by commas, without passwords.
func redact(text string) string {
	all := strings.Split(text, ",")
	for i, one := range all {
		if u, err := url.Parse(one); err == nil && u.User != nil {
			all[i] = u.Redacted()
		}
	}
	return strings.Join(all, ",")
}
