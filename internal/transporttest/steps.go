package transporttest

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/transport"
)

// breaks are the ways to break what is there.
var breaks = []struct {
	name string
	now  func(*simnet.Network)
}{
	{"cut", (*simnet.Network).Cut},
	{"mute", func(n *simnet.Network) {
		n.MuteSockets(true, true)
		n.MuteExchanges(true, true)
	}},
}

// breakAtEachStep breaks the link at the network's first step in a small story,
// then at the second, and so on until the story ends before.
func breakAtEachStep(t *testing.T, kind transport.Kind, start Start) {
	for _, b := range breaks {
		for step, over := 1, false; !over; step++ {
			if step == 200 {
				t.Fatalf("%s: the story has no end", b.name)
			}
			t.Run(fmt.Sprintf("%s at step %d", b.name, step), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, kind, start, Pipes(t), scenario{})
					r.network.At(step, func() { b.now(r.network) })
					for i, sizes := range [][]int{{10}, {10, 70 << 10, 10}, {}} {
						if err := r.echo(t.Context(), fmt.Sprintf("rpc%d", i), sizes); err != nil {
							t.Fatal(err)
						}
					}
					r.startedOnce(t, 3)
					over = r.network.Steps() < step
				})
			})
			if t.Failed() {
				return
			}
		}
	}
}
