package transporttest_test

import (
	"testing"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/transporttest"
	"github.com/pollbridge/pollbridge/transport"
)

// TestMemory holds the suite to itself: the engine with nothing between its
// two ends but function calls.
func TestMemory(t *testing.T) {
	for _, kind := range []transport.Kind{transport.Longpoll, transport.WS} {
		t.Run(kind.String(), func(t *testing.T) {
			transporttest.Run(t, kind, func(t *testing.T, acceptor transport.Acceptor, _ transporttest.Network) dialer.Carrier {
				c := enginetest.NewCarrier(simnet.New(0, simnet.Profile{}), acceptor)
				t.Cleanup(c.Close)
				return c
			})
		})
	}
}
