package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/internal/admin"
	"github.com/pollbridge/pollbridge/internal/cluster"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/transport"
)

// ValidClusterName reports whether name can be a Config.ClusterName.
func ValidClusterName(name string) bool { return cluster.ValidName(name) }

// joinCluster makes the bridge one of its cluster.
func (s *Server) joinCluster() (err error) {
	cfg := cluster.Config{
		Name: s.cfg.ClusterName, Node: nodeName(), Release: "pollbridge/" + Version(),
		Local: s.registry, Sessions: func() int { return s.registry.Stats().Sessions }, Fabric: cluster.NATS(s.cfg.Cluster), MaxBatch: s.cfg.MaxBatchBytes,
		Measured: s.metrics.forwarding, Logger: s.cfg.Logger,
	}
	if s.cfg.Authenticate != nil || len(s.cfg.ForwardHeaders) > 0 {
		cfg.Authenticate = s.identifyForCluster
	}
	s.cluster, err = cluster.New(cfg)
	return err
}

// nodeName is what the bridge is called in the logs of others.
func nodeName() string {
	name, _ := os.Hostname()
	return fmt.Sprintf("%.200s:%d", cmp.Or(name, "unknown"), os.Getpid())
}

// identifyForCluster is cluster.Config's Authenticate: who the client of a link is
// that landed here.
func (s *Server) identifyForCluster(ctx context.Context, hello transport.Hello, token string) (cluster.Identity, error) {
	id, err := s.clientOf(ctx, hello, token)
	if err != nil {
		return cluster.Identity{}, &cluster.Refusal{Text: err.Error(), TryLater: errors.Is(err, registry.ErrTryLater)}
	}
	return cluster.Identity{
		Name: id.principal.Name, Expires: id.principal.Expires, Metadata: id.metadata, AllowMethods: id.principal.AllowMethods,
	}, nil
}

// askCluster asks the bridge where a link landed who its client is. ok is false if
// that is this one.
func askCluster(ctx context.Context, token string) (id *identity, ok bool, err error) {
	who, ok, err := cluster.Ask(ctx, token)
	if refusal, is := errors.AsType[*cluster.Refusal](err); is && refusal.TryLater {
		return nil, ok, tryLater{err}
	}
	if !ok || err != nil {
		return nil, ok, err
	}
	id, err = newIdentity(Principal{
		Name: who.Name, Metadata: who.Metadata, AllowMethods: who.AllowMethods, Expires: who.Expires,
	}, metadata.MD{})
	return id, true, err
}

// clusterState is the cluster for those who inspect the bridge.
func (s *Server) clusterState() *admin.Cluster {
	state := &admin.Cluster{Name: s.cluster.Node(), State: "connected", Nodes: []admin.Node{}}
	if !s.cluster.Stats().Connected {
		state.State = "disconnected"
	}
	for _, p := range s.cluster.Peers() {
		node := admin.Node{Name: p.Node, State: "connected", Since: p.Since, Sessions: p.Sessions, Links: p.Links}
		if p.Silent {
			node.State = "silent"
		}
		state.Nodes = append(state.Nodes, node)
	}
	return state
}

// writeClusterState says how the cluster is. That NATS is away does not make the
// bridge unready: its own sessions go on.
func (s *Server) writeClusterState(w io.Writer) {
	if s.cluster == nil {
		return
	}
	st := s.cluster.Stats()
	if !st.Connected {
		fmt.Fprintf(w, "cluster %s: no connection to NATS, only own sessions are served\n", s.cfg.ClusterName)
		return
	}
	fmt.Fprintf(w, "cluster %s: connected, %d other bridges\n", s.cfg.ClusterName, st.Peers)
}
