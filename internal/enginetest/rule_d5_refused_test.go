package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// D5: a frame that is too long to get through, and that no smaller batch can
// carry, ends its own RPC with its length; those before and behind it go on.
func TestRule_refusedFrame(t *testing.T) {
	long := []wire.Metadatum{{Key: "long", Value: strings.Repeat("x", 30_000)}}
	for name, refusal := range refusals {
		t.Run(name, func(t *testing.T) {
			lets := func(body []byte) error {
				if len(body) > 20_000 {
					return refusal
				}
				return nil
			}
			through(t, lets, func(t *testing.T, c *narrow, s *dialer.Session) {
				var streams []*dialer.Stream
				for _, md := range [][]wire.Metadatum{nil, long, nil} {
					streams = append(streams, unary(t, s, md))
				}
				for i, st := range streams {
					<-st.Context().Done()
					end := st.Status()
					switch {
					case i != 1 && (end.Status != 0 || end.Message != "3"):
						t.Errorf("RPC %d beside it: %+v", i, end)
					case i == 1 && (end.Status != engine.StatusResourceExhausted || end.Reason != engine.ReasonLimit || !strings.HasPrefix(end.Message, "request metadata: a batch of 30")):
						t.Errorf("RPC with long metadata: %+v", end)
					}
				}
				if c.refused > 16 {
					t.Errorf("%d bodies were refused", c.refused)
				}
				st := unary(t, s, nil)
				<-st.Context().Done()
				if end := st.Status(); end.Status != 0 || end.Message != "3" {
					t.Errorf("RPC behind it: %+v", end)
				}
			})
		})
	}
}

// bounded is a bridge that takes no batches over 64 KiB.
type bounded struct{ *direct }

func (c bounded) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	if len(batch) <= 64<<10 {
		return c.direct.Exchange(ctx, sid, batch)
	}
	refusal := wire.Close{Code: wire.CodeTooLarge, Message: "too long for the bridge", Limit: 64 << 10}
	return wire.AppendBatch(nil, &wire.Batch{Close: &refusal}), nil
}

// D5: what the bridge itself calls too long ends the RPC at once, too.
func TestRule_frameOverBatchLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := enginetest.NewRegistry(registry.Config{Handle: swallow, MaxMetadata: 200_000})
		defer reg.Close()
		carrier := bounded{&direct{reg: reg, delay: time.Millisecond}}
		s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()["longpoll"]})
		defer s.Close(t.Context())
		st := unary(t, s, []wire.Metadatum{{Key: "long", Value: strings.Repeat("x", 100_000)}})
		<-st.Context().Done()
		if end := st.Status(); end.Status != engine.StatusResourceExhausted || !strings.Contains(end.Message, "a batch of 100") || !strings.HasSuffix(end.Message, "too long for the bridge") {
			t.Errorf("status %+v", end)
		}
		other := unary(t, s, nil)
		<-other.Context().Done()
		if end := other.Status(); end.Status != 0 || end.Message != "3" {
			t.Errorf("RPC behind it: %+v", end)
		}
	})
}

// Section 5: one break ends no RPC, however long its metadata is.
func TestRule_brokenFrame(t *testing.T) {
	broken := 0
	lets := func(body []byte) error {
		if len(body) > 40_000 && broken < 2 {
			broken++
			return fmt.Errorf("cut: %w", dialer.ErrBroken)
		}
		return nil
	}
	through(t, lets, func(t *testing.T, _ *narrow, s *dialer.Session) {
		st := unary(t, s, []wire.Metadatum{{Key: "long", Value: strings.Repeat("x", 50_000)}})
		<-st.Context().Done()
		if end := st.Status(); end.Status != 0 || end.Message != "3" {
			t.Errorf("status %+v", end)
		}
	})
	if broken != 2 {
		t.Errorf("%d bodies broke, want 2", broken)
	}
}

// unary makes an RPC with one request of three bytes.
func unary(t *testing.T, s *dialer.Session, md []wire.Metadatum) *dialer.Stream {
	t.Helper()
	st, err := s.Open(t.Context(), wire.Open{Method: "/test/Swallow", Metadata: md, SingleRequest: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send(t.Context(), message([]byte("abc"))); err != nil {
		t.Fatal(err)
	}
	if err := st.CloseSend(); err != nil {
		t.Fatal(err)
	}
	return st
}

// W2: a credential that no bridge could read is not sent.
func TestRule_tokenNotUTF8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := enginetest.NewRegistry(registry.Config{Handle: swallow})
		defer reg.Close()
		s := dialer.Start(dialer.Config{
			Carrier: &direct{reg: reg}, Transports: transports()["longpoll"],
			Token: func(context.Context) (string, error) { return "a\xff", nil },
		})
		defer s.Close(t.Context())
		<-s.Done()
		if why, ok := errors.AsType[*engine.Error](s.Err()); !ok || why.Reason != engine.ReasonUnauthenticated || why.Message != "the token is not UTF-8" {
			t.Errorf("session ended with %v", s.Err())
		}
	})
}
