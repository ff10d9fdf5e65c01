package backend_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

func listen(t *testing.T, addr string, opts ...grpc.ServerOption) *testsvc.Server {
	t.Helper()
	srv, err := testsvc.Listen(addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Stop)
	return srv
}

// echo runs one unary RPC.
func echo(t *testing.T, p *backend.Pool, o backend.CallOptions) {
	t.Helper()
	o.SingleRequest = true
	c := start(t, p, echopb.Echo_Unary_FullMethodName, nil, o)
	send(t, c, testsvc.Request(1, 10))
	if err := testsvc.Check(recv(t, c), 1, 10); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, c, codes.OK)
	c.Close()
}

func TestPool_targets(t *testing.T) {
	srv, other := listen(t, ""), listen(t, "")
	_, port, _ := net.SplitHostPort(srv.Addr)
	socket := filepath.Join(t.TempDir(), "s")
	onSocket := testsvc.New()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	onSocket.Serve(l)
	t.Cleanup(onSocket.Stop)

	for _, target := range []string{
		srv.Addr, "dns:///localhost:" + port, "passthrough:///" + srv.Addr, "unix:" + socket, "unix://" + socket, srv.Addr + "," + other.Addr,
	} {
		p := newPool(t, backend.Config{Target: target})
		echo(t, p, backend.CallOptions{})
	}
	if srv.Counts().Started+other.Counts().Started != 4 || onSocket.Counts().Started != 2 {
		t.Errorf("got %+v, %+v and %+v", srv.Counts(), other.Counts(), onSocket.Counts())
	}
}

func TestPool_staticListSharesTheLoad(t *testing.T) {
	a, b := listen(t, ""), listen(t, "")
	p := newPool(t, backend.Config{Target: a.Addr + ", " + b.Addr})
	for a.Counts().Started == 0 || b.Counts().Started == 0 {
		echo(t, p, backend.CallOptions{})
	}
}

func TestPool_badConfig(t *testing.T) {
	for want, cfg := range map[string]backend.Config{
		"Target: none":    {},
		"Profile: ":       {Target: "x:1", Profile: "eager"},
		"ServiceConfig: ": {Target: "x:1", ServiceConfig: "{"},
		"TLS.CAFile: ":    {Target: "x:1", TLS: &backend.TLS{CAFile: "/nowhere"}},
		"no such policy":  {Target: "x:1", ServiceConfig: `{"loadBalancingConfig":[{"no such policy":{}}]}`},
	} {
		p, err := backend.New(filled(cfg))
		if err == nil {
			p.Close()
			t.Errorf("%s: no error", want)
			continue
		}
		if want != "no such policy" && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
}

// TestPool_restart: the channel is ready again after its backend came back,
// though no RPC asked for it.
func TestPool_restart(t *testing.T) {
	srv := listen(t, "")
	p := newPool(t, backend.Config{Target: srv.Addr})
	p.WaitReady()
	c := start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{})
	send(t, c, testsvc.Request(1, 1))
	recv(t, c)
	srv.Stop()
	wantEnd(t, c, codes.Unavailable)
	p.WaitNotReady()
	if p.Ready() {
		t.Error("ready without a backend")
	}
	listen(t, srv.Addr)
	p.WaitReady()
	echo(t, p, backend.CallOptions{})
}

// TestPool_goAway: a backend that retires its connections lets RPCs finish, and
// new ones go to a new connection.
func TestPool_goAway(t *testing.T) {
	srv := listen(t, "", grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 100 * time.Millisecond}))
	p := newPool(t, backend.Config{Target: srv.Addr})
	c := start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{})
	send(t, c, testsvc.Request(1, 1))
	recv(t, c)
	p.WaitNotReady()
	echo(t, p, backend.CallOptions{})
	send(t, c, testsvc.Request(2, 1))
	recv(t, c)
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, c, codes.OK)
}

// TestPool_notReady: an RPC waits for the readiness limit, one that waits for
// ready until its own deadline.
func TestPool_notReady(t *testing.T) {
	invoke := func(ctx context.Context, p *backend.Pool, o backend.CallOptions) error {
		_, err := p.Invoke(ctx, echopb.Echo_Unary_FullMethodName, nil, o, [][]byte{nil})
		return err
	}
	start := func(ctx context.Context, p *backend.Pool, o backend.CallOptions) error {
		_, err := p.Start(ctx, echopb.Echo_Bidi_FullMethodName, nil, o)
		return err
	}
	for _, tt := range []struct {
		what     string
		run      func(context.Context, *backend.Pool, backend.CallOptions) error
		waits    bool
		deadline time.Duration
		code     codes.Code
		after    time.Duration
	}{
		{"unary", invoke, false, time.Hour, codes.Unavailable, 7 * time.Second},
		{"stream", start, false, time.Hour, codes.Unavailable, 7 * time.Second},
		{"unary, early deadline", invoke, false, 2 * time.Second, codes.DeadlineExceeded, 2 * time.Second},
		{"unary that waits", invoke, true, time.Hour, codes.DeadlineExceeded, time.Hour},
		{"stream that waits", start, true, time.Hour, codes.DeadlineExceeded, time.Hour},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refused := grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return nil, io.ErrUnexpectedEOF })
				p := newPool(t, backend.Config{Name: "shop", Target: "passthrough:///nowhere", ReadyTimeout: 7 * time.Second, DialOptions: []grpc.DialOption{refused}})
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				began := time.Now()
				err := tt.run(ctx, p, backend.CallOptions{WaitForReady: tt.waits})
				if status.Code(err) != tt.code || time.Since(began) != tt.after {
					t.Errorf("got %v after %v", err, time.Since(began))
				}
				if _, ok := errors.AsType[*backend.NotTakenError](err); !ok {
					t.Errorf("%T does not say that the RPC did not run", err)
				}
				for _, want := range []string{`"shop"`, "7s", "TRANSIENT_FAILURE"} {
					if tt.code == codes.Unavailable && !strings.Contains(err.Error(), want) {
						t.Errorf("%v does not say %s", err, want)
					}
				}
				if got := p.Streams(); !slices.Equal(got, []int{0}) {
					t.Errorf("streams %v", got)
				}
			})
		})
	}
}

