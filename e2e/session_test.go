package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// each runs a test in a bubble of its own for each choice of transport.
func each(t *testing.T, run func(t *testing.T, choice []string)) {
	for name, choice := range transports {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { run(t, choice) })
		})
	}
}

// TestMany: a thousand RPCs at once on one session.
func TestMany(t *testing.T) {
	const n = 1000
	each(t, func(t *testing.T, choice []string) {
		w := newWorld(t, choice, bridge.Config{})
		var calls sync.WaitGroup
		ready := make(chan struct{})
		for range n {
			calls.Go(func() {
				stream, err := echopb.NewEchoClient(w.Bridged).Bidi(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				for number := range uint64(2) {
					if err := stream.Send(testsvc.Request(number+1, 100)); err != nil {
						t.Error(err)
					}
					reply, err := stream.Recv()
					if err != nil {
						t.Error(err)
						return
					}
					if err := testsvc.Check(reply, number+1, 100); err != nil {
						t.Error(err)
					}
					<-ready
				}
				_ = stream.CloseSend()
				if _, err := stream.Recv(); err == nil {
					t.Error("a third reply")
				}
			})
		}
		for w.Service.Counts().Active < n {
			time.Sleep(10 * time.Millisecond)
		}
		close(ready)
		calls.Wait()
		synctest.Wait()
		if c := w.Service.Counts(); c.Started != n || c.Active != 0 {
			t.Errorf("backend's counts are %+v", c)
		}
	})
}

// TestSlowReader: a reader that stops slows the backend down, and nobody else.
func TestSlowReader(t *testing.T) {
	each(t, func(t *testing.T, choice []string) {
		w := newWorld(t, choice, bridge.Config{})
		echo := echopb.NewEchoClient(w.Bridged)
		slow, err := echo.ServerStream(t.Context(), &echopb.Request{Script: &echopb.Script{Replies: 100, ReplyBytes: 50_000}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := slow.Recv(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if held := w.Service.Counts().Active; held != 1 {
			t.Errorf("the backend has sent 5 MB to nobody")
		}
		for range 20 {
			if _, err := echo.Unary(t.Context(), testsvc.Request(1, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		for n := uint64(2); n <= 100; n++ {
			reply, err := slow.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if err := testsvc.Check(reply, n, 50_000); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestCancel_reachesTheBackend(t *testing.T) {
	each(t, func(t *testing.T, choice []string) {
		w := newWorld(t, choice, bridge.Config{})
		for kind, run := range kinds {
			before := w.Service.Counts().Cancelled
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			tr := run(ctx, w.Bridged, scenario{requests: 1, script: &echopb.Script{Hang: true}})
			if want := "code:1"; !strings.HasPrefix(tr.Status, want) {
				t.Errorf("%s: status %s", kind, tr.Status)
			}
			time.Sleep(time.Second)
			if c := w.Service.Counts(); c.Active != 0 || c.Cancelled != before+1 {
				t.Errorf("%s: backend's counts are %+v", kind, c)
			}
		}
	})
}

func TestShutdown(t *testing.T) {
	each(t, func(t *testing.T, choice []string) {
		w := newWorld(t, choice, bridge.Config{DrainTimeout: 10 * time.Second})
		echo := echopb.NewEchoClient(w.Bridged)
		results := make(chan error, 2)
		for _, delay := range []uint32{5_000, 60_000} {
			go func() {
				_, err := echo.Unary(t.Context(), &echopb.Request{Script: &echopb.Script{DelayMs: delay}})
				results <- err
			}()
		}
		time.Sleep(time.Second)
		began := time.Now()
		err := w.Bridge.Shutdown(context.Background())
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("shutdown took %v", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-results; err != nil {
			t.Errorf("the RPC that had time: %v", err)
		}
		if err := <-results; status.Code(err) != codes.Unavailable {
			t.Errorf("the RPC that was cut: %v", err)
		}
		synctest.Wait()
		if n := w.Service.Counts().Active; n != 0 {
			t.Errorf("%d RPCs still run at the backend", n)
		}
		w.down = true
	})
}

// reflected is the metadata that a backend saw.
func reflected(ctx context.Context, cc grpc.ClientConnInterface) (map[string]string, error) {
	reply, err := echopb.NewEchoClient(cc).Unary(ctx, &echopb.Request{Script: &echopb.Script{Reflect: true}})
	seen := map[string]string{}
	for _, p := range reply.GetMetadata() {
		seen[p.GetKey()] += string(p.GetValue())
	}
	return seen, err
}

func TestAuthenticate(t *testing.T) {
	each(t, func(t *testing.T, choice []string) {
		asked := 0
		w := newWorld(t, choice, bridge.Config{
			Authenticate: func(_ context.Context, info bridge.AuthInfo) (bridge.Principal, error) {
				asked++
				switch {
				case !strings.HasPrefix(info.Request.URL.Path, "/bridge/v1/") || info.Request.Host == "" || info.Request.Header.Get("User-Agent") == "" || info.RemoteAddr == "":
					return bridge.Principal{}, errors.New("no request")
				case info.Token == "":
					return bridge.Principal{}, status.Error(codes.Unauthenticated, "a token is needed")
				case info.Token != "good":
					return bridge.Principal{}, errors.New("the store says: " + info.Token)
				}
				return bridge.Principal{Name: "ann", Value: 7}, nil
			},
			ForwardHeaders: []string{"X-Tenant", "Cookie", "X-Absent"},
		})
		if _, err := reflected(t.Context(), w.Bridged); status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "a token is needed") {
			t.Errorf("without a token: %v", err)
		}
		header := map[string][]string{"X-Tenant": {"acme"}, "Cookie": {"a=b"}}
		token := func(s string) func(context.Context) (string, error) {
			return func(context.Context) (string, error) { return s, nil }
		}
		bad := w.Client(t, client.Config{Transports: choice, Token: token("bad")})
		if _, err := reflected(t.Context(), bad); err == nil || strings.Contains(err.Error(), "store") {
			t.Errorf("with a bad token: %v", err)
		}
		good := w.Client(t, client.Config{Transports: choice, Token: token("good"), Header: header})
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x-tenant", "forged", "cookie", "forged", "x-absent", "forged", "mine", "kept")
		seen, err := reflected(ctx, good)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(seen["x-tenant"], seen["cookie"], seen["x-absent"], seen["mine"]); got != "acmea=bkept" {
			t.Errorf("the backend saw %v", seen)
		}
		if asked < 3 {
			t.Errorf("asked %d times", asked)
		}
	})
}

func TestBackends_longestPrefixWins(t *testing.T) {
	each(t, func(t *testing.T, choice []string) {
		other := testsvc.New()
		defer other.Stop()
		w := newWorld(t, choice, bridge.Config{Backends: []bridge.Backend{{Name: "other", GRPCServer: other.GRPC, Services: []string{"pollbridge.test.", "x."}}}})
		if _, err := reflected(t.Context(), w.Bridged); err != nil {
			t.Fatal(err)
		}
		if other.Counts().Started != 1 || w.Service.Counts().Started != 0 {
			t.Errorf("other has %+v, the rest %+v", other.Counts(), w.Service.Counts())
		}
		err := w.Bridged.Invoke(t.Context(), "/unknown.Service/M", new(echopb.Request), new(echopb.Reply))
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v", err)
		}
		err = w.Bridged.Invoke(t.Context(), "/grpc.reflection.v1.ServerReflection/X", new(echopb.Request), new(echopb.Reply))
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("got %v", err)
		}
	})
}

// TestChannelPerSession: a session's channel is its own, and ends with it.
func TestChannelPerSession(t *testing.T) {
	each(t, func(t *testing.T, choice []string) {
		open := new(atomic.Int64)
		other := testsvc.New(grpc.StatsHandler(connections{open}))
		defer other.Stop()
		w := newWorld(t, choice, bridge.Config{Backends: []bridge.Backend{
			{Name: "other", GRPCServer: other.GRPC, Services: []string{"pollbridge.test."}, ChannelPerSession: true},
		}})
		call := func(ch *client.Channel) {
			if _, err := echopb.NewEchoClient(ch).Unary(t.Context(), new(echopb.Request)); err != nil {
				t.Error(err)
			}
		}
		second := w.Client(t, client.Config{Transports: choice})
		for range 3 {
			call(w.Bridged)
			call(second)
		}
		if n := open.Load(); n != 3 {
			t.Errorf("%d connections, want the shared one and one for each of 2 sessions", n)
		}
		check(t, second.Close())
		synctest.Wait()
		if n := open.Load(); n != 2 {
			t.Errorf("%d connections after the end of a session, want 2", n)
		}
		call(w.Bridged)
	})
}

// connections counts a server's open connections.
type connections struct{ open *atomic.Int64 }

func (connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (connections) HandleRPC(context.Context, stats.RPCStats)                         {}

func (c connections) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.open.Add(1)
	case *stats.ConnEnd:
		c.open.Add(-1)
	}
}

// TestFirstRPC_late makes a channel's first RPC before and after the bridge has
// forgotten a session from which only Hellos came (rule O4).
func TestFirstRPC_late(t *testing.T) {
	for _, wait := range []time.Duration{20 * time.Second, 29 * time.Second, 40 * time.Second, 3 * time.Minute} {
		each(t, func(t *testing.T, choice []string) {
			w := newWorld(t, choice, bridge.Config{})
			time.Sleep(wait)
			if _, err := echopb.NewEchoClient(w.Bridged).Unary(t.Context(), new(echopb.Request)); err != nil {
				t.Errorf("after %v: %v", wait, err)
			}
		})
	}
}

// TestIdle: the first RPC after any time of doing nothing is as the first of
// all.
func TestIdle(t *testing.T) {
	for _, idle := range []time.Duration{10 * time.Second, 29 * time.Second, time.Minute, 100 * time.Second, time.Hour} {
		t.Run(idle.String(), func(t *testing.T) {
			each(t, func(t *testing.T, choice []string) {
				w := newWorld(t, choice, bridge.Config{})
				want := play(t, kinds["unary"], w.Direct, scenarios["plain"])
				for range 2 {
					time.Sleep(idle)
					if got := play(t, kinds["unary"], w.Bridged, scenarios["plain"]); got != want {
						t.Errorf("after %v:\n%.600s\nwant\n%.600s", idle, got, want)
					}
				}
			})
		})
	}
}
