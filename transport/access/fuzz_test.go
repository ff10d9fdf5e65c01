package access_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/transport/access"
)

// FuzzAdmit: a browser's request is admitted only for the one allowed origin,
// for the bridge's own, and where the browser itself calls it same-origin.
func FuzzAdmit(f *testing.F) {
	f.Add("https://app.example", "bridge.example", "cross-site", false)
	f.Add("http://bridge.example:80", "BRIDGE.example", "", true)
	f.Add("null", "bridge.example", "same-origin", true)
	f.Add("http://[::1]:5173", "[::1]:5173", "", false)
	f.Add("//bridge.example", "bridge.example", "", false)
	f.Fuzz(func(t *testing.T, origin, host, site string, safelisted bool) {
		p, err := access.New(access.Config{AllowOrigins: []string{"https://app.example"}})
		if err != nil {
			t.Fatal(err)
		}
		r := request("Host", host, "Origin", origin, "Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		admitted := p.Admit(w, r, safelisted)
		own := site == "" && strings.Contains(origin, "://") && host != "" &&
			strings.Contains(strings.ToLower(origin), strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(host), ":80"), ":443"))
		switch {
		case origin == "https://app.example", site == "same-origin":
			if !admitted {
				t.Errorf("refused")
			}
		case origin == "":
			if admitted == safelisted {
				t.Errorf("admitted without an Origin: %v", admitted)
			}
		case admitted && !own:
			t.Errorf("admitted")
		}
		if admitted != (w.Code != http.StatusForbidden) {
			t.Errorf("admitted %v with status %d", admitted, w.Code)
		}
	})
}

// FuzzClientAddr: what X-Forwarded-For says counts only from a trusted proxy.
func FuzzClientAddr(f *testing.F) {
	f.Add("10.0.0.1:1", "203.0.113.7, 10.0.0.2")
	f.Add("203.0.113.7:1", "198.51.100.1")
	f.Add("[fd00::1%eth0]:1", "[2001:db8::1]:99,,")
	f.Add("@", "\x00,")
	proxies := netip.MustParsePrefix("10.0.0.0/8")
	p, err := access.New(access.Config{TrustedProxies: []netip.Prefix{proxies}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, remote, forwarded string) {
		r := request("X-Forwarded-For", forwarded)
		r.RemoteAddr = remote
		got := p.ClientAddr(r)
		peer, err := netip.ParseAddrPort(remote)
		if err != nil {
			return // net/http always sets one, but for sockets that have none
		}
		addr, err := netip.ParseAddr(got)
		if err != nil {
			t.Fatalf("%q is no address", got)
		}
		if direct := peer.Addr().Unmap().WithZone(""); !proxies.Contains(direct) && addr != direct {
			t.Errorf("a stranger's X-Forwarded-For was believed: %s", addr)
		}
	})
}
