package cluster_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/cluster/clustertest"
	"github.com/pollbridge/pollbridge/transport"
)

// outcome is what a link to far gets that lands at near now: "unknown", "unavailable",
// or "taken". It takes at most a second.
func outcome(t *testing.T, near, far *bridge) string {
	t.Helper()
	for len(far.local.accepted) > 0 {
		<-far.local.accepted
	}
	l := near.Accept(t.Context(), hello(transport.WS, far.local.instance, 0))
	defer l.Close()
	done := make(chan string, 1)
	go func() {
		switch got, err := next(t, l); {
		case got == "unknown "+string(id):
			done <- "unknown"
		case errors.Is(err, transport.ErrUnavailable):
			done <- "unavailable"
		default:
			done <- got + "?"
		}
	}()
	select {
	case got := <-done:
		return got
	case owned := <-far.local.accepted:
		owned.say <- []byte("taken")
		<-done
		return "taken"
	case <-time.After(time.Second):
		return "nothing"
	}
}

// TestMissing holds when a bridge counts as gone whose subject nobody subscribes to,
// with two NATS servers: far is at the second of them, near at the first.
func TestMissing(t *testing.T) {
	for name, tt := range map[string]struct {
		what func(net *clustertest.Net, near, far *bridge)
		at   map[time.Duration]string // what links get that long after it
	}{
		"its server dies, and it has another 5 s later": {func(_ *clustertest.Net, _, far *bridge) {
			far.node.Connect(false)
			time.AfterFunc(5*time.Second, func() { far.node.Move("first"); far.node.Connect(true) })
		}, map[time.Duration]string{0: "unavailable", time.Second: "unavailable", 4 * time.Second: "unavailable", 6 * time.Second: "taken", time.Minute: "taken"}},
		"its server drops it, and it is back 300 ms later": {func(_ *clustertest.Net, _, far *bridge) {
			far.node.Move("first")
			time.Sleep(6 * time.Second) // it has said so
			far.node.Connect(false)
			time.AfterFunc(300*time.Millisecond, func() { far.node.Connect(true) })
		}, map[time.Duration]string{0: "unavailable", time.Second: "taken"}},
		"it is killed": {func(_ *clustertest.Net, _, far *bridge) {
			far.node.Kill()
		}, map[time.Duration]string{0: "unavailable", 9 * time.Second: "unavailable", 11 * time.Second: "unknown", time.Hour: "unknown"}},
		"it is killed, and another bridge is at its server": {func(net *clustertest.Net, _, far *bridge) {
			third := join(t, net, 0x3333)
			third.node.Move("second")
			time.Sleep(20 * time.Second)
			time.AfterFunc(2*time.Hour, third.leave)
			far.node.Kill()
		}, map[time.Duration]string{0: "unavailable", time.Second: "unknown"}},
		"it is killed, at the same server": {func(_ *clustertest.Net, _, far *bridge) {
			far.node.Move("first")
			time.Sleep(6 * time.Second)
			far.node.Kill()
		}, map[time.Duration]string{0: "unknown"}},
		"it leaves": {func(_ *clustertest.Net, _, far *bridge) { far.Close() }, map[time.Duration]string{0: "unknown"}},
	} {
		t.Run(name, func(t *testing.T) {
			for after, want := range tt.at {
				pair(t, clustertest.Profile{}, func(t *testing.T, net *clustertest.Net, near, far *bridge) {
					far.node.Move("second")
					time.Sleep(20 * time.Second)
					if got := outcome(t, near, far); got != "taken" {
						t.Fatalf("before: %s", got)
					}
					tt.what(net, near, far)
					if after > 0 {
						_ = outcome(t, near, far) // whoever asks first finds it missing
					}
					time.Sleep(after)
					if got := outcome(t, near, far); got != want {
						t.Errorf("after %v: %s, want %s", after, got, want)
					}
					time.Sleep(3 * time.Hour)
				})
			}
		})
	}
}
