package httpclient

import (
	"fmt"
	"net/url"
	"strings"
)

// Target is where the requests to a bridge go.
type Target struct {
	// Base is the URL up to the prefix: scheme http or https, no final slash.
	Base string
	// Host is the URL's host and port, as written.
	Host string
	// Secure reports whether the URL's scheme is https or wss.
	Secure bool
}

// ParseURL reads the URL of a bridge: scheme http, https, ws or wss, and the
// bridge's prefix as path, "/bridge" when there is none.
func ParseURL(raw string) (Target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Target{}, err
	}
	scheme, ok := map[string]string{"http": "http", "ws": "http", "https": "https", "wss": "https"}[u.Scheme]
	if !ok {
		return Target{}, fmt.Errorf("URL %q: scheme %q is none of http, https, ws and wss", raw, u.Scheme)
	}
	if u.Host == "" {
		return Target{}, fmt.Errorf("URL %q has no host", raw)
	}
	if u.User != nil {
		return Target{}, fmt.Errorf("URL of host %q has credentials in it; use Config.Header or Config.Token", u.Host)
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return Target{}, fmt.Errorf("URL %q has a query or a fragment", raw)
	}
	prefix := strings.TrimRight(u.EscapedPath(), "/")
	if prefix == "" {
		prefix = "/bridge"
	}
	return Target{Base: (&url.URL{Scheme: scheme, Host: u.Host}).String() + prefix, Host: u.Host, Secure: scheme == "https"}, nil
}
