package backend_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

const retryTwice = `{"methodConfig":[{"name":[{}],"retryPolicy":
	{"maxAttempts":3,"initialBackoff":"0.001s","maxBackoff":"0.001s","backoffMultiplier":1,"retryableStatusCodes":["ABORTED"]}}]}`

// TestPool_retry: an RPC is tried again as the service config says, by gRPC
// itself: not after response headers came, and not without a policy.
func TestPool_retry(t *testing.T) {
	for name, tt := range map[string]struct {
		config       string
		headers      bool // before each failure
		failures     int64
		wantAttempts int64
		want         codes.Code
	}{
		"succeeds":          {retryTwice, false, 2, 3, codes.OK},
		"headers have come": {retryTwice, true, 1, 1, codes.Aborted},
		"no policy":         {"", false, 1, 1, codes.Aborted},
	} {
		t.Run(name, func(t *testing.T) {
			var attempts atomic.Int64
			fail := grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
				if attempts.Add(1) > tt.failures {
					return next(srv, ss)
				}
				if tt.headers {
					if err := ss.SendHeader(metadata.Pairs("k", "v")); err != nil {
						return err
					}
				}
				return status.Error(codes.Aborted, "try again")
			})
			p, _ := inProcess(t, backend.Config{ServiceConfig: tt.config}, fail)
			b, err := proto.Marshal(testsvc.Request(1, 10))
			if err != nil {
				t.Fatal(err)
			}
			method := echopb.Echo_ClientStream_FullMethodName // of which the interceptor sees each attempt
			r, err := p.Invoke(t.Context(), method, nil, backend.CallOptions{}, [][]byte{b})
			if status.Code(err) != tt.want || (err == nil) != (len(r.Messages) == 1) || attempts.Load() != tt.wantAttempts {
				t.Errorf("invoked: %v after %d attempts, %d messages", err, attempts.Load(), len(r.Messages))
			}
			attempts.Store(0)
			c := start(t, p, method, nil, backend.CallOptions{SingleRequest: true})
			send(t, c, testsvc.Request(1, 10))
			if tt.want == codes.OK {
				recv(t, c)
			}
			wantEnd(t, c, tt.want)
			if attempts.Load() != tt.wantAttempts {
				t.Errorf("started: %d attempts", attempts.Load())
			}
		})
	}
}

// TestPool_neverIdle: a channel that no RPC has used for a day is as ready as
// ever, on the connection that it began with.
func TestPool_neverIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := new(connections)
		p, _ := inProcess(t, backend.Config{}, grpc.StatsHandler(seen))
		p.WaitReady()
		time.Sleep(24 * time.Hour)
		if !p.Ready() {
			t.Errorf("states %v", p.States())
		}
		echo(t, p, backend.CallOptions{})
		if seen.last != 1 || len(seen.ended) != 0 {
			t.Errorf("%d connections, %v have ended", seen.last, seen.ended)
		}
	})
}
