package access

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddr is the IP address of the client, without a port: of the peer, or,
// where the peer is a trusted proxy, the rightmost address in X-Forwarded-For
// that is not a trusted proxy's. It is the peer's address as net/http tells it
// where that is no IP address. Who reaches the bridge by a Unix socket is a
// trusted proxy.
func (p *Policy) ClientAddr(r *http.Request) string { return p.rules.Load().clientAddr(r) }

func (p *rules) clientAddr(r *http.Request) string {
	peer := r.RemoteAddr
	if addr, ok := parseAddr(peer); ok {
		peer = addr.String()
	}
	if !p.fromProxy(r) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, ok := parseAddr(strings.TrimSpace(hop))
		if !ok {
			break
		}
		peer = next.String()
		if !p.trusted(next) {
			break
		}
	}
	return peer
}

// FromProxy reports whether a connection is a trusted proxy's, as ClientAddr has it.
func (p *Policy) FromProxy(conn net.Conn) bool {
	return p.rules.Load().proxy(conn.LocalAddr(), conn.RemoteAddr().String())
}

// fromProxy reports whether a trusted proxy passed the request on.
func (p *rules) fromProxy(r *http.Request) bool { return p.proxy(localAddr(r), r.RemoteAddr) }

func (p *rules) proxy(local net.Addr, remote string) bool {
	if _, unix := local.(*net.UnixAddr); unix {
		return true
	}
	addr, ok := parseAddr(remote)
	return ok && p.trusted(addr)
}

// localAddr is where the request came in; nil: unknown.
func localAddr(r *http.Request) net.Addr {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return addr
}

func (p *rules) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(p.proxies, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// forwarded is the first value of an X-Forwarded header that a trusted proxy
// set; empty: there is none.
func (p *rules) forwarded(r *http.Request, name string) string {
	value := r.Header.Get(name)
	if value == "" || !p.fromProxy(r) {
		return ""
	}
	first, _, _ := strings.Cut(value, ",")
	return strings.TrimSpace(first)
}

// host is the host, and port, that the client asked for.
func (p *rules) host(r *http.Request) string {
	return cmp.Or(p.forwarded(r, "X-Forwarded-Host"), r.Host)
}

// schemeIs reports whether the client asked with the given scheme. Of a trusted
// proxy that does not say, anything is believed.
func (p *rules) schemeIs(r *http.Request, scheme string) bool {
	switch asked := strings.ToLower(p.forwarded(r, "X-Forwarded-Proto")); {
	case asked != "":
		return asked == scheme || asked == "wss" && scheme == "https" || asked == "ws" && scheme == "http"
	case r.TLS != nil:
		return scheme == "https"
	}
	return scheme == "http" || p.fromProxy(r)
}

// hostAllowed guards against DNS rebinding: a foreign page whose own name leads
// to the bridge is of one origin with it. If not, it gives the host at fault.
//
// Over a loopback connection Host itself must be right, whatever proxy is
// trusted: a page in this machine's browser can send every header but Host.
func (p *rules) hostAllowed(r *http.Request) (host string, ok bool) {
	local, tcp := localAddr(r).(*net.TCPAddr)
	loopback := tcp && local.IP.IsLoopback()
	known := func(host string) bool {
		name := hostname(host)
		return p.hosts.has(name) || loopback && loopbackName(name)
	}
	if asked := p.host(r); p.onlyHosts && !known(asked) {
		return asked, false
	}
	if loopback && (p.onlyHosts || !p.origins.any) && !known(r.Host) {
		return r.Host, false
	}
	return "", true
}

// Rebound reports whether a request came over a loopback connection under a host
// that is no loopback name: a page whose own name leads to this machine may have
// sent it.
func Rebound(r *http.Request) bool {
	local, tcp := localAddr(r).(*net.TCPAddr)
	return tcp && local.IP.IsLoopback() && !loopbackName(hostname(r.Host))
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
