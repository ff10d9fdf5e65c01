package access

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

// Marker is the response header by which a client tells the bridge's answers
// from the network's. It only helps diagnosis: middleboxes strip headers (W2).
const Marker = "Pollbridge"

// Config configures a Policy. The zero value admits pages of the bridge's own
// origin and programs that are not browsers.
type Config struct {
	// AllowOrigins are the origins, beside the bridge's own, whose pages may
	// use it: "https://app.example.com", with the port where it is not the
	// scheme's. "https://*.example.com" stands for every name of one or more
	// labels below example.com, not for example.com itself. A single "*"
	// allows all origins, without credentials.
	AllowOrigins []string
	// AllowHosts are the names and addresses, without a port, that Host may
	// bear; "*.example.com" stands for all names below a domain. Where there
	// are any, they are held on every listener, and over a loopback connection
	// beside loopback names. The hosts of AllowOrigins are always among them.
	// Default: any host, but loopback names only over a loopback connection.
	AllowHosts []string
	// AllowHeaders are the request headers, beside Content-Type, that a page
	// of another origin may send. Default: none.
	AllowHeaders []string
	// TrustedProxies are the networks whose X-Forwarded-For, X-Forwarded-Host
	// and X-Forwarded-Proto are believed. Default: none.
	TrustedProxies []netip.Prefix
	// PrivateNetwork lets pages of public sites reach a bridge in a private
	// network, where the browser asks before (Private Network Access).
	PrivateNetwork bool
	// Logger gets refusals, at most one line of each kind in 10 s. Default:
	// discard.
	Logger *slog.Logger
}

// Policy is a checked Config, which may be replaced. It may be used by any
// goroutine.
type Policy struct {
	rules    atomic.Pointer[rules]
	refusals refusals
}

// rules is what a Config comes to.
type rules struct {
	origins   origins
	hosts     hosts
	onlyHosts bool            // AllowHosts is held on every listener
	headers   map[string]bool // allowed in preflights, lower case
	allow     string          // Access-Control-Allow-Headers
	proxies   []netip.Prefix
	private   bool
}

// New checks a Config. Its error, of errors.Join, has one for each bad value.
func New(cfg Config) (*Policy, error) {
	p := new(Policy)
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	p.refusals.init(logger)
	return p, p.Set(cfg)
}

// Set replaces all of the Config but Logger, for requests that come from now on.
// With an error, which is as New's, it changes nothing.
func (p *Policy) Set(cfg Config) error {
	r, err := newRules(cfg)
	if err == nil {
		p.rules.Store(r)
	}
	return err
}

func newRules(cfg Config) (*rules, error) {
	p := &rules{
		origins:   origins{named: make(map[string]bool)},
		hosts:     hosts{named: make(map[string]bool)},
		onlyHosts: len(cfg.AllowHosts) > 0,
		headers:   map[string]bool{"content-type": true},
		allow:     "Content-Type",
		proxies:   cfg.TrustedProxies,
		private:   cfg.PrivateNetwork,
	}
	var errs []error
	for _, s := range cfg.AllowOrigins {
		host, err := p.origins.add(s)
		if host != "" && err == nil {
			err = p.hosts.add(host)
		}
		errs = append(errs, err)
	}
	for _, s := range cfg.AllowHosts {
		errs = append(errs, p.hosts.add(s))
	}
	for _, s := range cfg.AllowHeaders {
		errs = append(errs, p.allowHeader(s))
	}
	return p, errors.Join(errs...)
}

