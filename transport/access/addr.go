package access

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddr is the IP address of the client, without a port: of the peer, or,
// where the peer is a trusted proxy, the rightmost address in X-Forwarded-For
// that is not a trusted proxy's. It is the peer's address as net/http tells it
// where that is no IP address.
func (p *Policy) ClientAddr(r *http.Request) string {
	addr, ok := parseAddr(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr
	}
	if !p.trusted(addr) {
		return addr.String()
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, ok := parseAddr(strings.TrimSpace(hop))
		if !ok {
			break
		}
		addr = next
		if !p.trusted(addr) {
			break
		}
	}
	return addr.String()
}

// fromProxy says that a trusted proxy passed the request on.
func (p *Policy) fromProxy(r *http.Request) bool {
	addr, ok := parseAddr(r.RemoteAddr)
	return ok && p.trusted(addr)
}

func (p *Policy) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(p.proxies, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// hostAllowed guards a loopback listener against DNS rebinding.
func (p *Policy) hostAllowed(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !local.IP.IsLoopback() || p.any {
		return true
	}
	host := hostname(r.Host)
	return loopbackName(host) || p.hosts[host] || p.fromProxy(r)
}

func loopbackName(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, ok := parseAddr(host)
	return ok && addr.IsLoopback()
}

// hostname is a host in lower case, without its port and an IPv6 address's
// brackets.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// parseAddr takes an address with or without a port.
func parseAddr(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return addr.Unmap().WithZone(""), err == nil
}
