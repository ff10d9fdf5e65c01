package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/transport"
)

// identity is what a session keeps of the request that began it or brought its
// latest token.
type identity struct {
	principal Principal
	metadata  metadata.MD // Config.ForwardHeaders and Principal.Metadata
	methods   methodRules // Principal.AllowMethods; nil: no rule
}

// newIdentity returns the identity of who. The error is about what
// Config.Authenticate returned.
func newIdentity(who Principal, headers metadata.MD) (*identity, error) {
	for key := range who.Metadata {
		if !forwardable(key) || key != strings.ToLower(key) {
			return nil, fmt.Errorf("bridge: Principal.Metadata: %q cannot be the key of metadata", key)
		}
	}
	id := &identity{principal: who, metadata: headers}
	maps.Copy(id.metadata, who.Metadata)
	if who.AllowMethods != nil {
		id.methods = methodRules{}
	}
	for _, p := range who.AllowMethods {
		if !validPattern(p) {
			return nil, fmt.Errorf("bridge: Principal.AllowMethods: %q is not pkg.Service/Method, pkg.Service, or the beginning of one with a star, as pkg.*", p)
		}
		id.methods = append(id.methods, newRule(p, true))
	}
	return id, nil
}

// forward replaces metadata set by the client with the identity's, even by no
// values: a client must not forge what backends rely on.
func (i *identity) forward(md metadata.MD) {
	maps.Copy(md, i.metadata)
}

// allows reports whether the principal may call a method that the bridge has.
func (i *identity) allows(method string) bool {
	return i == nil || i.methods == nil || i.methods.allows(method)
}

type principalKey struct{}

// PrincipalFrom returns the principal of an RPC, for client interceptors in a
// backend's DialOptions. ok is false in any other context, and if neither
// Config.Authenticate nor Config.ForwardHeaders is set.
func PrincipalFrom(ctx context.Context) (p Principal, ok bool) {
	p, ok = ctx.Value(principalKey{}).(Principal)
	return p, ok
}

var errUnauthenticated = errors.New("authentication failed")

// authenticate is registry.Config's Authenticate.
func (s *Server) authenticate(ctx context.Context, hello transport.Hello, token string) (registry.Principal, error) {
	id, err := s.clientOf(ctx, hello, token)
	if err != nil {
		return registry.Principal{}, err
	}
	return registry.Principal{Name: id.principal.Name, Value: id, Expires: id.principal.Expires}, nil
}

// clientOf finds out who the client of a link is: here, or at the bridge where the
// link landed.
func (s *Server) clientOf(ctx context.Context, hello transport.Hello, token string) (*identity, error) {
	if id, ok, err := askCluster(ctx, token); ok {
		return id, err
	}
	who := Principal{Name: s.registry.Client(hello.RemoteAddr)}
	if s.cfg.Authenticate != nil {
		var err error
		who, err = s.cfg.Authenticate(ctx, AuthInfo{Request: requestOf(ctx, &hello), Token: token, RemoteAddr: hello.RemoteAddr})
		if err != nil {
			return nil, s.refusal(hello, err)
		}
		s.metrics.authenticated.WithLabelValues(authOK).Inc()
	}
	id, err := newIdentity(who, forwarded(hello.Header, s.cfg.ForwardHeaders))
	if err != nil {
		return nil, s.refusal(hello, err)
	}
	return id, nil
}

// requestOf returns the request that a link came with, which need not have come
// to this process.
func requestOf(ctx context.Context, hello *transport.Hello) *http.Request {
	target, err := url.ParseRequestURI(hello.URI)
	if err != nil {
		target = &url.URL{Path: hello.URI}
	}
	request := &http.Request{
		Method: hello.Method, URL: target, RequestURI: hello.URI, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Host: hello.Host, Header: hello.Header, TLS: hello.TLS, RemoteAddr: hello.RemoteAddr, Body: http.NoBody,
	}
	return request.WithContext(ctx)
}

// refusal logs a failed authentication and returns the error for the client. One
// that could not be decided refuses nobody: it wraps registry.ErrTryLater.
func (s *Server) refusal(hello transport.Hello, err error) error {
	s.unauthenticated.Add("remote", hello.RemoteAddr, "err", err)
	public := errUnauthenticated
	if st, ok := status.FromError(err); ok {
		public = errors.New(st.Message())
	}
	if status.Code(err) == codes.Unavailable {
		s.metrics.authenticated.WithLabelValues(authUnavailable).Inc()
		return tryLater{public}
	}
	s.metrics.authenticated.WithLabelValues(authRefused).Inc()
	return public
}

// tryLater is a registry.ErrTryLater with its own text.
type tryLater struct{ error }

func (tryLater) Is(target error) bool { return target == registry.ErrTryLater }

// forwarded returns the named headers of a request as metadata; an absent one
// has no values. A value that gRPC forbids is left out: it is the browser's, and
// must not fail every RPC.
func forwarded(header http.Header, names []string) metadata.MD {
	md := metadata.MD{}
	for _, name := range names {
		key := forwardedKey(name)
		md[key] = nil
		for _, v := range header.Values(name) {
			if printable(v) {
				md[key] = append(md[key], v)
			}
		}
	}
	return md
}

func printable(v string) bool {
	for _, c := range []byte(v) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}
