package cluster_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/cluster/clustertest"
	"github.com/pollbridge/pollbridge/transport"
)

// TestDrain holds where new sessions go that land at a bridge which drains: to
// another one that does not, the same each time; its own sessions and all that is
// said of others go on as before.
func TestDrain(t *testing.T) {
	pair(t, clustertest.Profile{Delay: time.Millisecond}, func(t *testing.T, net *clustertest.Net, near, far *bridge) {
		third := join(t, net, 0x3333)
		defer third.leave()
		time.Sleep(20 * time.Second)
		all := map[string]*bridge{"near": near, "far": far, "third": third}
		land := func(owner uint32) (at string) {
			t.Helper()
			l := near.Accept(t.Context(), hello(transport.WS, owner, 0))
			defer l.Close()
			answered := make(chan struct{})
			go func() {
				defer close(answered)
				_, _ = l.Next(t.Context(), 1<<10)
			}()
			time.Sleep(100 * time.Millisecond)
			for name, b := range all {
				select {
				case taken := <-b.local.accepted:
					taken.say <- []byte("taken")
					if at != "" {
						t.Errorf("taken by %s and %s", at, name)
					}
					at = name
				default:
				}
			}
			<-answered
			return at
		}
		want := func(what string, owner uint32, bridges ...string) string {
			t.Helper()
			got := land(owner)
			if slices.Contains(bridges, got) {
				return got
			}
			t.Errorf("%s was taken by %q, want one of %q", what, got, bridges)
			return got
		}
		want("a new session", 0, "near")
		near.Drain()
		time.Sleep(time.Second)
		first := want("a new session of a bridge that drains", 0, "far", "third")
		want("its Hello, sent again", 0, first)
		near.local.known = id
		want("a Hello of a session that is here", 0, "near")
		near.local.known = nil
		want("a link of an own session", here, "near")
		want("a link of another bridge's session", there, "far")
		all[first].Drain()
		time.Sleep(time.Second)
		second := want("a new session, of two that drain", 0, "far", "third")
		if second == first {
			t.Errorf("new sessions go to %s, which drains", first)
		}
		all[second].Drain()
		time.Sleep(time.Second)
		want("a new session, of three that drain", 0, "near")
		synctest.Wait()
	})
}