func TestPool_notReadyNamesTheLastError(t *testing.T) {
	srv := listen(t, "")
	srv.Stop()
	p := newPool(t, backend.Config{Target: srv.Addr, ReadyTimeout: time.Millisecond})
	p.WaitFailed()
	_, err := p.Start(t.Context(), echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}
}

// TestPool_growsAndShrinks: the limit is learnt from the backend's SETTINGS, and
// another channel dialled at 80 % of it.
func TestPool_growsAndShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, srv := inProcess(t, backend.Config{}, grpc.MaxConcurrentStreams(10))
		p.WaitReady()
		if got := p.Limits(); !slices.Equal(got, []uint32{10}) {
			t.Fatalf("limits %v, want 10", got)
		}
		var calls []*backend.Call
		open := func(n int) {
			for range n {
				c := start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{Session: "k"})
				send(t, c, testsvc.Request(1, 1))
				recv(t, c)
				calls = append(calls, c)
				synctest.Wait()
			}
		}
		open(8)
		if got := p.Streams(); !slices.Equal(got, []int{8}) {
			t.Fatalf("streams %v", got)
		}
		open(1) // full: a second channel is dialled; this one does not wait for it
		if got := p.Streams(); !slices.Equal(got, []int{9, 0}) {
			t.Fatalf("streams %v", got)
		}
		open(7)
		if got := p.Streams(); !slices.Equal(got, []int{9, 7}) {
			t.Fatalf("streams %v", got)
		}
		if got := srv.Counts().Active; got != 16 {
			t.Fatalf("%d RPCs active", got)
		}
		for _, c := range calls {
			c.Close()
			synctest.Wait()
		}
		if got := p.Streams(); !slices.Equal(got, []int{0}) {
			t.Errorf("streams %v after all ended", got)
		}
	})
}

func TestPool_pinsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := inProcess(t, backend.Config{}, grpc.MaxConcurrentStreams(1000))
		p.WaitReady()
		for range 3 {
			p.Grow()
			synctest.Wait()
		}
		used := map[int]bool{}
		for key := range strings.FieldsSeq("a b c d e f g h i j k l m n o p q r s t u v w x y z") {
			before := p.Streams()
			var calls []*backend.Call
			for range 5 {
				calls = append(calls, start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{Session: key}))
			}
			for i, n := range p.Streams() {
				if n != before[i] {
					used[i] = true
				}
				if n != before[i] && n != before[i]+5 {
					t.Errorf("key %s is spread: %v", key, p.Streams())
				}
			}
			defer func() {
				for _, c := range calls {
					c.Close()
				}
			}()
		}
		if len(used) != 4 {
			t.Errorf("26 keys use %d of 4 channels", len(used))
		}
	})
}

func TestPool_clientConn(t *testing.T) {
	p, srv := inProcess(t, backend.Config{})
	wrapped := newPool(t, backend.Config{ClientConn: p.ClientConn()})
	echo(t, wrapped, backend.CallOptions{})
	if srv.Counts().Started != 1 || !wrapped.Ready() {
		t.Error("not served")
	}
}

func TestPool_health(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := testsvc.New()
		state := health.NewServer()
		state.SetServingStatus("echo", healthpb.HealthCheckResponse_NOT_SERVING)
		healthpb.RegisterHealthServer(srv.GRPC, state)
		p := newPool(t, backend.Config{Server: srv.GRPC, ServiceConfig: `{"healthCheckConfig":{"serviceName":"echo"}}`})
		t.Cleanup(srv.Stop)
		synctest.Wait()
		if p.Ready() || p.States()[connectivity.TransientFailure] != 1 {
			t.Errorf("states %v, want the unhealthy backend out of use", p.States())
		}
		state.SetServingStatus("echo", healthpb.HealthCheckResponse_SERVING)
		synctest.Wait()
		if !p.Ready() {
			t.Errorf("states %v, want ready", p.States())
		}
		state.Shutdown()
	})
}

func TestServiceConfig(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   `{"loadBalancingConfig":[{"round_robin":{}}]}`,
		`{"methodConfig":[]}`:                `{"loadBalancingConfig":[{"round_robin":{}}],"methodConfig":[]}`,
		`{"loadBalancingPolicy":"x"}`:        `{"loadBalancingPolicy":"x"}`,
		`{"loadBalancingConfig":[{"x":{}}]}`: `{"loadBalancingConfig":[{"x":{}}]}`,
	} {
		if got, err := backend.ServiceConfig(in); got != want || err != nil {
			t.Errorf("%s: got %s, %v", in, got, err)
		}
	}
}

func TestStreamLimit(t *testing.T) {
	for _, tt := range []struct {
		settings []byte
		want     uint32
	}{
		{nil, 1<<32 - 1},
		{[]byte{0, 4, 0, 0, 0, 9}, 1<<32 - 1},
		{[]byte{0, 4, 0, 0, 0, 9, 0, 3, 0, 0, 1, 0}, 256},
		{[]byte{0, 3, 0, 0}, 1<<32 - 1},
	} {
		if got := backend.StreamLimit(tt.settings); got != tt.want {
			t.Errorf("%v: got %d, want %d", tt.settings, got, tt.want)
		}
	}
}