func (p *rules) allowHeader(name string) error {
	if !isToken(name) {
		return fmt.Errorf("header %q: want the name of one, as traceparent", name)
	}
	if key := strings.ToLower(name); !p.headers[key] {
		p.headers[key] = true
		p.allow += ", " + name
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, §5.6.2, and no star.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// Admit sets the headers that every answer carries, and checks Host and
// Origin. If it returns false, it has answered with 403.
//
// safelisted says that a page may send this very request to any host without a
// preflight: a POST of text/plain, for one. Such a request needs a proof that
// a page of an allowed origin made it.
func (p *Policy) Admit(w http.ResponseWriter, r *http.Request, safelisted bool) bool {
	setCommon(w.Header())
	rules := p.rules.Load()
	if refused := rules.refuses(r, safelisted); refused != nil {
		p.refuse(w, r, refused)
		return false
	}
	rules.setCORS(w.Header(), r.Header.Get("Origin"))
	return true
}

// Refusal is Admit for a request that is not net/http's, and that no page can send
// without a preflight. It returns what its client is to be told, "" if the request
// is admitted.
func (p *Policy) Refusal(r *http.Request) string {
	refused := p.rules.Load().refuses(r, false)
	if refused == nil {
		return ""
	}
	p.note(r, refused)
	return refused.String()
}

// refuses returns why a request is refused, nil if it is not.
func (p *rules) refuses(r *http.Request, safelisted bool) *refusal {
	if host, ok := p.hostAllowed(r); !ok {
		return &refusal{
			badHost, fmt.Sprintf("host %.256q is not one of this bridge", host),
			fmt.Sprintf("if it should be, give the bridge --allow-host %.256s", cmp.Or(hostname(host), "NAME")),
		}
	}
	origin := r.Header.Get("Origin")
	switch {
	case p.originAllowed(r, origin, safelisted):
		return nil
	case origin == "", origin == "null" && p.origins.any:
		return &refusal{
			noOrigin, fmt.Sprintf("a request of type %.256q needs the Origin of a page", r.Header.Get("Content-Type")),
			"send it as Content-Type: application/octet-stream",
		}
	case origin == "null":
		return &refusal{
			badOrigin, "origin null, that of every file and sandboxed frame, is not allowed",
			"serve the page over HTTP, or allow every origin with --allow-origin '*'",
		}
	}
	return &refusal{
		badOrigin, fmt.Sprintf("origin %.256q is not allowed", origin),
		fmt.Sprintf("if it should be, give the bridge --allow-origin %.256s", origin),
	}
}

// Preflight answers an OPTIONS request that Admit admitted: 204, and what a
// page of that origin may send.
func (p *Policy) Preflight(w http.ResponseWriter, r *http.Request, methods string) {
	rules := p.rules.Load()
	if name := rules.badHeader(r); name != "" {
		p.note(r, &refusal{
			badHeader, fmt.Sprintf("a page asks to send the header %.256q, which is not allowed", name),
			fmt.Sprintf("if it should be, give the bridge --allow-header %.256s", name),
		})
	}
	p.PreflightWith(w, r, methods, rules.allow)
}

// PreflightWith is Preflight with a list of its own of headers that may be sent.
func (p *Policy) PreflightWith(w http.ResponseWriter, r *http.Request, methods, headers string) {
	h, rules := w.Header(), p.rules.Load()
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", headers)
	h.Set("Access-Control-Max-Age", "7200")
	for _, network := range []string{"Private-Network", "Local-Network"} {
		if rules.private && r.Header.Get("Access-Control-Request-"+network) == "true" {
			h.Set("Access-Control-Allow-"+network, "true")
		}
	}
	_ = httpwrite.Begin(w, httpwrite.Timeout) // who asked may be gone
	w.WriteHeader(http.StatusNoContent)
	_ = httpwrite.End(w)
}

// badHeader is the first header that a preflight asks for and may not have;
// empty: there is none. Such a page's request is lost, and no page is told why.
func (p *rules) badHeader(r *http.Request) string {
	asked := strings.Join(r.Header.Values("Access-Control-Request-Headers"), ",")
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "" && !p.headers[name] {
			return name
		}
	}
	return ""
}

// NotAllowed answers a request of another method than the given ones: 405.
func NotAllowed(w http.ResponseWriter, r *http.Request, methods string) {
	w.Header().Set("Allow", methods)
	httpwrite.Text(w, http.StatusMethodNotAllowed, fmt.Sprintf("method %.32s is not allowed here, only %s", r.Method, methods))
}

// NotFound answers a request for a path that is not the bridge's: 404, with
// the headers that let an admitted page read it.
func (p *Policy) NotFound(w http.ResponseWriter, r *http.Request) {
	if p.Admit(w, r, false) {
		httpwrite.Text(w, http.StatusNotFound, "404 page not found")
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
func (p *rules) setCORS(h http.Header, origin string) {
	switch {
	case origin == "":
		return
	case p.origins.has(origin):
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	case p.origins.any:
		h.Set("Access-Control-Allow-Origin", "*")
	default:
		return
	}
	h.Set("Access-Control-Expose-Headers", Marker)
	h.Set("Timing-Allow-Origin", h.Get("Access-Control-Allow-Origin")) // lets the client see the version of HTTP
}

func (p *rules) originAllowed(r *http.Request, origin string, safelisted bool) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	switch {
	case site == "same-origin", p.origins.has(origin):
		return true
	case origin == "":
		return !safelisted
	case origin == "null":
		return p.origins.any && !safelisted
	case p.origins.any:
		return true
	case site != "":
		return false
	}
	u, err := parseOrigin(origin)
	return err == nil && u.Host == normalHost(p.host(r), u.Scheme) && p.schemeIs(r, u.Scheme)
}
