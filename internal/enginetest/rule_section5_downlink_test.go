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
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// replacing is a network that puts something else in the place of long answers.
type replacing struct {
	*direct
	limit int // of an answer, bytes
	by    error

	replaced, passed atomic.Int64
}

func (c *replacing) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	answer, err := c.direct.Exchange(ctx, sid, batch)
	switch {
	case err != nil:
		return nil, err
	case len(answer) > c.limit:
		c.replaced.Add(1)
		return nil, c.by
	}
	c.passed.Add(1)
	return answer, nil
}

// Section 5: where a proxy gives a status, or nothing, in the place of a long answer,
// answers get so short that they pass, and then seldom one is replaced.
func TestRule_downlinkLimit(t *testing.T) {
	const messages, length = 40, 100_000
	download := func(st *registry.Stream) {
		for range messages {
			if st.Send(st.Context(), message(make([]byte, length))) != nil {
				break
			}
		}
		st.End(wire.End{})
	}
	for name, by := range map[string]error{"502": fmt.Errorf("status 502: %w", dialer.ErrUnavailable), "page": errors.New("status 403"), "mute": dialer.ErrBroken} {
		for _, limit := range []int{200_000, 60_000, 20_000} {
			t.Run(fmt.Sprintf("%s over %d", name, limit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					reg := enginetest.NewRegistry(registry.Config{Handle: download})
					defer reg.Close()
					c := &replacing{direct: &direct{reg: reg, delay: 10 * time.Millisecond}, limit: limit, by: by}
					s := dialer.Start(dialer.Config{Carrier: c, Transports: transports()["longpoll"]})
					defer s.Close(t.Context())
					began := time.Now()
					for round := range 2 {
						st, err := s.Open(t.Context(), wire.Open{Method: "/test/Download"})
						if err != nil {
							t.Fatal(err)
						}
						n := 0
						for m, err := st.Recv(t.Context()); err == nil; m, err = st.Recv(t.Context()) {
							n += m.Len()
						}
						if end := st.Status(); end.Status != 0 || n != messages*length {
							t.Fatalf("%d of %d bytes came, %+v", n, messages*length, end)
						}
						t.Logf("round %d: %d answers replaced, %d passed, after %v", round, c.replaced.Load(), c.passed.Load(), time.Since(began))
					}
					if n := c.replaced.Load(); n == 0 || n > 80 {
						t.Errorf("%d answers were replaced, %d passed", n, c.passed.Load())
					}
				})
			})
		}
	}
}
