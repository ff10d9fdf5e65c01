package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
)

// TestLoopback runs all kinds of RPC over real sockets: plain HTTP/1.1, TLS
// with HTTP/1.1, and TLS with HTTP/2 (where a WebSocket still takes 1.1). At the
// end no goroutine is left.
func TestLoopback(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, front := range []string{"http", "https", "h2"} {
		for transport, choice := range transports {
			t.Run(front+"/"+transport, func(t *testing.T) { loopback(t, front, choice) })
		}
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

func loopback(t *testing.T, front string, choice []string) {
	svc, err := testsvc.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	defer svc.Stop()
	direct, err := grpc.NewClient(svc.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { check(t, direct.Close()) }()
	srv, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: svc.Addr}}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { check(t, srv.Shutdown(context.Background())) }()
	server, roots := listen(front, srv)
	defer server.Close()
	ch, err := client.New(server.URL, client.Config{Transports: choice, TLS: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { check(t, ch.Close()) }()
	sc := scenarios["fragments"]
	for kind, run := range kinds {
		want := play(t, run, direct, sc)
		if got := play(t, run, ch, sc); got != want {
			t.Errorf("%s: through the bridge:\n%.2000s\ndirectly:\n%.2000s", kind, got, want)
		}
	}
}

func listen(front string, h http.Handler) (*httptest.Server, *tls.Config) {
	server := httptest.NewUnstartedServer(h)
	if front == "http" {
		server.Start()
		return server, nil
	}
	server.EnableHTTP2 = front == "h2"
	server.StartTLS()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server, &tls.Config{RootCAs: roots}
}
