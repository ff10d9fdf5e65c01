package transporttest

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/pollbridge/pollbridge/transport"
)

// closeAtEachStep breaks the link at the first step of a small story, then at
// the second, and so on until the story ends before.
func closeAtEachStep(t *testing.T, kind transport.Kind, start Start) {
	for _, f := range []fault{loseRequest, loseAnswer, mute} {
		for step, over := 0, false; !over; step++ {
			if step == 200 {
				t.Fatalf("%s: the story has no end", f)
			}
			t.Run(fmt.Sprintf("%s at step %d", f, step), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, kind, start, Pipes(t), scenario{plan: func(at int) fault {
						if at == step {
							return f
						}
						return none
					}})
					for i, sizes := range [][]int{{10}, {10, 70 << 10, 10}, {}} {
						if err := r.echo(t.Context(), fmt.Sprintf("rpc%d", i), sizes); err != nil {
							t.Fatal(err)
						}
					}
					r.startedOnce(t, 3)
					over = r.network.taken() <= step
				})
			})
			if t.Failed() {
				return
			}
		}
	}
}
