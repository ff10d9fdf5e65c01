package jwtauth

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
)

// maxToken is far above what issuers make, and what HTTP servers take in a
// header.
const maxToken = 16 << 10

// Authenticator admits whoever has a good token.
type Authenticator struct {
	cfg    Config
	keys   *keys
	parser *jwt.Parser
}

// New returns an Authenticator, which is to be closed. The error says what of
// the Config, or the file of keys, cannot be used. An issuer that does not
// answer is none: until it does, nobody is admitted.
func New(cfg Config) (*Authenticator, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.WithDefaults()
	keys, err := newKeys(cfg)
	if err != nil {
		return nil, err
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(cfg.Algorithms),
		jwt.WithLeeway(cfg.ClockSkew),
		jwt.WithExpirationRequired(),
		jwt.WithJSONNumber(),
	}
	if cfg.Issuer != "" {
		options = append(options, jwt.WithIssuer(cfg.Issuer))
	}
	if len(cfg.Audiences) > 0 {
		options = append(options, jwt.WithAudience(cfg.Audiences...))
	}
	return &Authenticator{cfg: cfg, keys: keys, parser: jwt.NewParser(options...)}, nil
}

// Close ends the reading of keys.
func (a *Authenticator) Close() { a.keys.close() }

// Authenticate is a bridge.Config's. The token is the session's, or else that of
// the request's Authorization. The error is a gRPC status, and tells a client no
// more than it may know: UNAVAILABLE where no keys could be read yet, else
// UNAUTHENTICATED.
func (a *Authenticator) Authenticate(ctx context.Context, info bridge.AuthInfo) (bridge.Principal, error) {
	text := info.Token
	if text == "" {
		text = bearer(info.Request.Header.Get("Authorization"))
	}
	switch {
	case text == "":
		return bridge.Principal{}, refuse("a token is needed", nil)
	case len(text) > maxToken:
		return bridge.Principal{}, refuse("the token is too long", nil)
	}
	claims := jwt.MapClaims{}
	if _, err := a.parser.ParseWithClaims(text, claims, a.keys.find(ctx)); err != nil {
		if errors.Is(err, errNoKeys) {
			return bridge.Principal{}, status.Error(codes.Unavailable, "tokens cannot be checked now")
		}
		return bridge.Principal{}, refuse(reason(err), err)
	}
	return a.principal(claims)
}

func (a *Authenticator) principal(claims jwt.MapClaims) (bridge.Principal, error) {
	name, ok := claim(claims, a.cfg.PrincipalClaim).(string)
	if !ok || name == "" {
		return bridge.Principal{}, refuse("the token does not say whose it is", errors.New("no "+a.cfg.PrincipalClaim))
	}
	exp, err := claims.GetExpirationTime()
	if err != nil || exp == nil {
		return bridge.Principal{}, refuse("the token is not valid", err)
	}
	return bridge.Principal{
		Name:         name,
		Expires:      a.expiry(exp.Time),
		Metadata:     a.metadataOf(claims),
		AllowMethods: a.methodsOf(claims),
	}, nil
}

// expiry is when a token that expires at exp ends new RPCs: at exp, when the
// client is asked for another. If by then it still had none that is newer by
// this clock, the old one is good for the skew of the clocks more.
func (a *Authenticator) expiry(exp time.Time) time.Time {
	if time.Now().Before(exp) {
		return exp
	}
	return exp.Add(a.cfg.ClockSkew)
}

// refusal is an UNAUTHENTICATED whose cause is for the log alone.
type refusal struct {
	text  string
	cause error
}

func refuse(text string, cause error) error { return &refusal{text, cause} }

func (r *refusal) Error() string {
	if r.cause == nil {
		return r.text
	}
	return r.text + ": " + r.cause.Error()
}

func (r *refusal) Unwrap() error { return r.cause }

// GRPCStatus is what the client is told.
func (r *refusal) GRPCStatus() *status.Status { return status.New(codes.Unauthenticated, r.text) }

// reason is what a client may know of why its token is not good.
func reason(err error) string {
	for _, r := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenMalformed, "the token is malformed"},
		{jwt.ErrTokenSignatureInvalid, "the token's signature or algorithm is not accepted"},
		{jwt.ErrTokenUnverifiable, "the token's key is not known"},
		{jwt.ErrTokenExpired, "the token has expired"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
		{jwt.ErrTokenInvalidAudience, "the token is for another audience"},
		{jwt.ErrTokenInvalidIssuer, "the token is another issuer's"},
	} {
		if errors.Is(err, r.err) {
			return r.text
		}
	}
	return "the token is not valid"
}

// bearer is the token of an Authorization header (RFC 6750), "" if it has none.
func bearer(header string) string {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// redacted hides a password in a URL.
func redacted(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return text
}
