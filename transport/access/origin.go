package access

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// origins are those of Config.AllowOrigins, in the normal form of normalHost.
type origins struct {
	named map[string]bool // "scheme://host:port"
	below []originPattern
	any   bool // "*" is allowed
}

// originPattern is "scheme://*.domain:port".
type originPattern struct{ scheme, domain, port string }

// add takes one of Config.AllowOrigins, and gives the host in it: empty for
// "*".
func (o *origins) add(s string) (host string, err error) {
	if s == "*" {
		o.any = true
		return "", nil
	}
	if s == "null" {
		return "", fmt.Errorf(`origin "null" is that of every file and sandboxed frame: serve the page over HTTP, or allow every origin with "*"`)
	}
	u, err := parseOrigin(s)
	if err != nil {
		return "", err
	}
	domain, below := strings.CutPrefix(u.Hostname(), "*.")
	if strings.Contains(domain, "*") || below && !isName(domain) {
		return "", fmt.Errorf("origin %q: a star stands for whole labels before a domain, as in https://*.example.com", s)
	}
	if below {
		o.below = append(o.below, originPattern{u.Scheme, domain, u.Port()})
	} else {
		o.named[u.Scheme+"://"+u.Host] = true
	}
	return u.Hostname(), nil
}

// has reports whether an origin is named, or fits a pattern: such a page may
// send credentials.
func (o *origins) has(origin string) bool {
	if o.named[origin] {
		return true
	}
	if len(o.below) == 0 {
		return false
	}
	u, err := parseOrigin(origin)
	if err != nil {
		return false
	}
	for _, p := range o.below {
		if u.Scheme == p.scheme && u.Port() == p.port && isBelow(u.Hostname(), p.domain) {
			return true
		}
	}
	return false
}

// isBelow reports whether host is one or more labels and then the domain.
func isBelow(host, domain string) bool {
	labels, ok := strings.CutSuffix(host, "."+domain)
	return ok && isName(labels)
}

// isName reports whether s is a host name as browsers write it: labels of
// letters in lower case, digits, hyphens and underscores.
func isName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// parseOrigin takes what an Origin header may say, but "null", and gives it
// with the host in the normal form.
func parseOrigin(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Opaque != "" || u.User != nil {
		return nil, fmt.Errorf("origin %q: want scheme://host or scheme://host:port, as https://app.example", s)
	}
	if u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#") {
		return nil, fmt.Errorf("origin %q: has more than scheme, host and port", s)
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); u.Hostname() == "" || err != nil && u.Port() != "" || strings.HasSuffix(u.Host, ":") {
		return nil, fmt.Errorf("origin %q: want scheme://host or scheme://host:port, with a port from 1 to 65535", s)
	}
	for _, c := range []byte(u.Host) {
		if c <= ' ' || c >= 0x7f {
			return nil, fmt.Errorf("origin %q: want the host in ASCII, as browsers write it (xn--…)", s)
		}
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

// hosts are the names that Host may bear.
type hosts struct {
	named map[string]bool
	below []string // domains
}

// add takes one of Config.AllowHosts, or the host of an allowed origin.
func (h *hosts) add(s string) error {
	name := strings.ToLower(s)
	if domain, ok := strings.CutPrefix(name, "*."); ok && isName(domain) {
		h.below = append(h.below, domain)
		return nil
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if _, err := netip.ParseAddr(bare); err != nil && !isName(strings.TrimSuffix(name, ".")) {
		return fmt.Errorf("host %q: want a name or address without a port, or *.example.com for all names below a domain", s)
	}
	h.named[bare] = true
	return nil
}

// has takes a host in the form of hostname.
func (h *hosts) has(host string) bool {
	if h.named[host] {
		return true
	}
	for _, domain := range h.below {
		if isBelow(host, domain) {
			return true
		}
	}
	return false
}
