package enginetest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// repeating is a Carrier on whose way a proxy repeats each request, at the bridge
// that was there before: its answer is lost, the one of the bridge that is there now
// is not.
type repeating struct {
	*direct
	before *registry.Registry
}

func (r repeating) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	_, _ = (&direct{reg: r.before}).Exchange(ctx, sid, batch)
	return r.direct.Exchange(ctx, sid, batch)
}

// E2: an RPC after a quiet time is not sent to a bridge that may have gone
// unnoticed: where the next one does not know the session the RPC has certainly not
// run, whatever repeats requests on the way.
func TestRule_quietRestart(t *testing.T) {
	for name, kinds := range transports() {
		for _, early := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var begun atomic.Int64
					handle := func(st *registry.Stream) { begun.Add(1); echo(st) }
					old, next := enginetest.NewRegistry(registry.Config{Handle: handle}), enginetest.NewRegistry(registry.Config{Handle: handle})
					d := &direct{reg: old, delay: 10 * time.Millisecond}
					carrier := &struct{ dialer.Carrier }{d}
					s := dialer.Start(dialer.Config{Carrier: carrier, Transports: kinds})
					pingpong(t, s, 1, 1)
					time.Sleep(10 * time.Second)
					synctest.Wait()
					carrier.Carrier = repeating{&direct{reg: next, delay: d.delay}, old}
					s.Kill()
					synctest.Wait()
					st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo", Early: early})
					if err != nil {
						t.Fatal(err)
					}
					<-s.Done()
					why, ok := errors.AsType[*engine.Error](s.Err())
					if !ok || why.Reason != engine.ReasonRestarted {
						t.Errorf("the session ended with %v", s.Err())
					}
					if end := st.Status(); st.Sent() || end.Status != engine.StatusUnavailable {
						t.Errorf("sent: %v, %+v", st.Sent(), end)
					}
					old.Close()
					next.Close()
					equal(t, "RPCs begun, with the one before", begun.Load(), int64(1))
				})
			})
		}
	}
}

// E2: the bridge is asked only where it may have gone: not right after it was heard,
// not while a poll is parked, and once for all RPCs that wait.
func TestRule_quietAsks(t *testing.T) {
	bubble(t, registry.Config{Handle: echo}, func(t *testing.T, reg *registry.Registry) {
		d := &direct{reg: reg, delay: 10 * time.Millisecond}
		s := dialer.Start(dialer.Config{Carrier: d, Transports: []transport.Kind{transport.Longpoll}})
		polls := func(what string, pause time.Duration, rpcs int, want int64) {
			time.Sleep(pause)
			before := d.polls.Load()
			var all []*dialer.Stream
			for range rpcs {
				st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo", SingleRequest: true})
				if err != nil {
					t.Fatal(err)
				}
				_ = st.Send(t.Context(), message([]byte("x")))
				_ = st.CloseSend()
				all = append(all, st)
			}
			for _, st := range all {
				<-st.Context().Done()
			}
			equal(t, what, d.polls.Load()-before, want)
		}
		polls("exchanges of an RPC once the session is open", 900*time.Millisecond, 1, 1)
		polls("exchanges of an RPC right after another", 900*time.Millisecond, 1, 1)
		polls("exchanges of an RPC after a quiet time", 1100*time.Millisecond, 1, 2)
		polls("exchanges of three RPCs after a quiet time", time.Minute, 3, 2)
		open, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
		if err != nil {
			t.Fatal(err)
		}
		polls("exchanges of an RPC beside a parked poll", 5*time.Second, 1, 1)
		open.Cancel()
		_ = s.Close(t.Context())
	})
}
