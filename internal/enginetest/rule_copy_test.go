package enginetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// L1: an exchange whose copies went without an answer waits for another copy,
// for what is left of its hold, and gets each frame once.
func TestRule_copyOfUnanswered(t *testing.T) {
	saying(t, func(t *testing.T, p *peer, s *say) {
		b := p.batch(holding(10 * time.Second))
		p.visit(b, time.Second, context.Canceled)
		copied := p.park(b)
		if answered(copied) != nil {
			t.Fatal("the copy was answered at once")
		}
		s.word("hello")
		equal(t, "words", words(answered(copied)), []string{"hello"})
		equal(t, "words of a copy after the answer", words(answered(p.park(b))), []string{"hello"})
		p.ack++

		began := time.Now()
		b = p.batch(holding(10 * time.Second))
		p.visit(b, time.Second, context.Canceled)
		p.visit(b, 2*time.Second, context.Canceled)
		a := <-p.park(b)
		equal(t, "held in all", time.Since(began), 10*time.Second)
		equal(t, "frames", len(a.Frames), 0)

		began = time.Now()
		a = p.visit(p.batch(holding(10*time.Second)), time.Second, transport.ErrAnswerNow)
		equal(t, "answered when told to", time.Since(began), time.Second)
		equal(t, "frames", len(a.Frames), 0)
	})
}

// visit parks an exchange for a while; then its context ends by cause. It
// returns the answer, if there is one.
func (p *peer) visit(b *wire.Batch, d time.Duration, cause error) *wire.Batch {
	ctx, stop := context.WithCancelCause(p.t.Context())
	defer time.AfterFunc(d, func() { stop(cause) }).Stop()
	link := p.accept(transport.Longpoll, b)
	defer link.Close()
	raw, err := link.Next(ctx, nil, 1<<20)
	if err != nil {
		equal(p.t, "the end", err, cause)
		return nil
	}
	return p.parse(raw)
}
