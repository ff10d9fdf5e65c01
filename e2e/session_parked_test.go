package e2e_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// A quiet stream's polls are parked, and it goes on as if they were not: with
// messages both ways, and through a drain.
func TestParked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("polls are parked on Linux only")
	}
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		parkedStream(t, func(b *bridge.Server) http.Handler { return b }, false)
	})
	t.Run("echo and TLS", func(t *testing.T) {
		t.Parallel()
		parkedStream(t, func(b *bridge.Server) http.Handler {
			e := echo.New()
			b.Mount(e)
			return e
		}, true)
	})
}

func parkedStream(t *testing.T, around func(*bridge.Server) http.Handler, secure bool) {
	service, err := testsvc.Listen("")
	if err != nil {
		t.Fatal(err)
	}
	defer service.Stop()
	b, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: service.Addr}}})
	if err != nil {
		t.Fatal(err)
	}
	var parked atomic.Int64
	server := httptest.NewUnstartedServer(around(b))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateHijacked {
			parked.Add(1)
		}
	}
	b.ParkPolls(server.Config)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	defer server.Close()
	cfg := client.Config{Transports: []string{"longpoll"}, TLS: &tls.Config{InsecureSkipVerify: true}} // its certificate is httptest's
	channel, err := client.New(server.URL, cfg)
	if err != nil {
		t.Fatal(err)
	}
	park := func() {
		t.Helper()
		before := parked.Load()
		for began := time.Now(); parked.Load() == before; time.Sleep(time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatal("nothing was parked for a minute")
			}
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	stream, err := echopb.NewEchoClient(channel).Bidi(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 2; n++ { // up beside a parked poll, down on it or its successor
		check(t, stream.Send(&echopb.Request{Number: n}))
		if reply, err := stream.Recv(); err != nil || reply.GetNumber() != n {
			t.Fatalf("reply %v, %v; want %d", reply, err, n)
		}
		park()
	}

	short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
	defer stop()
	if err := b.Shutdown(short); err == nil {
		t.Error("the open RPC was not cut")
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the RPC ended with %v", err)
	}
	check(t, channel.Close())
	check(t, server.Config.Shutdown(ctx))
}
