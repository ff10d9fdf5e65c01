package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// narrow is a network that lets only some bodies up.
type narrow struct {
	*direct
	lets func(body []byte) error

	mu      sync.Mutex
	bodies  []int // that came, bytes
	refused int
}

func (c *narrow) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	c.mu.Lock()
	err := c.lets(batch)
	c.bodies = append(c.bodies, len(batch))
	if err != nil {
		c.refused++
	}
	c.mu.Unlock()
	if err != nil {
		return nil, errors.Join(sleep(ctx, 2*c.delay), err)
	}
	return c.direct.Exchange(ctx, sid, batch)
}

// longest is the longest body since the ith.
func (c *narrow) longest(i int) (n int) {
	for _, body := range c.bodies[i:] {
		n = max(n, body)
	}
	return n
}

// through plays f with a session on that network, in a bubble.
func through(t *testing.T, lets func(body []byte) error, f func(t *testing.T, c *narrow, s *dialer.Session)) {
	throughTo(t, registry.Config{}, lets, f)
}

// throughTo is through to a bridge with that Config.
func throughTo(t *testing.T, cfg registry.Config, lets func(body []byte) error, f func(t *testing.T, c *narrow, s *dialer.Session)) {
	synctest.Test(t, func(t *testing.T) {
		cfg.Handle = swallow
		reg := enginetest.NewRegistry(cfg)
		c := &narrow{direct: &direct{reg: reg, delay: 10 * time.Millisecond}, lets: lets}
		s := dialer.Start(dialer.Config{Carrier: c, Transports: transports()["longpoll"]})
		f(t, c, s)
		_ = s.Close(t.Context())
		reg.Close()
	})
}

// swallow reads all messages and ends with how many bytes they had.
func swallow(st *registry.Stream) {
	n := 0
	for {
		m, err := st.Recv(st.Context())
		if err != nil {
			st.End(wire.End{Message: fmt.Sprint(n)})
			return
		}
		n += m.Len()
	}
}

// upload sends messages of 100,000 bytes, on four streams at once, and holds
// that all of them arrive.
func upload(t *testing.T, s *dialer.Session, messages int) {
	t.Helper()
	const length = 100_000
	var streams sync.WaitGroup
	for range 4 {
		streams.Go(func() {
			st, err := s.Open(t.Context(), wire.Open{Method: "/test/Swallow"})
			if err != nil {
				t.Error(err)
				return
			}
			for range messages / 4 {
				if err := st.Send(t.Context(), message(make([]byte, length))); err != nil {
					t.Error(err)
					return
				}
			}
			_ = st.CloseSend()
			if _, err := st.Recv(t.Context()); st.Status() == nil || st.Status().Message != fmt.Sprint(messages/4*length) {
				t.Errorf("%v, status %+v", err, st.Status())
			}
		})
	}
	streams.Wait()
}

var refusals = map[string]error{
	"413":  dialer.ErrTooLong,
	"mute": dialer.ErrBroken,
	"page": errors.New("status 403"),
}

// Section 5: where bodies may have so many bytes, a few are refused until their
// length fits, and then seldom one; once all may pass they grow again.
func TestRule_uplinkLimit(t *testing.T) {
	for name, refusal := range refusals {
		for _, limit := range []int{100_000, 40_000, 20_000} {
			t.Run(fmt.Sprintf("%s over %d", name, limit), func(t *testing.T) {
				most := limit
				lets := func(body []byte) error {
					if len(body) > most {
						return refusal
					}
					return nil
				}
				through(t, lets, func(t *testing.T, c *narrow, s *dialer.Session) {
					upload(t, s, 20)
					refused, bodies := c.refused, len(c.bodies)
					if refused == 0 || refused > 10 && name != "page" || refused > 30 {
						t.Errorf("%d of %d bodies refused while 2 MB went up", refused, bodies)
					}
					upload(t, s, 200)
					t.Logf("%d of %d bodies refused for 2 MB, %d of %d for 20 MB more", refused, bodies, c.refused-refused, len(c.bodies)-bodies)
					most = 1 << 20
					upload(t, s, 40)
					bodies = len(c.bodies)
					upload(t, s, 40)
					if n := c.longest(bodies); n < 256<<10 {
						t.Errorf("with no limit the longest body of 4 MB has %d bytes", n)
					}
				})
			})
		}
	}
}

