package bridge

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/netcheck"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// A rule is one pattern of Config.AllowMethods or Config.DenyMethods.
type rule struct {
	pattern string // without leading slash and star
	prefix  bool   // the pattern ended in a star
	allow   bool
}

// validPattern reports whether some method could fit the pattern.
func validPattern(pattern string) bool {
	p := strings.TrimPrefix(pattern, "/")
	if prefix, star := strings.CutSuffix(p, "*"); star {
		return wire.ValidMethodPrefix(prefix)
	}
	if strings.Contains(p, "/") {
		_, _, ok := wire.SplitMethod("/" + p)
		return ok
	}
	return wire.ValidService(p)
}

func newRule(pattern string, allow bool) rule {
	p, prefix := strings.CutSuffix(strings.TrimPrefix(pattern, "/"), "*")
	if !prefix && !strings.Contains(p, "/") {
		return rule{pattern: p + "/", prefix: true, allow: allow}
	}
	return rule{pattern: p, prefix: prefix, allow: allow}
}

func (r rule) fits(method string) bool {
	if r.prefix {
		return strings.HasPrefix(method, r.pattern)
	}
	return method == r.pattern
}

// methodRules decides which methods may be called: the first rule that matches
// counts.
type methodRules []rule

func newMethodRules(cfg Config) methodRules {
	var deny, allow, builtin methodRules
	for _, p := range cfg.DenyMethods {
		deny = append(deny, newRule(p, false))
	}
	for _, p := range cfg.AllowMethods {
		allow = append(allow, newRule(p, true))
	}
	if cfg.DenyMethods == nil {
		for _, p := range DefaultDenyMethods() {
			builtin = append(builtin, newRule(p, false))
		}
	}
	all := slices.Concat(deny, allow, builtin)
	slices.SortStableFunc(all, func(a, b rule) int {
		return cmp.Compare(len(b.pattern), len(a.pattern))
	})
	return all
}

// allows reports whether a well-formed method ("/pkg.Service/Method") may be
// called.
func (m methodRules) allows(method string) bool {
	method = strings.TrimPrefix(method, "/")
	for _, r := range m {
		if r.fits(method) {
			return r.allow
		}
	}
	return false
}

// backendRoute maps a prefix of service names to a backend.
type backendRoute struct {
	prefix string
	pool   *backend.Pool
}

// newRoutes returns the routes, longest prefix first.
func newRoutes(cfg Config, pools []*backend.Pool) []backendRoute {
	var routes []backendRoute
	for i, b := range cfg.Backends {
		for _, prefix := range b.Services {
			routes = append(routes, backendRoute{prefix, pools[i]})
		}
	}
	slices.SortStableFunc(routes, func(a, b backendRoute) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	return routes
}

// route returns the backend of a method, or the refusal of an RPC that who may
// not make.
func (s *Server) route(method string, who *identity) (*backend.Pool, *wire.End) {
	service, _, ok := wire.SplitMethod(method)
	if !ok {
		end := bridgeEnd(codes.Unimplemented, reasonMethod, "malformed method name %.256q: want /package.Service/Method", method)
		return nil, &end
	}
	if s.check != nil && service == netcheck.Service {
		return s.check.pool, nil // whatever the operator's rules for backends
	}
	if !s.rules.Load().allows(method) {
		end := bridgeEnd(codes.Unimplemented, reasonMethod, "method %.256q is not allowed on this bridge", method)
		return nil, &end
	}
	if !who.allows(method) {
		end := bridgeEnd(codes.PermissionDenied, reasonMethod, "the credential does not allow method %.256q", method)
		return nil, &end
	}
	for _, r := range s.routes {
		if strings.HasPrefix(service, r.prefix) {
			return r.pool, nil
		}
	}
	end := bridgeEnd(codes.Unimplemented, reasonMethod, "no backend for service %.256q", service)
	return nil, &end
}
