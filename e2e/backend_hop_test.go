package e2e_test

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// retries is the service config that OPERATIONS.md shows for a layer-7 hop.
func retries(t *testing.T) string {
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "Have the service config try again: `")
	text, _, found := strings.Cut(after, "`")
	if !found {
		t.Fatalf("%s shows no service config", operations)
	}
	return text
}

// hopInDocs is the configuration that OPERATIONS.md shows of a proxy before backends;
// it begins with a line.
func hopInDocs(t *testing.T, proxy, line string) string {
	t.Helper()
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(page), "```"+proxy+"\n"+line+"\n")
	text, _, ended := strings.Cut(after, "```\n")
	if !found || !ended {
		t.Fatalf("%s shows no %s before backends", operations, proxy)
	}
	return line + "\n" + text
}

// needProxy leaves a test out where there is none: ./test.sh proxies installs it.
func needProxy(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
}

// hops run a proxy of OPERATIONS.md between bridge and backends, two at most, and
// give its address.
var hops = map[string]func(t *testing.T, backends []string) string{
	"nginx": func(t *testing.T, backends []string) string { return hop(t, backends) },
	"haproxy": func(t *testing.T, backends []string) string {
		s := settings{Dir: ownDir(t), Port: freePort(t, "127.0.0.1")}
		s.Site = replaceOnce(t, hopInDocs(t, "haproxy", "# before backends"), "bind :50050", "bind 127.0.0.1:"+strconv.Itoa(s.Port))
		s.Site = replaceOnce(t, s.Site, "10.0.0.21:50051", backends[0])
		s.Site = replaceOnce(t, s.Site, "10.0.0.22:50051", backends[len(backends)-1])
		startProxy(t, haproxy(t, "", s), s)
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
	},
}

// hop runs the nginx of OPERATIONS.md between bridge and backends, changed by the
// pairs, and gives its address.
func hop(t *testing.T, backends []string, changes ...string) string {
	t.Helper()
	s := settings{Dir: ownDir(t), Port: freePort(t, "127.0.0.1")}
	site := replaceOnce(t, hopInDocs(t, "nginx", "upstream shop {"), "listen 50050 http2;", "listen 127.0.0.1:"+strconv.Itoa(s.Port)+" http2;")
	var servers strings.Builder
	for _, addr := range backends {
		servers.WriteString("server " + addr + " max_fails=0;\n") // both are this test's, and never down for long
	}
	site = replaceOnce(t, site, "  server 10.0.0.21:50051;\n  server 10.0.0.22:50051;\n", servers.String())
	for i := 0; i < len(changes); i += 2 {
		site = replaceOnce(t, site, changes[i], changes[i+1])
	}
	s.Site = site
	startProxy(t, nginx(t, "", s), s)
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
}

// TestHop_quietStream: a stream outlives silence behind the proxies of the docs, and
// a backend that closes connections for pings gets none of the bridge's, whatever
// the profile. With -quiet=10m it is the real thing.
func TestHop_quietStream(t *testing.T) {
	for proxy, start := range hops {
		for _, profile := range []string{"safe", "fast"} {
			t.Run(proxy+" "+profile, func(t *testing.T) {
				needProxy(t, proxy)
				t.Parallel()
				addr := start(t, []string{startBackend(t, "127.0.0.1:0").addr})
				_, ch := bridged(t, nil, bridge.Backend{Target: addr, Profile: profile})
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
			})
		}
	}
}

