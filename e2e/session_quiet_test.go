package e2e_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// departures are the ways in which a bridge goes while nobody calls.
var departures = map[string]func(t *testing.T, w *world, next *bridge.Server){
	"drained": func(t *testing.T, w *world, next *bridge.Server) {
		w.down = true
		check(t, w.Bridge.Shutdown(context.Background()))
		w.next.Store(next)
	},
	"drained, and its connections cut": func(t *testing.T, w *world, next *bridge.Server) {
		w.down = true
		check(t, w.Bridge.Shutdown(context.Background()))
		w.next.Store(next)
		w.Cut()
	},
	"killed": func(_ *testing.T, w *world, next *bridge.Server) {
		w.next.Store(next)
		w.Cut()
	},
}

// TestQuietRestart: a call that may not run twice, begun on a session whose bridge
// went unnoticed, runs once, on the next one.
func TestQuietRestart(t *testing.T) {
	for name, depart := range departures {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, choice []string) {
				var begun atomic.Int64
				srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, ss grpc.ServerStream) error {
					begun.Add(1)
					return ss.SendMsg(new(emptypb.Empty))
				}))
				defer srv.Stop()
				cfg := bridge.Config{Backends: []bridge.Backend{{GRPCServer: srv, Services: []string{"pollbridge."}}}}
				w := newWorld(t, choice, cfg)
				next, err := bridge.New(cfg)
				check(t, err)
				defer func() { check(t, next.Shutdown(context.Background())) }()
				call := func() {
					check(t, w.Bridged.Invoke(t.Context(), echopb.Echo_Unary_FullMethodName, new(emptypb.Empty), new(emptypb.Empty)))
				}
				call()
				time.Sleep(30 * time.Second)
				depart(t, w, next)
				synctest.Wait() // what was cut is noticed
				call()
				if n := begun.Load(); n != 2 {
					t.Errorf("%d RPCs were begun, want 2", n)
				}
			})
		})
	}
}