// Section 5: bodies are no longer than the bridge says that it takes, and the client
// asks for no longer ones.
func TestRule_statedBatch(t *testing.T) {
	for _, most := range []int{100_000, 1 << 20, 2 << 20, 4 << 20} {
		t.Run(strconv.Itoa(most), func(t *testing.T) {
			asked := 0
			lets := func(body []byte) error {
				var b wire.Batch
				if err := wire.ParseBatch(body, &b); err != nil {
					t.Error(err)
				}
				if b.Hello == nil {
					asked = max(asked, int(b.MaxBytes))
				}
				return nil
			}
			throughTo(t, registry.Config{MaxBatch: most}, lets, func(t *testing.T, c *narrow, s *dialer.Session) {
				upload(t, s, 400)
				want := min(most, 2<<20)
				if n := c.longest(0); n > want || n < want/8*7 {
					t.Errorf("the longest of 40 MB has %d bytes, where the bridge takes %d", n, most)
				}
				equal(t, "asked for", asked, min(want, 512<<10))
			})
		})
	}
}

// Section 5: beyond 1 MiB a length that was refused is not tried again, since that is
// what proxies take unless they are configured.
func TestRule_longBodyRefused(t *testing.T) {
	for _, name := range []string{"413", "mute"} {
		t.Run(name, func(t *testing.T) {
			lets := func(body []byte) error {
				if len(body) > 1<<20 {
					return refusals[name]
				}
				return nil
			}
			through(t, lets, func(t *testing.T, c *narrow, s *dialer.Session) {
				upload(t, s, 400)
				refused, bodies := c.refused, len(c.bodies)
				if refused == 0 || refused > 2 { // those in flight
					t.Errorf("%d bodies refused while 40 MB went up", refused)
				}
				upload(t, s, 2000)
				equal(t, "refused of 200 MB more", c.refused-refused, 0)
				if n := c.longest(bodies); n < 1<<20/8*7 {
					t.Errorf("the longest of 200 MB has %d bytes", n)
				}
			})
		})
	}
}

// Section 5: requests that are lost whatever their length do not make bodies
// short: a page of another origin sees of a 502 no more than that it broke.
func TestRule_uplinkLosses(t *testing.T) {
	for name, loss := range refusals {
		if errors.Is(loss, dialer.ErrTooLong) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			lossy, n := false, 0
			lets := func([]byte) error {
				if n++; lossy && n%3 == 0 { // never in a row, which would tell of a length
					return loss
				}
				return nil
			}
			through(t, lets, func(t *testing.T, c *narrow, s *dialer.Session) {
				upload(t, s, 200)
				without := len(c.bodies)
				lossy = true
				upload(t, s, 200)
				with := len(c.bodies) - without
				t.Logf("%d exchanges for 20 MB, %d with a third lost", without, with)
				if with > 3*without {
					t.Errorf("%d exchanges for 20 MB, %d with a third lost", without, with)
				}
			})
		})
	}
}

// Section 5: while nothing gets through at all nothing is learnt of the length.
func TestRule_uplinkOutage(t *testing.T) {
	for name, loss := range refusals {
		if errors.Is(loss, dialer.ErrTooLong) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			away := false
			lets := func([]byte) error {
				if away {
					return loss
				}
				return nil
			}
			through(t, lets, func(t *testing.T, c *narrow, s *dialer.Session) {
				upload(t, s, 200)
				best := c.longest(0)
				away = true
				time.AfterFunc(time.Minute, func() { c.mu.Lock(); away = false; c.mu.Unlock() })
				before := c.refused
				upload(t, s, 40)
				bodies := len(c.bodies)
				upload(t, s, 40)
				t.Logf("%d refused in the outage; longest body %d before, %d after", c.refused-before, best, c.longest(bodies))
				if n := c.longest(bodies); n < best/2 {
					t.Errorf("longest body %d before, %d after", best, n)
				}
			})
		})
	}
}
