package backend_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// TestPool_readyWithinBackoff: however long a backend was away, its channel is
// ready again within the longest backoff and its jitter, with no RPC.
func TestPool_readyWithinBackoff(t *testing.T) {
	for _, away := range []time.Duration{time.Second, time.Minute, 10 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			srv := testsvc.New()
			l := bufconn.Listen(1 << 16)
			srv.Serve(l)
			var up atomic.Bool
			p := newPool(t, backend.Config{Target: "passthrough:///b", DialOptions: []grpc.DialOption{
				grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					if !up.Load() {
						return nil, errors.New("away")
					}
					return l.DialContext(ctx)
				}),
			}})
			t.Cleanup(srv.Stop)
			time.Sleep(away)
			if p.Ready() {
				t.Fatal("ready without a backend")
			}
			up.Store(true)
			back := time.Now()
			p.WaitReady()
			if took := time.Since(back); took > 6*time.Second {
				t.Errorf("away for %v: ready %v after", away, took)
			}
		})
	}
}

// log keeps what is logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines are those of a level.
func (l *log) lines(level string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(strings.Split(l.text.String(), "\n"), func(line string) bool { return !strings.Contains(line, "level="+level) })
}

// TestPool_logsChanges: however long a backend is away, and however often it is
// dialled, its loss is logged once, and so is its return.
func TestPool_logsChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		var listening atomic.Pointer[bufconn.Listener]
		log := new(log)
		p := newPool(t, backend.Config{Name: "shop", Target: "passthrough:///b", Logger: log.logger(), DialOptions: []grpc.DialOption{
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				dials.Add(1)
				if l := listening.Load(); l != nil {
					return l.DialContext(ctx)
				}
				return nil, errors.New("away")
			}),
		}})
		for round := 1; round <= 3; round++ {
			time.Sleep(time.Hour)
			if lines := log.lines("WARN"); len(lines) != round || !strings.Contains(lines[round-1], "shop") {
				t.Fatalf("away for the %d. time, logged %q", round, lines)
			}
			srv, l := testsvc.New(), bufconn.Listen(1<<16)
			srv.Serve(l)
			listening.Store(l)
			p.WaitReady()
			synctest.Wait()
			if lines := log.lines("INFO"); len(lines) != round || !strings.Contains(lines[round-1], "ready") {
				t.Fatalf("back for the %d. time, logged %q", round, lines)
			}
			listening.Store(nil)
			srv.Stop()
		}
		if dials.Load() < 3*3600/6 {
			t.Errorf("dialled %d times in 3 h", dials.Load())
		}
	})
}

// TestPool_quietStream: a server with grpc-go's defaults takes no offence at a
// quiet stream under the profile safe in a day. Under fast it does, unless its
// policy permits the pings; nor is a server given up that only answers slowly.
func TestPool_quietStream(t *testing.T) {
	permits := grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true})
	for _, tt := range []struct {
		profile backend.Profile
		policy  []grpc.ServerOption
		lives   bool
	}{
		{backend.Safe, nil, true},
		{backend.Balanced, nil, false},
		{backend.Fast, nil, false},
		{backend.Balanced, []grpc.ServerOption{permits}, true},
		{backend.Fast, []grpc.ServerOption{permits}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			log := new(log)
			p, _ := inProcess(t, backend.Config{Profile: tt.profile, Logger: log.logger()}, tt.policy...)
			c := start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{})
			req := testsvc.Request(1, 10)
			req.Script = &echopb.Script{DelayMs: uint32(24 * time.Hour / time.Millisecond)}
			send(t, c, req)
			if tt.lives {
				if err := testsvc.Check(recv(t, c), 1, 10); err != nil {
					t.Error(err)
				}
				return
			}
			if end := wantEnd(t, c, codes.Unavailable); !strings.Contains(end.Message(), "too_many_pings") {
				t.Errorf("%s: ended with %v", tt.profile, end)
			}
			if lines := log.lines("WARN"); p.Complaints() != 1 || len(lines) != 1 || !strings.Contains(lines[0], "too_many_pings") {
				t.Errorf("%s: %d complaints, logged %q", tt.profile, p.Complaints(), lines)
			}
		})
	}
}

// TestPool_policies: what the service config names is there, or New says that
// it is not.
func TestPool_policies(t *testing.T) {
	a, b := listen(t, ""), listen(t, "")
	for config, ok := range map[string]bool{
		`{"loadBalancingConfig":[{"pick_first":{}}]}`:                                            true,
		`{"loadBalancingConfig":[{"least_request_experimental":{"choiceCount":2}}]}`:             true,
		`{"loadBalancingConfig":[{"ring_hash_experimental":{"requestHashHeader":"x-session"}}]}`: true,
		`{"loadBalancingPolicy":"round_robin"}`:                                                  true,
		`{"methodConfig":[{"name":[{}],"timeout":"5s","waitForReady":false}]}`:                   true,
		`{"healthCheckConfig":{"serviceName":""}}`:                                               true,
		`{"loadBalancingConfig":[{"ring_hash_experimental":{"minRingSize":9,"maxRingSize":1}}]}`: false,
		`{"loadBalancingConfig":[{"least_request_experimental":{"choiceCount":1}}]}`:             false,
		`{"loadBalancingConfig":[{"unheard_of":{}}]}`:                                            false,
		`{"methodConfig":[{"name":[{}],"timeout":"soon"}]}`:                                      false,
		`{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":1}}]}`:                       false,
		`{"methodConfig":{}}`: false,
	} {
		p, err := backend.New(filled(backend.Config{Target: a.Addr + "," + b.Addr, ServiceConfig: config}))
		if (err == nil) != ok {
			t.Errorf("%s: got %v", config, err)
		}
		if err != nil {
			continue
		}
		echo(t, p, backend.CallOptions{})
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
