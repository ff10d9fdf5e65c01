package enginetest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// load is one RPC on which both sides send a numbered message every tick.
type load struct {
	t    *testing.T
	up   gaps
	down gaps
}

// gaps watches numbered messages arrive.
type gaps struct {
	mu      sync.Mutex
	next    uint64
	last    time.Time
	longest time.Duration
	err     error
}

// arrived notes the next message.
func (g *gaps) arrived(m engine.Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := binary.BigEndian.Uint64(m.Bytes()); n != g.next && g.err == nil {
		g.err = fmt.Errorf("message %d in place of %d", n, g.next)
	}
	g.next++
	now := time.Now()
	if !g.last.IsZero() {
		g.longest = max(g.longest, now.Sub(g.last))
	}
	g.last = now
}

// since gives the longest gap, and begins to count anew.
func (g *gaps) since() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	longest := g.longest
	g.longest = 0
	return longest
}

const (
	loadTick = 10 * time.Millisecond
	loadSize = 1000
)

// sender is either side's stream.
type sender interface {
	Send(ctx context.Context, m engine.Message) error
}

// pump sends numbered messages until ctx ends, and returns how many.
func pump(ctx context.Context, st sender) uint64 {
	for n := uint64(0); ; n++ {
		if sleep(ctx, loadTick) != nil {
			return n
		}
		m := make([]byte, loadSize)
		binary.BigEndian.PutUint64(m, n)
		if st.Send(context.WithoutCancel(ctx), message(m)) != nil {
			return n
		}
	}
}

// handle is the bridge's end: it sends until the client has half-closed.
func (l *load) handle(st *registry.Stream) {
	ctx, cancel := context.WithCancel(st.Context())
	var sender sync.WaitGroup
	var sent uint64
	sender.Go(func() { sent = pump(ctx, st) })
	for {
		m, err := st.Recv(st.Context())
		if err != nil {
			break
		}
		l.up.arrived(m)
	}
	cancel()
	sender.Wait()
	st.End(wire.End{Message: fmt.Sprint(sent)})
}

// run carries the load while disturb is at work.
func (l *load) run(s *dialer.Session, disturb func()) {
	st, err := s.Open(l.t.Context(), wire.Open{Method: "/test/Load"})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	var tasks sync.WaitGroup
	var sent uint64
	tasks.Go(func() {
		sent = pump(ctx, st)
		_ = st.CloseSend()
	})
	tasks.Go(func() {
		for {
			m, err := st.Recv(l.t.Context())
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				l.t.Error(err)
				return
			}
			l.down.arrived(m)
		}
	})
	time.Sleep(5 * time.Second)
	l.up.since()
	l.down.since()
	disturb()
	up, down := l.up.since(), l.down.since()
	cancel()
	tasks.Wait()
	if l.up.err != nil || l.down.err != nil || l.up.next != sent || st.Status().Message != fmt.Sprint(l.down.next) {
		l.t.Errorf("up %v, %d of %d; down %v, %d of %s", l.up.err, l.up.next, sent, l.down.err, l.down.next, st.Status().Message)
	}
	l.up.longest, l.down.longest = up, down
}

// Promise 3: a hundred switches a minute, with both transports alive, leave no
// gap of more than two round trips and 50 ms in either direction. When half of
// them are WebSockets cut in mid-flight there is a round trip more, since what
// was under way must be missed before it is sent again.
func TestRule_switchingGap(t *testing.T) {
	for _, rtt := range []time.Duration{2 * time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond, 800 * time.Millisecond} {
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/cut %t", rtt, cut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := &load{t: t}
					reg := enginetest.NewRegistry(registry.Config{Handle: l.handle})
					net := simnet.New(1, simnet.Profile{RTT: rtt})
					carrier := enginetest.NewCarrier(net, reg)
					s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()["auto"]})
					time.Sleep(10 * time.Second)
					l.run(s, func() {
						for i := range 100 {
							time.Sleep(600 * time.Millisecond)
							if cut && i%2 == 0 {
								net.CutSockets()
							} else if !s.Switch(i%2 == 1) && !cut {
								t.Error("no WebSocket")
							}
						}
					})
					limit := 2*rtt + 50*time.Millisecond
					if cut {
						limit += rtt
					}
					t.Logf("longest gaps: up %v, down %v; limit %v", l.up.longest, l.down.longest, limit)
					if l.up.longest > limit || l.down.longest > limit {
						t.Errorf("longest gaps: up %v, down %v; limit %v", l.up.longest, l.down.longest, limit)
					}
					if err := s.Close(t.Context()); err != nil {
						t.Error(err)
					}
					carrier.Close()
					reg.Close()
				})
			})
		}
	}
}
