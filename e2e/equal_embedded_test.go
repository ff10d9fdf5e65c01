package e2e_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// embeddings are the ways in which an application hands its gRPC server to a bridge
// with no TCP between.
var embeddings = map[string]func(*testing.T, *testsvc.Server) bridge.Backend{
	"server": func(_ *testing.T, svc *testsvc.Server) bridge.Backend { return bridge.Backend{GRPCServer: svc.GRPC} },
	"channel": func(t *testing.T, svc *testsvc.Server) bridge.Backend {
		return bridge.Backend{ClientConn: ownChannel(t, svc)}
	},
	// As an application has one with interceptors or metrics around it.
	"wrapped channel": func(t *testing.T, svc *testsvc.Server) bridge.Backend {
		return bridge.Backend{ClientConn: struct{ grpc.ClientConnInterface }{ownChannel(t, svc)}}
	},
}

func ownChannel(t *testing.T, svc *testsvc.Server) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(256 << 10)
	svc.Serve(l)
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) })
	cc, err := grpc.NewClient("passthrough:///own", dial, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, cc.Close()) })
	return cc
}

// TestEmbedded_asDirectly runs all kinds of RPC on what an application gave the
// bridge of its own. When the bridge has shut down it is still the
// application's: neither closed nor stopped.
func TestEmbedded_asDirectly(t *testing.T) {
	i := 0
	for way, embed := range embeddings {
		t.Run(way, func(t *testing.T) {
			each(t, func(t *testing.T, choice []string) {
				own := testsvc.New()
				t.Cleanup(own.Stop)
				backend := embed(t, own)
				backend.Services = []string{"pollbridge.test."}
				w := newWorld(t, choice, bridge.Config{Backends: []bridge.Backend{backend}})
				for _, name := range []string{"fragments", "metadata", "details", "early end", "deadline", "gzip"} {
					for kind, run := range kinds {
						if i++; !sampled(i) {
							continue
						}
						compare(t, kind+", "+name, w, func(cc grpc.ClientConnInterface) string { return play(t, run, cc, scenarios[name]) })
					}
				}
				synctest.Wait()
				if got, want := own.Counts(), w.Service.Counts(); got != want || got.Active != 0 {
					t.Errorf("RPCs through the bridge %+v, directly %+v", got, want)
				}
				check(t, w.Bridge.Shutdown(t.Context()))
				cc := backend.ClientConn
				if cc == nil {
					cc = ownChannel(t, own)
				}
				_, err := echopb.NewEchoClient(cc).Unary(t.Context(), testsvc.Request(1, 1))
				check(t, err)
			})
		})
	}
}
