package access

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
)

// Marker is the response header by which a client tells the bridge's answers
// from the network's. It only helps diagnosis: middleboxes strip headers (W2).
const Marker = "Pollbridge"

// Config configures a Policy. The zero value admits pages of the bridge's own
// origin and programs that are not browsers.
type Config struct {
	// AllowOrigins are the origins, beside the bridge's own, whose pages may
	// use it: "https://app.example.com", with the port where it is not the
	// scheme's. A single "*" allows all of them, without credentials.
	AllowOrigins []string
	// AllowHosts are further names, without a port, that Host may bear over a
	// loopback connection. Default: loopback names and addresses, and the
	// hosts of AllowOrigins.
	AllowHosts []string
	// TrustedProxies are the networks whose X-Forwarded-For and
	// X-Forwarded-Host are believed. Default: none.
	TrustedProxies []netip.Prefix
	// PrivateNetwork lets pages of public sites reach a bridge in a private
	// network, where the browser asks before (Private Network Access).
	PrivateNetwork bool
	// Logger gets the first refusal of each kind: for its Host, for its Origin,
	// for having none. Default: discard.
	Logger *slog.Logger
}

// Policy is a checked Config. It may be used by any goroutine.
type Policy struct {
	origins map[string]bool // allowed, normal form
	hosts   map[string]bool // allowed over loopback, lower case, without port
	any     bool            // "*" is allowed
	proxies []netip.Prefix
	private bool
	logger  *slog.Logger

	// The first refusal of each kind is logged.
	badHost, badOrigin, noOrigin sync.Once
}

// New checks a Config. Its error names every bad origin.
func New(cfg Config) (*Policy, error) {
	p := &Policy{
		origins: make(map[string]bool),
		hosts:   make(map[string]bool),
		proxies: cfg.TrustedProxies,
		private: cfg.PrivateNetwork,
		logger:  cfg.Logger,
	}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	var errs []error
	for _, s := range cfg.AllowOrigins {
		if s == "*" {
			p.any = true
			continue
		}
		u, err := parseOrigin(s)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.origins[u.Scheme+"://"+u.Host] = true
		p.hosts[hostname(u.Host)] = true
	}
	for _, host := range cfg.AllowHosts {
		p.hosts[hostname(host)] = true
	}
	return p, errors.Join(errs...)
}

// Admit sets the headers that every answer carries, and checks Host and
// Origin. If it returns false, it has answered with 403.
//
// safelisted says that a page may send this very request to any host without a
// preflight: a POST of text/plain, for one. Such a request needs a proof that
// a page of an allowed origin made it.
func (p *Policy) Admit(w http.ResponseWriter, r *http.Request, safelisted bool) bool {
	setCommon(w.Header())
	origin := r.Header.Get("Origin")
	if !p.hostAllowed(r) {
		p.refuse(w, r, &p.badHost, fmt.Sprintf("host %.256q is not a loopback name, as it must be over a loopback connection", r.Host),
			"--trusted-proxy 127.0.0.1/32 if it came through a proxy on this machine, else with --allow-origin http://"+truncated(r.Host))
		return false
	}
	if !p.originAllowed(r, origin, safelisted) {
		if origin == "" {
			p.refuse(w, r, &p.noOrigin, fmt.Sprintf("a request of type %.256q needs an Origin", r.Header.Get("Content-Type")),
				"Content-Type: application/octet-stream")
			return false
		}
		p.refuse(w, r, &p.badOrigin, fmt.Sprintf("origin %.256q is not allowed", origin), fmt.Sprintf("--allow-origin %.256s", origin))
		return false
	}
	p.setCORS(w.Header(), origin)
	return true
}

// Preflight answers an OPTIONS request that Admit admitted: 204, and what a
// page of that origin may send.
func (p *Policy) Preflight(w http.ResponseWriter, r *http.Request, methods string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", "Content-Type")
	h.Set("Access-Control-Max-Age", "7200")
	for _, network := range []string{"Private-Network", "Local-Network"} {
		if p.private && r.Header.Get("Access-Control-Request-"+network) == "true" {
			h.Set("Access-Control-Allow-"+network, "true")
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// NotAllowed answers a request of another method than the given ones: 405.
func NotAllowed(w http.ResponseWriter, r *http.Request, methods string) {
	w.Header().Set("Allow", methods)
	http.Error(w, fmt.Sprintf("method %.32s is not allowed here, only %s", r.Method, methods), http.StatusMethodNotAllowed)
}

// NotFound answers a request for a path that is not the bridge's: 404, with
// the headers that let an admitted page read it.
func (p *Policy) NotFound(w http.ResponseWriter, r *http.Request) {
	if p.Admit(w, r, false) {
		http.NotFound(w, r)
	}
}

func setCommon(h http.Header) {
	h.Set("Cache-Control", "no-store, no-transform")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Vary", "Origin")
	h.Set(Marker, "1")
}

// setCORS lets a page of an allowed origin read the answer. The bridge's own
// pages need no leave.
func (p *Policy) setCORS(h http.Header, origin string) {
	switch {
	case origin == "":
		return
	case p.origins[origin]:
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	case p.any:
		h.Set("Access-Control-Allow-Origin", "*")
	default:
		return
	}
	h.Set("Access-Control-Expose-Headers", Marker)
}

func (p *Policy) originAllowed(r *http.Request, origin string, safelisted bool) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	switch {
	case site == "same-origin", p.origins[origin]:
		return true
	case origin == "":
		return !safelisted
	case origin == "null":
		return p.any && !safelisted
	case p.any:
		return true
	case site != "":
		return false
	}
	u, err := parseOrigin(origin)
	return err == nil && u.Host == p.host(r, u.Scheme)
}

// host is the host that the browser asked for, in the normal form of an origin
// of the given scheme.
func (p *Policy) host(r *http.Request, scheme string) string {
	host := r.Host
	if forwarded := r.Header.Get("X-Forwarded-Host"); forwarded != "" && p.fromProxy(r) {
		host, _, _ = strings.Cut(forwarded, ",")
		host = strings.TrimSpace(host)
	}
	return normalHost(host, scheme)
}

func (p *Policy) refuse(w http.ResponseWriter, r *http.Request, first *sync.Once, reason, remedy string) {
	origin := r.Header.Get("Origin")
	first.Do(func() {
		p.logger.Warn("request refused; later ones of this kind are not logged", "reason", reason, "allow_with", remedy,
			"origin", truncated(origin), "host", truncated(r.Host), "path", truncated(r.URL.Path))
	})
	if origin != "" && r.Method != http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Access-Control-Expose-Headers", Marker)
	}
	http.Error(w, reason+"; allow it with "+remedy, http.StatusForbidden)
}

// truncated bounds what a stranger can write into the log.
func truncated(s string) string { return s[:min(len(s), 256)] }

func parseOrigin(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("origin %q: %w", s, err)
	}
	if u.Scheme == "" || u.Host == "" || u.Opaque != "" || u.User != nil {
		return nil, fmt.Errorf("origin %q: want scheme://host or scheme://host:port", s)
	}
	if u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#") {
		return nil, fmt.Errorf("origin %q: has more than scheme, host and port", s)
	}
	u.Host = normalHost(u.Host, u.Scheme)
	return u, nil
}

// normalHost is a host as browsers write it in Origin: lower case, without the
// scheme's own port.
func normalHost(host, scheme string) string {
	host = strings.ToLower(host)
	switch scheme {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}
