package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// balancer sends each session to one of two bridges, by its ID: one in four to the
// first, so that chance never has a session find that ten times in a row.
type balancer [2]dialer.Carrier

func (b balancer) of(sid string) dialer.Carrier { return b[min(sid[0]%4, 1)] }

func (b balancer) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	return b.of(sid).Exchange(ctx, sid, batch)
}

func (b balancer) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	return b.of(sid).Dial(ctx, sid)
}

// W6: where one of two bridges drains, is full or cannot be reached, every new
// session finds the other soon, on either transport, and its RPCs with it.
func TestRule_busyElsewhere(t *testing.T) {
	for choice := range transports() {
		for _, early := range []bool{false, true} {
			for name, other := range map[string]func(t *testing.T) dialer.Carrier{
				"drains":  drained,
				"closes":  func(*testing.T) dialer.Carrier { return closing{} },
				"is away": func(*testing.T) dialer.Carrier { return away{dialer.ErrUnavailable} },
			} {
				t.Run(fmt.Sprintf("%s/early %t/%s", choice, early, name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { findBridge(t, choice, early, other(t)) })
				})
			}
		}
	}
}

// newBridge is a bridge that answers with how many bytes came.
func newBridge(t *testing.T) (*registry.Registry, dialer.Carrier) {
	reg := enginetest.NewRegistry(registry.Config{Handle: swallow})
	carrier := enginetest.NewCarrier(simnet.New(1, simnet.Profile{RTT: 20 * time.Millisecond}), reg)
	t.Cleanup(func() {
		carrier.Close()
		reg.Close()
	})
	return reg, carrier
}

func drained(t *testing.T) dialer.Carrier {
	reg, carrier := newBridge(t)
	if err := reg.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	return carrier
}

// away is a Carrier whose links all fail.
type away struct{ err error }

func (a away) Exchange(context.Context, string, []byte) ([]byte, error) { return nil, a.err }
func (a away) Dial(context.Context, string) (dialer.Conn, error)        { return nil, a.err }

// closing is a Carrier whose WebSockets a bridge closes that drains, before it says
// anything on them.
type closing struct{}

func (closing) Exchange(context.Context, string, []byte) ([]byte, error) {
	return nil, dialer.ErrUnavailable
}

func (closing) Dial(context.Context, string) (dialer.Conn, error) { return closed{}, nil }

type closed struct{}

func (closed) Read(context.Context) ([]byte, error)         { return nil, dialer.ErrDraining }
func (closed) Write(context.Context, transport.Batch) error { return nil }
func (closed) Close()                                       {}

func findBridge(t *testing.T, choice string, early bool, other dialer.Carrier) {
	_, carrier := newBridge(t)
	b := balancer{other, carrier}
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

// drainable is a Carrier whose first WebSocket the bridge can close as one that
// drains.
type drainable struct {
	dialer.Carrier
	conn *drainableConn
}

func (d *drainable) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	conn, err := d.Carrier.Dial(ctx, sid)
	if err != nil || d.conn != nil {
		return conn, err
	}
	d.conn = &drainableConn{Conn: conn}
	return d.conn, nil
}

type drainableConn struct {
	dialer.Conn
	drains atomic.Bool
}

func (c *drainableConn) Read(ctx context.Context) ([]byte, error) {
	batch, err := c.Conn.Read(ctx)
	if c.drains.Load() {
		return nil, dialer.ErrDraining
	}
	return batch, err
}

// E3: a WebSocket that is closed as of a bridge that drains asks for new RPCs
// elsewhere, as go_away does, and what is open goes on.
func TestRule_closedDraining(t *testing.T) {
	for _, choice := range []string{"ws", "auto"} {
		t.Run(choice, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, carrier := newBridge(t)
				d := &drainable{Carrier: carrier}
				s := dialer.Start(dialer.Config{Carrier: d, Transports: transports()[choice]})
				st, err := s.Open(t.Context(), wire.Open{Method: "/test/Swallow"})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				if spread, away := s.GoingAway(); away {
					t.Errorf("going away within %v", spread)
				}
				d.conn.drains.Store(true)
				if err := st.Send(t.Context(), message([]byte("abc"))); err != nil {
					t.Fatal(err)
				}
				_ = st.CloseSend()
				<-st.Context().Done()
				if end := st.Status(); end.Status != 0 || end.Message != "3" {
					t.Errorf("status %+v", end)
				}
				if spread, away := s.GoingAway(); !away || spread != time.Second {
					t.Errorf("going away: %t, within %v", away, spread)
				}
				var refused *engine.Error
				if _, err := s.Open(t.Context(), wire.Open{Method: "/test/Swallow"}); !errors.As(err, &refused) || !refused.NotStarted || refused.Reason != engine.ReasonDrained {
					t.Errorf("another RPC: %v", err)
				}
				_ = s.Close(t.Context())
			})
		})
	}
}
