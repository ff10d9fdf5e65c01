package enginetest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// E1: whatever the clock on the wall does while the link is well, a quiet stream
// and a new one go on: a jump makes the client ask, and the bridge's answer counts.
func TestRule_wallClock(t *testing.T) {
	for choice := range transports() {
		for _, jump := range []time.Duration{2 * time.Minute, 10_000 * time.Hour, -2 * time.Minute, -10_000 * time.Hour} {
			for _, down := range []time.Duration{0, 30 * time.Second} {
				t.Run(fmt.Sprintf("%s/%v/down %v", choice, jump, down), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { jumpClock(t, choice, jump, down) })
				})
			}
		}
	}
}

func jumpClock(t *testing.T, choice string, jump, down time.Duration) {
	reg := enginetest.NewRegistry(registry.Config{Handle: echo})
	net := simnet.New(1, simnet.Profile{RTT: 20 * time.Millisecond})
	carrier := enginetest.NewCarrier(net, reg)
	began := time.Now()
	jumpsAt := 20*time.Second + down/2
	wall := func() time.Time {
		if now := time.Now(); now.Sub(began) < jumpsAt {
			return now
		}
		return time.Now().Add(jump)
	}
	s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()[choice], Wall: wall})
	quiet, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
	if err != nil {
		t.Fatal(err)
	}
	one(t, quiet, "before")
	time.Sleep(20 * time.Second)
	net.Down()
	time.Sleep(down)
	net.Up()
	st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
	if err != nil {
		t.Fatal(err)
	}
	one(t, st, "before")
	for _, st := range []*dialer.Stream{st, quiet} {
		nap{}.goesOn(t, st)
	}
	_ = s.Close(t.Context())
	carrier.Close()
	reg.Close()
}
