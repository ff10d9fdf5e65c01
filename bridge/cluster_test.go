package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// natsAt starts a NATS server. Port 0 picks a free one.
func natsAt(t testing.TB, port int) *natsserver.Server {
	t.Helper()
	if port == 0 {
		port = natsserver.RANDOM_PORT
	}
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// fleet is three bridges of a cluster, behind a balancer that takes them in turn.
type fleet struct {
	*httptest.Server
	nats    *natsserver.Server
	conns   cuttable
	joined  []*nats.Conn
	bridges []*bridge.Server
	turn    atomic.Uint64
	gone    atomic.Int64 // number of a bridge that gets no requests any more; -1: none
	only    atomic.Int64 // number of the bridge that gets all; -1: none
}

func newFleet(t testing.TB, cfg bridge.Config) *fleet {
	t.Helper()
	server := natsAt(t, 0)
	f := newFleetAt(t, cfg, [3]string{server.ClientURL(), server.ClientURL(), server.ClientURL()})
	f.nats = server
	return f
}

// newFleetAt is newFleet with the NATS servers of each bridge.
func newFleetAt(t testing.TB, cfg bridge.Config, servers [3]string) *fleet {
	t.Helper()
	f := new(fleet)
	f.gone.Store(-1)
	f.only.Store(-1)
	service := testsvc.New()
	for i := range 3 {
		conn, err := nats.Connect(servers[i], nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.DontRandomize())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(conn.Close)
		own := cfg
		own.Cluster = conn
		own.Backends = []bridge.Backend{{GRPCServer: service.GRPC}}
		b, err := bridge.New(own)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = b.Shutdown(ctx) // RPCs of a test that failed are cut
		})
		f.joined, f.bridges = append(f.joined, conn), append(f.bridges, b)
	}
	f.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int64(f.turn.Add(1) % 3)
		if n == f.gone.Load() {
			n = (n + 1) % 3
		}
		if only := f.only.Load(); only >= 0 {
			n = only
		}
		f.bridges[n].ServeHTTP(w, r)
	}))
	f.conns.Listener = f.Server.Listener
	f.Server.Listener = &f.conns
	f.Server.Start()
	t.Cleanup(f.Server.Close)
	return f
}

// cuttable is a listener whose connections can all be cut.
type cuttable struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *cuttable) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.conns = append(l.conns, conn)
	}
	return conn, err
}

func (l *cuttable) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.conns {
		_ = conn.Close() // many are closed already
	}
	l.conns = nil
}

// client returns a channel through the balancer.
func (f *fleet) client(t testing.TB, cfg client.Config) *client.Channel {
	t.Helper()
	c, err := client.New(f.URL, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// metric is the sum of a metric over the bridges.
func (f *fleet) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	for _, b := range f.bridges {
		for line := range strings.Lines(body(t, get(b.AdminHandler(), "GET", "/metrics"))) {
			var value float64
			if rest, ok := strings.CutPrefix(line, name); ok {
				if _, err := fmt.Sscan(rest, &value); err != nil {
					t.Fatal(line, err)
				}
				sum += value
			}
		}
	}
	return sum
}

// wait waits until the sum of a metric is want.
func (f *fleet) wait(t *testing.T, name string, want float64) {
	t.Helper()
	for began := time.Now(); f.metric(t, name) != want; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s is %v, want %v", name, f.metric(t, name), want)
		}
	}
}

// owner is the number of the bridge that has the only session.
func (f *fleet) owner(t *testing.T) int64 {
	t.Helper()
	for i, b := range f.bridges {
		if strings.Contains(body(t, get(b.AdminHandler(), "GET", "/metrics")), "pollbridge_sessions 1\n") {
			return int64(i)
		}
	}
	t.Fatal("no bridge has a session")
	return 0
}

// chat sends n messages of a size and checks each echo.
func chat(ctx context.Context, cc grpc.ClientConnInterface, n uint64, size int) error {
	stream, err := echopb.NewEchoClient(cc).Bidi(ctx)
	if err != nil {
		return err
	}
	for i := range n {
		if err := stream.Send(testsvc.Request(i+1, size)); err != nil {
			return err
		}
		reply, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("reply %d: %w", i+1, err)
		}
		if err := testsvc.Check(reply, i+1, size); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the end is %w", err)
	}
	return nil
}

var clusterTransports = map[string][]string{"longpoll": {"longpoll"}, "ws": {"ws"}, "auto": nil}

