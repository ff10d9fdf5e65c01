package backend_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/stats"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// connections numbers a server's connections, and notes which RPC came on which
// and which have ended.
type connections struct {
	mu    sync.Mutex
	last  int
	rpcs  []int
	ended []int
}

type connectionKey struct{}

func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	return context.WithValue(ctx, connectionKey{}, c.last)
}

func (c *connections) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnEnd); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.ended = append(c.ended, ctx.Value(connectionKey{}).(int))
	}
}

func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rpcs = append(c.rpcs, ctx.Value(connectionKey{}).(int))
	return ctx
}

func (*connections) HandleRPC(context.Context, stats.RPCStats) {}

// TestPool_perSession: each session has a connection of its own, which ends with
// the session, also when an RPC of it is still open; and one that comes after
// its session's end keeps nothing open.
func TestPool_perSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := new(connections)
		p, srv := inProcess(t, backend.Config{PerSession: true}, grpc.StatsHandler(seen))
		p.WaitReady()
		over := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{})}
		for _, session := range []string{"a", "b", "a", "b"} {
			echo(t, p, backend.CallOptions{Session: session, SessionDone: over[session]})
		}
		if want := []int{2, 3, 2, 3}; !slices.Equal(seen.rpcs, want) {
			t.Errorf("RPCs came on connections %v, want %v", seen.rpcs, want)
		}
		open := start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{Session: "a", SessionDone: over["a"]})
		close(over["a"])
		synctest.Wait()
		if !slices.Equal(seen.ended, []int{2}) || srv.Counts().Active != 0 {
			t.Errorf("connections %v have ended, %d RPCs are active", seen.ended, srv.Counts().Active)
		}
		open.Close()
		if late, err := p.Start(t.Context(), echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{Session: "a", SessionDone: over["a"]}); err == nil {
			late.Close()
		}
		synctest.Wait()
		if got := p.States()[connectivity.Ready]; got != 2 {
			t.Errorf("%d channels, want b's and the shared one", got)
		}
		echo(t, p, backend.CallOptions{Session: "b", SessionDone: over["b"]})
		if got := seen.rpcs[len(seen.rpcs)-1]; got != 3 {
			t.Errorf("b has moved to connection %d", got)
		}
	})
}
