package e2e_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/demo/demopb"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// first is a backend that knows every method, and leaves its first RPC without
// an end: after the headers, if it is asked for them.
type first struct {
	began atomic.Int64
}

func (f *first) serve(_ any, ss grpc.ServerStream) error {
	if f.began.Add(1) > 1 {
		return ss.SendMsg(new(emptypb.Empty))
	}
	if md, _ := metadata.FromIncomingContext(ss.Context()); md.Get("headers") != nil {
		if err := ss.SendHeader(nil); err != nil {
			return err
		}
	}
	<-ss.Context().Done()
	return status.FromContextError(ss.Context().Err()).Err()
}

// losses are the ways in which a session is lost.
var losses = map[string]func(w *world, next *bridge.Server){
	"bridge restarted": func(w *world, next *bridge.Server) {
		w.next.Store(next)
		w.Cut()
	},
	"network gone": func(w *world, _ *bridge.Server) {
		w.away.Store(true)
		w.Cut()
		time.Sleep(150 * time.Second)
		w.away.Store(false)
	},
}

// TestResend: an RPC that a lost session had sent is sent again when its method
// is declared harmless to run twice and the user asked for it, or marked it
// himself, and no answer had come; no other one is.
func TestResend(t *testing.T) {
	const declared, undeclared = demopb.Demo_Greet_FullMethodName, echopb.Echo_Unary_FullMethodName
	for name, tt := range map[string]struct {
		method   string
		config   client.Config
		opts     []grpc.CallOption
		streams  bool // of requests
		answered bool // in part
		again    bool
	}{
		"declared, asked for":         {method: declared, config: client.Config{ResendIdempotent: true}, again: true},
		"declared, not asked for":     {method: declared},
		"asked for, not declared":     {method: undeclared, config: client.Config{ResendIdempotent: true}},
		"marked":                      {method: undeclared, opts: []grpc.CallOption{client.Idempotent()}, again: true},
		"declared, but with requests": {method: declared, config: client.Config{ResendIdempotent: true}, streams: true},
		"answered":                    {method: declared, config: client.Config{ResendIdempotent: true}, answered: true},
		"marked, answered":            {method: undeclared, opts: []grpc.CallOption{client.Idempotent()}, answered: true},
	} {
		for cause, lose := range losses {
			t.Run(name+", "+cause, func(t *testing.T) {
				each(t, func(t *testing.T, choice []string) {
					backend := new(first)
					srv := grpc.NewServer(grpc.UnknownServiceHandler(backend.serve))
					defer srv.Stop()
					cfg := bridge.Config{Backends: []bridge.Backend{{GRPCServer: srv, Services: []string{"pollbridge."}}}}
					w := newWorld(t, choice, cfg)
					next, err := bridge.New(cfg)
					check(t, err)
					defer func() { check(t, next.Shutdown(context.Background())) }()
					config := tt.config
					config.Transports = choice
					ch := w.Client(t, config)
					time.Sleep(time.Second) // before the Welcome, what is declared harmless may run twice in any case (O4)
					ctx := t.Context()
					if tt.answered {
						ctx = metadata.AppendToOutgoingContext(ctx, "headers", "yes")
					}
					stream, err := ch.NewStream(ctx, &grpc.StreamDesc{ClientStreams: tt.streams, ServerStreams: tt.answered}, tt.method, tt.opts...)
					if err != nil {
						t.Fatal(err)
					}
					check(t, stream.SendMsg(new(emptypb.Empty)))
					if tt.answered {
						_, err := stream.Header()
						check(t, err)
					}
					time.Sleep(time.Second)
					if n := backend.began.Load(); n != 1 {
						t.Fatalf("begun %d times before the loss", n)
					}
					lose(w, next)
					wantResent(t, stream.RecvMsg(new(emptypb.Empty)), tt.again)
					time.Sleep(10 * time.Minute)
					if n := backend.began.Load(); n != 1 && !tt.again || n != 2 && tt.again {
						t.Errorf("begun %d times", n)
					}
				})
			})
		}
	}
}

func wantResent(t *testing.T, err error, again bool) {
	t.Helper()
	if again && err != nil {
		t.Errorf("an RPC that may be sent again: %v", err)
	}
	if !again && (status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "may have run")) {
		t.Errorf("an RPC that may not be sent again: %v", err)
	}
}