// TestCluster holds that RPCs of every kind run on whatever bridge their requests
// land, which a real NATS carries on.
func TestCluster(t *testing.T) {
	for name, transports := range clusterTransports {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, bridge.Config{})
			f.wait(t, "pollbridge_cluster_peers ", 6) // two of each
			var clients sync.WaitGroup
			for range 3 { // sessions of each bridge, on links of each
				c := f.client(t, client.Config{Transports: transports})
				clients.Go(func() {
					for range 2 {
						if err := everyKind(t.Context(), c); err != nil {
							t.Error(err)
						}
						f.conns.cut()
					}
				})
			}
			clients.Wait()
			if n := f.metric(t, "pollbridge_cluster_links_forwarded_total "); n == 0 {
				t.Error("no link was forwarded")
			}
		})
	}
}

// everyKind makes an RPC of each kind.
func everyKind(ctx context.Context, cc grpc.ClientConnInterface) error {
	echo := echopb.NewEchoClient(cc)
	for i := range uint64(20) {
		reply, err := echo.Unary(ctx, testsvc.Request(1, 1000))
		if err == nil {
			err = testsvc.Check(reply, 1, 1000)
		}
		if err != nil {
			return fmt.Errorf("unary %d: %w", i, err)
		}
	}
	const replies, size = 10, 200_000 // 2 MB, in batches over the maximum payload too
	down, err := echo.ServerStream(ctx, &echopb.Request{Script: &echopb.Script{Replies: replies, ReplyBytes: size}})
	for i := uint64(1); err == nil && i <= replies; i++ {
		var reply *echopb.Reply
		if reply, err = down.Recv(); err == nil {
			err = testsvc.Check(reply, i, size)
		}
	}
	if err != nil {
		return fmt.Errorf("server stream: %w", err)
	}
	up, err := echo.ClientStream(ctx)
	for i := uint64(1); err == nil && i <= replies; i++ {
		err = up.Send(testsvc.Request(i, size))
	}
	if err == nil {
		var reply *echopb.Reply
		if reply, err = up.CloseAndRecv(); err == nil && reply.GetRequests() != replies {
			err = fmt.Errorf("the backend has had %d messages, want %d", reply.GetRequests(), replies)
		}
	}
	if err != nil {
		return fmt.Errorf("client stream: %w", err)
	}
	return chat(ctx, cc, 30, 500)
}

// TestCluster_ownerGone holds that a client knows at once that its session's bridge
// is gone, and goes on with another.
func TestCluster_ownerGone(t *testing.T) {
	for name, transports := range clusterTransports {
		t.Run(name, func(t *testing.T) {
			f := newFleet(t, bridge.Config{})
			c := f.client(t, client.Config{Transports: transports})
			if err := chat(t.Context(), c, 5, 100); err != nil {
				t.Fatal(err)
			}
			stream, err := echopb.NewEchoClient(c).Bidi(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(testsvc.Request(1, 10)); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			owner := f.owner(t)
			f.gone.Store(owner)
			f.joined[owner].Close() // as NATS sees a process that is killed
			f.conns.cut()           // and as clients do
			began := time.Now()
			_, err = stream.Recv()
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "restarted") {
				t.Errorf("the RPC ends with %v, want UNAVAILABLE as of a bridge that was restarted", err)
			}
			t.Logf("known after %v", time.Since(began))
			if err := chat(t.Context(), c, 5, 100); err != nil {
				t.Errorf("the next RPC: %v", err)
			}
		})
	}
}

