package enginetest_test

import (
	"context"
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

// balancer sends each session to one of two bridges, by its ID.
type balancer [2]dialer.Carrier

func (b balancer) of(sid string) dialer.Carrier { return b[sid[0]%2] }

func (b balancer) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	return b.of(sid).Exchange(ctx, sid, batch)
}

func (b balancer) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	return b.of(sid).Dial(ctx, sid)
}

// W6: where one of two bridges drains, or is full, every new session finds the
// other at once, on either transport, and its RPCs with it.
func TestRule_busyElsewhere(t *testing.T) {
	for choice := range transports() {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/early %t", choice, early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { findOther(t, choice, early) })
			})
		}
	}
}

func findOther(t *testing.T, choice string, early bool) {
	var b balancer
	for i := range b {
		reg := enginetest.NewRegistry(registry.Config{Handle: swallow})
		defer reg.Close()
		carrier := enginetest.NewCarrier(simnet.New(1, simnet.Profile{RTT: 20 * time.Millisecond}), reg)
		defer carrier.Close()
		b[i] = carrier
		if i == 0 {
			if err := reg.Drain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 40 {
		began := time.Now()
		s := dialer.Start(dialer.Config{Carrier: b, Transports: transports()[choice]})
		st, err := s.Open(t.Context(), wire.Open{Method: "/test/Swallow", Early: early})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Send(t.Context(), message([]byte("abc"))); err != nil {
			t.Fatal(err)
		}
		_ = st.CloseSend()
		<-st.Context().Done()
		if end := st.Status(); end.Status != 0 || end.Message != "3" {
			t.Errorf("status %+v after %v", end, time.Since(began))
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		_ = s.Close(t.Context())
	}
}