// TestHop_timedOut: a stream that is quiet for longer than nginx allows ends, with
// a status that names the backend's side, reset or not; the session and the next
// RPC do not mind.
func TestHop_timedOut(t *testing.T) {
	needProxy(t, "nginx")
	for _, reset := range []string{"", "reset_timedout_connection on;\n"} {
		t.Run(reset, func(t *testing.T) {
			addr := hop(t, []string{startBackend(t, "127.0.0.1:0").addr},
				"grpc_read_timeout    1h;", "grpc_read_timeout 100ms;", "client_body_timeout  1h;", "client_body_timeout 100ms;\n"+reset)
			srv, ch := bridged(t, nil, bridge.Backend{Target: addr})
			stream := chat(t, ch)
			_, err := stream.Recv()
			if code := status.Code(err); code != codes.Unavailable && code != codes.Internal {
				t.Errorf("got %v", err)
			}
			t.Logf("ended with %v", err)
			reply, err := echopb.NewEchoClient(ch).Unary(t.Context(), testsvc.Request(1, 1000))
			if err != nil {
				t.Fatal(err)
			}
			wantEcho(t, reply, 1, 1000)
			if !hasMetric(srv, "pollbridge_sessions_opened_total 1") {
				t.Error("the session did not live on")
			}
		})
	}
}

// TestHop_restart: a backend behind nginx that is killed and comes back fails no RPC
// that may be tried again, but those that it was answering, which nginx resets; one
// that is down is UNAVAILABLE.
func TestHop_restart(t *testing.T) {
	needProxy(t, "nginx")
	const callers, kills = 4, 3
	backend := startBackend(t, "127.0.0.1:0")
	addr := hop(t, []string{backend.addr})
	srv, ch := bridged(t, nil, bridge.Backend{Target: addr, ServiceConfig: retries(t)})
	echo := echopb.NewEchoClient(ch)
	var calls sync.WaitGroup
	var numbers, reset atomic.Uint64
	var stop atomic.Bool
	for range callers {
		calls.Go(func() {
			for !stop.Load() {
				n := numbers.Add(1)
				reply, err := echo.Unary(t.Context(), testsvc.Request(n, 100))
				switch {
				case err == nil:
					wantEcho(t, reply, n, 100)
				case status.Code(err) == codes.Internal && strings.Contains(err.Error(), "RST_STREAM"):
					reset.Add(1)
				default:
					t.Errorf("RPC %d: %v", n, err)
					stop.Store(true)
				}
			}
		})
	}
	for range kills {
		before := numbers.Load()
		until(t, "RPCs run", func() bool { return stop.Load() || numbers.Load() > before+100 })
		backend.kill()
		backend = startBackend(t, backend.addr)
	}
	stop.Store(true)
	calls.Wait()
	if n := reset.Load(); n > callers*kills {
		t.Errorf("%d RPCs were reset, and %d at most were being answered", n, callers*kills)
	}
	if !hasMetric(srv, "pollbridge_sessions_opened_total 1") {
		t.Error("the session did not live on")
	}

	backend.kill()
	_, plain := bridged(t, nil, bridge.Backend{Target: addr})
	_, err := echopb.NewEchoClient(plain).Unary(t.Context(), testsvc.Request(1, 1))
	if st := status.Convert(err); st.Code() != codes.Unavailable || !strings.Contains(st.Message(), "502") {
		t.Errorf("a backend that is down: %v", err)
	}
}

// TestHop_two: RPCs on one connection to a proxy reach both backends behind it.
func TestHop_two(t *testing.T) {
	for proxy, start := range hops {
		t.Run(proxy, func(t *testing.T) {
			needProxy(t, proxy)
			services := make([]*testsvc.Server, 2)
			addrs := make([]string, 2)
			for i := range services {
				svc, err := testsvc.Listen("127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(svc.Stop)
				services[i], addrs[i] = svc, svc.Addr
			}
			_, ch := bridged(t, nil, bridge.Backend{Target: start(t, addrs)})
			for n := range uint64(20) {
				reply, err := echopb.NewEchoClient(ch).Unary(t.Context(), testsvc.Request(n, 10))
				if err != nil {
					t.Fatal(err)
				}
				wantEcho(t, reply, n, 10)
			}
			if a, b := services[0].Counts().Started, services[1].Counts().Started; a != 10 || b != 10 {
				t.Errorf("%d and %d RPCs, want 10 each", a, b)
			}
		})
	}
}
