package e2e_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// bridged is a bridge before one backend, over real sockets, and a client of it.
func bridged(t *testing.T, choice []string, backend bridge.Backend) (*bridge.Server, *client.Channel) {
	t.Helper()
	srv, err := bridge.New(bridge.Config{Backends: []bridge.Backend{backend}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, srv.Shutdown(context.Background())) })
	server, _ := listen("http", srv)
	t.Cleanup(server.Close)
	ch, err := client.New(server.URL, client.Config{Transports: choice})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, ch.Close()) })
	return srv, ch
}

func admin(srv *bridge.Server, path string) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	srv.AdminHandler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return answer
}

func hasMetric(srv *bridge.Server, line string) bool {
	return strings.Contains(admin(srv, "/metrics").Body.String(), "\n"+line+"\n")
}

// until waits for a condition.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for !is() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, t.Context().Err())
		}
	}
}

// wantLost holds that an RPC ended UNAVAILABLE and that the backend's loss was
// the reason, not the bridge: that would show as a detail.
func wantLost(t *testing.T, err error) {
	t.Helper()
	if st := status.Convert(err); st.Code() != codes.Unavailable || len(st.Details()) != 0 {
		t.Errorf("got %v with details %v, want a loss at the backend", err, st.Details())
	}
}

// wantEcho holds that a unary reply is that to the numbered request.
func wantEcho(t *testing.T, reply *echopb.Reply, number uint64, size int) {
	t.Helper()
	if !bytes.Equal(reply.GetPayload(), testsvc.Payload(number, size)) {
		t.Errorf("RPC %d: a foreign reply of %d bytes", number, len(reply.GetPayload()))
	}
}

// chat opens a stream that has exchanged one message.
func chat(t *testing.T, ch grpc.ClientConnInterface) grpc.BidiStreamingClient[echopb.Request, echopb.Reply] {
	t.Helper()
	stream, err := echopb.NewEchoClient(ch).Bidi(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	check(t, stream.Send(testsvc.Request(1, 1)))
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	return stream
}

// TestOutage_idle: a backend that was killed and came back is connected again,
// though no RPC asks for it. TestPool_readyWithinBackoff of internal/backend has the time.
func TestOutage_idle(t *testing.T) {
	p := startBackend(t, "127.0.0.1:0")
	srv, ch := bridged(t, nil, bridge.Backend{Target: p.addr})
	ready := func() bool { return admin(srv, "/readyz").Code == http.StatusOK }
	until(t, "ready", ready)
	p.kill()
	until(t, "not ready", func() bool { return !ready() })
	startBackend(t, p.addr)
	until(t, "ready again", ready)
	if !hasMetric(srv, `pollbridge_rpcs_started_total{protocol="session"} 0`) {
		t.Error("there was an RPC")
	}
	_, err := echopb.NewEchoClient(ch).Unary(t.Context(), testsvc.Request(1, 1))
	check(t, err)
}

// TestOutage_load: a backend is killed under load and comes back. RPCs under way
// end with the loss, later ones wait for its return, and the session stays.
func TestOutage_load(t *testing.T) {
	const streams, load, waiting = 10, 4, 10
	for transport, choice := range transports {
		t.Run(transport, func(t *testing.T) {
			p := startBackend(t, "127.0.0.1:0")
			srv, ch := bridged(t, choice, bridge.Backend{Target: p.addr, ReadyTimeout: time.Minute})
			echo := echopb.NewEchoClient(ch)
			var open []grpc.BidiStreamingClient[echopb.Request, echopb.Reply]
			for range streams {
				open = append(open, chat(t, ch))
			}
			var back atomic.Bool
			var calls sync.WaitGroup
			for range load {
				calls.Go(func() {
					for n := uint64(1); ; n++ {
						again := back.Load()
						if _, err := echo.Unary(t.Context(), testsvc.Request(n, 1000)); err != nil {
							wantLost(t, err)
						} else if again {
							return
						}
					}
				})
			}
			p.kill()
			for _, stream := range open {
				_, err := stream.Recv()
				wantLost(t, err)
			}
			for n := range waiting {
				calls.Go(func() {
					reply, err := echo.Unary(t.Context(), testsvc.Request(uint64(n), 1000))
					if err != nil {
						t.Errorf("an RPC that waited: %v", err)
						return
					}
					wantEcho(t, reply, uint64(n), 1000)
				})
			}
			until(t, "all RPCs wait", func() bool {
				return hasMetric(srv, fmt.Sprintf(`pollbridge_streams{protocol="session"} %d`, load+waiting))
			})
			startBackend(t, p.addr)
			back.Store(true)
			calls.Wait()
			if !hasMetric(srv, "pollbridge_sessions_opened_total 1") || !hasMetric(srv, "pollbridge_sessions 1") {
				t.Error("not one session served all of it")
			}
		})
	}
}

// TestOutage_limit: an RPC that waits too long for the backend ends with
// UNAVAILABLE; it has not run.
func TestOutage_limit(t *testing.T) {
	p := startBackend(t, "127.0.0.1:0")
	p.kill()
	_, ch := bridged(t, nil, bridge.Backend{Name: "shop", Target: p.addr, ReadyTimeout: time.Millisecond})
	_, err := echopb.NewEchoClient(ch).Unary(t.Context(), testsvc.Request(1, 1))
	st := status.Convert(err)
	if st.Code() != codes.Unavailable || !strings.Contains(st.Message(), `"shop" not ready within 1ms`) || !strings.Contains(fmt.Sprint(st.Details()), `"BACKEND"`) {
		t.Errorf("got %v with details %v", err, st.Details())
	}
}

// TestOutage_goAway: a backend that retires its connections one after the other
// costs no unary RPC, and none runs twice.
func TestOutage_goAway(t *testing.T) {
	p := startBackend(t, "127.0.0.1:0", "-max-age=100ms", "-report")
	_, ch := bridged(t, nil, bridge.Backend{Target: p.addr})
	echo := echopb.NewEchoClient(ch)
	var calls sync.WaitGroup
	var numbers atomic.Uint64
	for range 8 {
		calls.Go(func() {
			for p.conns.Load() < 10 {
				n := numbers.Add(1)
				req := testsvc.Request(n, 100)
				req.Script = &echopb.Script{DelayMs: uint32(n % 16)}
				reply, err := echo.Unary(t.Context(), req)
				if err != nil {
					t.Errorf("RPC %d: %v", n, err)
					return
				}
				wantEcho(t, reply, n, 100)
			}
		})
	}
	calls.Wait()
	p.kill() // all its output is read
	for n := range numbers.Load() {
		if times := p.began[n+1]; times != 1 {
			t.Errorf("RPC %d ran %d times", n+1, times)
		}
	}
}

var quiet = flag.Duration("quiet", time.Second, "how long TestOutage_quietStream keeps a stream quiet")

// TestOutage_quietStream: a default server takes no offence at a channel of the
// profile safe whose only stream is quiet. With -quiet=10m it is the real thing.
func TestOutage_quietStream(t *testing.T) {
	p := startBackend(t, "127.0.0.1:0")
	_, ch := bridged(t, nil, bridge.Backend{Target: p.addr})
	stream := chat(t, ch)
	began := time.Now()
	time.Sleep(*quiet)
	check(t, stream.Send(testsvc.Request(2, 1)))
	reply, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	check(t, testsvc.Check(reply, 2, 1))
	t.Logf("the stream lives after %v of quiet", time.Since(began).Round(time.Second))
}
