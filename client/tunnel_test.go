package client_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/transport"
)

// forwardProxy is an HTTP proxy that opens tunnels and nothing else.
type forwardProxy struct {
	mu   sync.Mutex
	seen []string // method, target, Proxy-Authorization
}

func (p *forwardProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, strings.TrimSpace(r.Method+" "+r.Host+" "+r.Header.Get("Proxy-Authorization")))
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		http.Error(w, "no upgrade through here", http.StatusUpgradeRequired)
		return
	}
	if r.Header.Get("Proxy-Authorization") == "" {
		http.Error(w, "who are you", http.StatusProxyAuthRequired)
		return
	}
	testsvc.Tunnel(w, r, new(net.Dialer).DialContext)
}

func via(t *testing.T, proxy *httptest.Server, user *url.Userinfo) func(*http.Request) (*url.URL, error) {
	t.Helper()
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = user
	return http.ProxyURL(u)
}

// A WebSocket goes through a forward proxy by CONNECT, with ws and wss alike,
// and through an https proxy too.
func TestSocketTunnels(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"pollbridge.v1"}})
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		echo(conn)
	})
	for _, secureBridge := range []bool{false, true} {
		for _, secureProxy := range []bool{false, true} {
			bridge, proxy, seen := httptest.NewUnstartedServer(handler), httptest.NewUnstartedServer(nil), &forwardProxy{}
			proxy.Config.Handler = seen
			roots := x509.NewCertPool()
			for s, secure := range map[*httptest.Server]bool{bridge: secureBridge, proxy: secureProxy} {
				if !secure {
					s.Start()
					continue
				}
				s.StartTLS()
				roots.AddCert(s.Certificate())
			}
			defer proxy.Close()
			defer bridge.Close()
			c := newCarrier(t, bridge.URL, client.Config{
				Proxy: via(t, proxy, url.UserPassword("ann", "secret")),
				TLS:   &tls.Config{RootCAs: roots},
			})
			s, err := c.Dial(t.Context(), "abc")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Write(t.Context(), transport.Batch{batch(9)}); err != nil {
				t.Fatal(err)
			}
			if got, err := s.Read(t.Context()); err != nil || !bytes.Equal(got, batch(9)) {
				t.Errorf("%q %v", got, err)
			}
			s.Close()
			want := "CONNECT " + bridge.Listener.Addr().String() + " Basic YW5uOnNlY3JldA=="
			if len(seen.seen) != 1 || seen.seen[0] != want {
				t.Errorf("proxy saw %q, want %q", seen.seen, want)
			}
		}
	}
}

func TestTunnelRefused(t *testing.T) {
	proxy := httptest.NewServer(&forwardProxy{})
	defer proxy.Close()
	for _, tt := range []struct {
		proxy func(*http.Request) (*url.URL, error)
		want  []string
	}{
		{via(t, proxy, nil), []string{"CONNECT bridge.test:80", "status 407", "who are you"}},
		{via(t, proxy, url.User("ann")), []string{"CONNECT bridge.test:80", "status 502"}},
		{http.ProxyURL(&url.URL{Scheme: "ftp", Host: "p"}), []string{`proxy scheme "ftp" is none of`}},
		{http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:1"}), []string{"dialling proxy 127.0.0.1:1", "connection refused"}},
		{http.ProxyURL(&url.URL{Scheme: "socks5", Host: "127.0.0.1:1"}), []string{"connection refused"}},
	} {
		_, err := newCarrier(t, "ws://bridge.test", client.Config{Proxy: tt.proxy}).Dial(t.Context(), "abc")
		if err == nil {
			t.Fatal("no error")
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q does not say %q", err, want)
			}
		}
	}
}

// An exchange through a proxy that opens no tunnel says so, too.
func TestExchangeTunnelRefused(t *testing.T) {
	proxy := httptest.NewServer(&forwardProxy{})
	defer proxy.Close()
	_, err := newCarrier(t, "https://bridge.test", client.Config{Proxy: via(t, proxy, nil)}).Exchange(t.Context(), "abc", batch(1))
	if answer, ok := errors.AsType[*client.AnswerError](err); !ok || answer.Status != http.StatusProxyAuthRequired {
		t.Errorf("%v", err)
	}
	if want := "CONNECT bridge.test:443"; !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say %q", err, want)
	}
}

// Each handshake has a fresh connection, also after one that was refused.
func TestSocketFreshConnection(t *testing.T) {
	var opened atomic.Int64
	bridge := httptest.NewUnstartedServer(http.NotFoundHandler())
	bridge.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	bridge.Start()
	defer bridge.Close()
	c := newCarrier(t, bridge.URL, client.Config{})
	for range 3 {
		if _, err := c.Dial(t.Context(), "abc"); err == nil {
			t.Fatal("no error")
		}
	}
	if n := opened.Load(); n != 3 {
		t.Errorf("%d connections, want 3", n)
	}
}