// TestCluster_natsGone holds that sessions outlive NATS, and that a bridge tells
// that it is away.
func TestCluster_natsGone(t *testing.T) {
	f := newFleet(t, bridge.Config{})
	c := f.client(t, client.Config{Transports: []string{"longpoll"}})
	stream, err := echopb.NewEchoClient(c).Bidi(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	say := func(n uint64) {
		t.Helper()
		if err := stream.Send(testsvc.Request(n, 1000)); err != nil {
			t.Fatal(err)
		}
		reply, err := stream.Recv()
		if err == nil {
			err = testsvc.Check(reply, n, 1000)
		}
		if err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
	}
	for n := range uint64(10) {
		say(n + 1)
	}
	port := f.nats.Addr().String()[strings.LastIndexByte(f.nats.Addr().String(), ':')+1:]
	f.nats.Shutdown()
	f.nats.WaitForShutdown()
	f.wait(t, "pollbridge_cluster_connected ", 0)
	ready := get(f.bridges[0].AdminHandler(), "GET", "/readyz")
	if text := body(t, ready); ready.StatusCode != http.StatusOK || !strings.Contains(text, "no connection to NATS") {
		t.Errorf("/readyz without NATS: status %d, %q", ready.StatusCode, text)
	}
	say(11) // by those of its requests that land at its own bridge
	var number int
	if _, err := fmt.Sscan(port, &number); err != nil {
		t.Fatal(err)
	}
	natsAt(t, number)
	for n := range uint64(10) {
		say(n + 12)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
}

// TestCluster_principal holds that clients are authenticated where they are, also
// for a later token, and that backends get what was found there.
func TestCluster_principal(t *testing.T) {
	var asked, tokens atomic.Int64
	f := newFleet(t, bridge.Config{
		ForwardHeaders: []string{"X-Tenant"},
		Authenticate: func(_ context.Context, info bridge.AuthInfo) (bridge.Principal, error) {
			asked.Add(1)
			if !strings.HasPrefix(info.Token, "token ") {
				return bridge.Principal{}, status.Error(codes.Unauthenticated, "no token")
			}
			return bridge.Principal{
				Name: "ann", Metadata: metadata.MD{"x-token": {info.Token}, "x-nothing": nil},
				AllowMethods: []string{"pollbridge.test.v1.Echo/Unary"}, Expires: time.Now().Add(200 * time.Millisecond),
			}, nil
		},
	})
	c := f.client(t, client.Config{
		Transports: []string{"longpoll"}, Header: http.Header{"X-Tenant": {"blue"}},
		Token: func(context.Context) (string, error) { return fmt.Sprint("token ", tokens.Add(1)), nil },
	})
	seen := map[string]bool{}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-nothing", "forged", "x-tenant", "forged", "x-token", "forged")
	for n := 0; len(seen) < 4; n++ {
		time.Sleep(20 * time.Millisecond)
		if n == 400 {
			t.Fatalf("only the tokens %v were seen by the backend", seen)
		}
		reply, err := echopb.NewEchoClient(c).Unary(ctx, &echopb.Request{Script: &echopb.Script{Reflect: true}})
		if status.Code(err) == codes.Unauthenticated { // expired; another token is on its way
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got := metadata.MD{}
		for _, p := range reply.GetMetadata() {
			got.Append(p.GetKey(), string(p.GetValue()))
		}
		if tenant, nothing := got.Get("x-tenant"), got.Get("x-nothing"); len(tenant) != 1 || tenant[0] != "blue" || len(nothing) != 0 {
			t.Fatalf("the backend got x-tenant %q and x-nothing %q", tenant, nothing)
		}
		seen[strings.Join(got.Get("x-token"), ",")] = true
	}
	if n := asked.Load(); n > tokens.Load()+2 {
		t.Errorf("asked %d times for %d tokens", n, tokens.Load())
	}
	_, err := echopb.NewEchoClient(c).Bidi(t.Context())
	if err == nil {
		err = chat(t.Context(), c, 1, 1)
	}
	if status.Code(err) != codes.PermissionDenied && status.Code(err) != codes.Unauthenticated {
		t.Errorf("a method that the principal may not call: %v", err)
	}
}

// BenchmarkCluster is a unary RPC of 100 bytes whose requests land at its session's
// bridge, and at another one: all bridges, the client and NATS in one process.
func BenchmarkCluster(b *testing.B) {
	for _, transport := range []string{"longpoll", "ws"} {
		for _, land := range []string{"local", "forwarded"} {
			b.Run(transport+"/"+land, func(b *testing.B) {
				f := newFleet(b, bridge.Config{})
				c := f.client(b, client.Config{Transports: []string{transport}})
				echo := echopb.NewEchoClient(c)
				f.only.Store(0)
				if _, err := echo.Unary(b.Context(), testsvc.Request(1, 100)); err != nil {
					b.Fatal(err)
				}
				if land == "forwarded" {
					f.only.Store(1)
				}
				f.conns.cut()
				if _, err := echo.Unary(b.Context(), testsvc.Request(1, 100)); err != nil {
					b.Fatal(err)
				}
				took := make([]time.Duration, 0, 1<<16)
				for b.Loop() {
					began := time.Now()
					if _, err := echo.Unary(b.Context(), testsvc.Request(1, 100)); err != nil {
						b.Fatal(err)
					}
					took = append(took, time.Since(began))
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			})
		}
	}
}
