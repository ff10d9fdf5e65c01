package bridge_test

import (
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// natsCluster starts three NATS servers that are one cluster.
func natsCluster(t *testing.T) (all [3]*natsserver.Server) {
	t.Helper()
	var routes string
	for i := range all {
		s, err := natsserver.NewServer(&natsserver.Options{
			Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoLog: true, NoSigs: true, Routes: natsserver.RoutesFromStr(routes),
			Cluster: natsserver.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: natsserver.RANDOM_PORT},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("NATS does not start")
		}
		if i == 0 {
			routes = "nats://" + s.ClusterAddr().String()
		}
		all[i] = s
	}
	return all
}

// TestCluster_serverGone holds that a session goes on whose bridge loses its NATS
// server: it has another one soon, and is not taken for gone meanwhile.
func TestCluster_serverGone(t *testing.T) {
	for name, transports := range clusterTransports {
		t.Run(name, func(t *testing.T) {
			servers := natsCluster(t)
			var urls [3]string
			for i := range urls {
				urls[i] = strings.Join([]string{servers[i].ClientURL(), servers[(i+1)%3].ClientURL(), servers[(i+2)%3].ClientURL()}, ",")
			}
			f := newFleetAt(t, bridge.Config{}, urls)
			f.wait(t, "pollbridge_cluster_peers ", 6)
			f.only.Store(0)
			c := f.client(t, client.Config{Transports: transports})
			if err := chat(t.Context(), c, 1, 10); err != nil {
				t.Fatal(err)
			}
			stream, err := echopb.NewEchoClient(c).Bidi(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			f.only.Store(1)
			f.conns.cut()
			for n := range uint64(60) {
				if n == 20 {
					servers[0].Shutdown()
					servers[0].WaitForShutdown()
				}
				if err := stream.Send(testsvc.Request(n+1, 1000)); err != nil {
					t.Fatal(err)
				}
				reply, err := stream.Recv()
				if err == nil {
					err = testsvc.Check(reply, n+1, 1000)
				}
				if err != nil {
					t.Fatalf("message %d: %v", n+1, err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if n := f.metric(t, `pollbridge_cluster_failures_total{reason="gone"} `); n != 0 {
				t.Errorf("%v links ended as those of a bridge that is gone", n)
			}
		})
	}
}
