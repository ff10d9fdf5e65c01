// Package forwardauth authenticates clients by asking a URL, as Traefik's
// ForwardAuth and Caddy's forward_auth do: what answers 2xx admits. It is a
// bridge.Config's Authenticate.
package forwardauth

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
)

// Config says whom to ask, and how. The zero value of each field stands for the
// default that its comment gives; only URL is required.
type Config struct {
	// URL is asked by GET.
	URL string
	// RequestHeaders are those of the client's request that go along. Default:
	// Authorization and Cookie. A session's token goes as a Bearer in
	// Authorization, in place of the request's.
	RequestHeaders []string
	// ResponseHeaders are those of the answer that RPCs take along to the
	// backend as metadata.
	ResponseHeaders []string
	// PrincipalHeader of the answer names the principal; where it is missing
	// the client's address does. Default: Remote-User.
	PrincipalHeader string
	// ValidFor is how long an answer counts. From then on new RPCs wait until
	// the client sent a token again. Default: as long as the session lives.
	ValidFor time.Duration
	// Timeout bounds the wait for an answer. Default: 5 s.
	Timeout time.Duration
	// Logger gets what cannot be asked. Default: discard.
	Logger *slog.Logger
}

const defaultTimeout = 5 * time.Second

// WithDefaults returns the Config with its defaults put in.
func (c Config) WithDefaults() Config {
	if len(c.RequestHeaders) == 0 {
		c.RequestHeaders = []string{"Authorization", "Cookie"}
	}
	if c.PrincipalHeader == "" {
		c.PrincipalHeader = "Remote-User"
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Authenticator asks a URL whom to admit.
type Authenticator struct {
	cfg    Config
	client *http.Client
}

// New returns an Authenticator. The error says what of the Config cannot be
// used; nothing is asked yet.
func New(cfg Config) (*Authenticator, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("forward-auth: %q is not a URL, as http://auth.example/verify", cfg.URL)
	}
	cfg = cfg.WithDefaults()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // it is a near thing, as a backend is
	return &Authenticator{cfg, &http.Client{
		Transport: transport,
		Timeout:   cfg.Timeout,
		// A redirect to a login page admits nobody.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close closes connections that are idle.
func (a *Authenticator) Close() { a.client.CloseIdleConnections() }

// Authenticate is a bridge.Config's. The error is a gRPC status: UNAVAILABLE
// where nobody could be asked, else UNAUTHENTICATED.
func (a *Authenticator) Authenticate(ctx context.Context, info bridge.AuthInfo) (bridge.Principal, error) {
	req, err := a.question(ctx, info)
	if err != nil {
		return bridge.Principal{}, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return bridge.Principal{}, a.unavailable(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	switch {
	case resp.StatusCode >= http.StatusInternalServerError:
		return bridge.Principal{}, a.unavailable(fmt.Errorf("answered %s", resp.Status))
	case resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusMultipleChoices:
		return bridge.Principal{}, status.Errorf(codes.Unauthenticated, "not admitted (%d)", resp.StatusCode)
	}
	return a.principal(info, resp.Header), nil
}

func (a *Authenticator) unavailable(err error) error {
	a.cfg.Logger.Error("forward-auth not asked", "err", err)
	return status.Error(codes.Unavailable, "credentials cannot be checked now")
}

// question is the request: the client's headers that were asked for, and in
// X-Forwarded- ones what it wanted, as Traefik and Caddy say it.
func (a *Authenticator) question(ctx context.Context, info bridge.AuthInfo) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.cfg.URL, http.NoBody)
	if err != nil {
		return nil, err
	}
	from := info.Request
	for _, name := range a.cfg.RequestHeaders {
		req.Header[textproto.CanonicalMIMEHeaderKey(name)] = slices.Clone(from.Header.Values(name))
	}
	if info.Token != "" {
		req.Header.Set("Authorization", "Bearer "+info.Token)
	}
	scheme := "http"
	if from.TLS != nil {
		scheme = "https"
	}
	for name, value := range map[string]string{
		"X-Forwarded-Method": from.Method, "X-Forwarded-Proto": scheme, "X-Forwarded-Host": from.Host,
		"X-Forwarded-Uri": from.URL.RequestURI(), "X-Forwarded-For": info.RemoteAddr,
	} {
		req.Header.Set(name, value)
	}
	return req, nil
}

// principal reads the answer. Each key of metadata is there, so that what the
// page set under it counts for nothing.
func (a *Authenticator) principal(info bridge.AuthInfo, answer http.Header) bridge.Principal {
	who := bridge.Principal{Name: answer.Get(a.cfg.PrincipalHeader)}
	if who.Name == "" {
		who.Name = info.RemoteAddr
	}
	if a.cfg.ValidFor > 0 {
		who.Expires = time.Now().Add(a.cfg.ValidFor)
	}
	for _, name := range a.cfg.ResponseHeaders {
		if who.Metadata == nil {
			who.Metadata = metadata.MD{}
		}
		who.Metadata[strings.ToLower(name)] = slices.Clone(answer.Values(name))
	}
	return who
}
