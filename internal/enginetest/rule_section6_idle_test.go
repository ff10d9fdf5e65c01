package enginetest_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/registry"
)

// impatient is a Carrier of a network that closes a WebSocket on which nothing
// came down for a while.
type impatient struct {
	dialer.Carrier
	after time.Duration
	dials atomic.Int64
}

func (i *impatient) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	inner, err := i.Carrier.Dial(ctx, sid)
	if err != nil {
		return nil, err
	}
	i.dials.Add(1)
	return &busySocket{Conn: inner, after: i.after, idle: time.AfterFunc(i.after, inner.Close)}, nil
}

type busySocket struct {
	dialer.Conn
	after time.Duration
	idle  *time.Timer
}

func (b *busySocket) Read(ctx context.Context) ([]byte, error) {
	batch, err := b.Conn.Read(ctx)
	b.idle.Reset(b.after)
	return batch, err
}

// Section 6: a WebSocket that was closed while it was quiet teaches how long
// one may be; the next session knows it, and hours later nobody does.
func TestRule_idleLife(t *testing.T) {
	const delay = 5 * time.Millisecond
	for _, c := range []struct {
		closes time.Duration
		want   time.Duration // what is learnt
		dials  int64
	}{
		{closes: 10 * time.Second, want: 7 * time.Second, dials: 2},
		{closes: 6 * time.Second, want: 5 * time.Second, dials: 2},
		{closes: 25 * time.Second, want: 20 * time.Second, dials: 1}, // the bridge's pings suffice
	} {
		bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
			network := &impatient{Carrier: &direct{reg: reg, delay: delay}, after: c.closes}
			s := dialer.Start(dialer.Config{Carrier: network})
			time.Sleep(10 * time.Minute)
			learnt := s.State().Network
			equal(t, "WebSockets in ten quiet minutes", network.dials.Load(), c.dials)
			equal(t, "longest quiet time learnt", learnt.SocketQuiet.Round(100*time.Millisecond), c.want)
			_ = s.Close(t.Context())

			for i, more := range []int64{1, c.dials} { // at once, and five hours later
				time.Sleep(time.Duration(i) * 5 * time.Hour)
				network.dials.Store(0)
				next := dialer.Start(dialer.Config{Carrier: network, Learnt: learnt})
				time.Sleep(10 * time.Minute)
				equal(t, "WebSockets of a later session", network.dials.Load(), more)
				_ = next.Close(t.Context())
			}
		})
	}
}
