package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/registry"
)

// pipes is a listener, and the network that leads to it.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// TestRefusedSaysWhy: what a bridge says that has no room for a session is what
// its client knows of it, on either transport, and not how the link then ended.
func TestRefusedSaysWhy(t *testing.T) {
	for _, transport := range []string{"ws", "longpoll"} {
		t.Run(transport, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bridge := newEchoes(registry.Config{MaxSessions: 1})
				network := newPipes()
				server := &http.Server{Handler: bridge}
				go func() { _ = server.Serve(network) }() // until Close
				defer server.Close()
				defer bridge.registry.Close()
				open := func(onState func(client.State)) *client.Channel {
					ch, err := client.New("http://bridge.example", client.Config{Transports: []string{transport}, Dial: network.dial, OnState: onState})
					if err != nil {
						t.Fatal(err)
					}
					return ch
				}
				first := open(nil)
				defer first.Close()
				synctest.Wait()
				if state := first.State(); state.Phase != "open" {
					t.Fatalf("the first session is %+v", state)
				}
				told := make(chan string, 100)
				second := open(func(s client.State) {
					if s.LastError != nil && s.Phase != "closed" {
						told <- s.LastError.Error()
					}
				})
				time.Sleep(12 * time.Second) // a few tries
				second.Close()
				synctest.Wait()
				if len(told) < 2 {
					t.Errorf("told %d times", len(told))
				}
				for len(told) > 0 {
					if text := <-told; !strings.Contains(text, "refused by the bridge: the bridge has 1 sessions, its limit") {
						t.Errorf("told %q", text)
					}
				}
			})
		})
	}
}

// TestUntrustedCertificate: RPCs end at once with what is wrong, on either
// transport.
func TestUntrustedCertificate(t *testing.T) {
	for _, transport := range []string{"ws", "longpoll"} {
		t.Run(transport, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := newPipes()
				server := httptest.NewUnstartedServer(http.NotFoundHandler())
				server.Config.ErrorLog = log.New(io.Discard, "", 0)
				server.Listener.Close()
				server.Listener = network
				server.StartTLS()
				defer server.Close()
				ch, err := client.New("https://example.com", client.Config{Transports: []string{transport}, Dial: network.dial, TLS: &tls.Config{RootCAs: x509.NewCertPool()}})
				if err != nil {
					t.Fatal(err)
				}
				defer ch.Close()
				began := time.Now()
				err = ch.Invoke(t.Context(), "/a.B/C", &wrapperspb.BytesValue{}, &wrapperspb.BytesValue{})
				if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "certificate not trusted") || !strings.Contains(err.Error(), "unknown authority") {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took > 3*time.Second { // a few sessions, each without a wait
					t.Errorf("told after %v", took)
				}
			})
		})
	}
}

// TestNoBridge: where something else answers that there is no bridge, RPCs end
// soon with its URL, what was answered, and what to look at; a bridge that was
// there before is waited for.
func TestNoBridge(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"status 404,": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"status 405,": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"status 200,": func(http.ResponseWriter, *http.Request) {},
		`status 200, content-type "text/html; charset=utf-8", body begins "<html>`: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		`redirect to "/login"`: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) },
	}
	for _, transports := range [][]string{{"ws"}, {"longpoll"}, {"longpoll", "ws"}} {
		for said, answer := range answers {
			t.Run(fmt.Sprint(transports, said), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					network := newPipes()
					server := &http.Server{Handler: answer}
					go func() { _ = server.Serve(network) }() // until Close
					defer server.Close()
					ch, err := client.New("http://example.com/app", client.Config{Transports: transports, Dial: network.dial})
					if err != nil {
						t.Fatal(err)
					}
					defer ch.Close()
					began := time.Now()
					err = ch.Invoke(t.Context(), "/a.B/C", &wrapperspb.BytesValue{}, &wrapperspb.BytesValue{})
					message := status.Convert(err).Message()
					for _, want := range []string{"the bridge at http://example.com/app is not there: ", said, "URL and prefix", "; the RPC has not run"} {
						if status.Code(err) != codes.Unavailable || !strings.Contains(message, want) {
							t.Errorf("lacks %q: %v", want, err)
						}
					}
					if took := time.Since(began); took > 2*time.Second {
						t.Errorf("told after %v", took)
					}
				})
			})
		}
	}
}

// TestBridgeGone: an answer of something else does not end what waits for a bridge
// that was there before.
func TestBridgeGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bridge := newEchoes(registry.Config{})
		defer func() { bridge.registry.Close() }()
		var gone atomic.Bool
		network := newPipes()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if gone.Load() {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			bridge.ServeHTTP(w, r)
		})}
		go func() { _ = server.Serve(network) }() // until Close
		defer server.Close()
		ch, err := client.New("http://example.com", client.Config{Transports: []string{"longpoll"}, Dial: network.dial})
		if err != nil {
			t.Fatal(err)
		}
		defer ch.Close()
		call := func() error {
			return ch.Invoke(t.Context(), "/a.B/C", wrapperspb.Bytes([]byte("x")), &wrapperspb.BytesValue{})
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		gone.Store(true)
		time.Sleep(3 * time.Minute) // the session is given up, without RPCs
		time.AfterFunc(10*time.Second, func() { gone.Store(false) })
		if err := call(); err != nil {
			t.Errorf("a bridge that was there before was not waited for: %v", err)
		}
	})
}
