package longpoll

import (
	"context"
	"errors"

	"github.com/pollbridge/pollbridge/internal/park"
	"github.com/pollbridge/pollbridge/transport"
)

// exchange is one exchange that waits for its answer: in its handler, or as the
// PendingResponse of a parked connection.
type exchange struct {
	link     transport.Link
	form     form
	maxBatch int
}

// errParked is returned when the exchange is no longer the handler's.
var errParked = errors.New("longpoll: parked")

// run returns the answer's body, in memory to be given back to bodies. The link is
// closed then, unless the exchange was parked.
func (e *exchange) run(ctx context.Context, conn *park.Conn, park func() bool) (_ *[]byte, err error) {
	defer func() {
		if !errors.Is(err, errParked) {
			e.link.Close()
		}
	}()
	for {
		batch, err := e.link.Next(ctx, e.maxBatch)
		if err == nil {
			body := bodies.Get().(*[]byte)
			*body = e.form.append((*body)[:0], batch)
			return body, nil
		}
		if !errors.Is(err, transport.ErrIdle) {
			return nil, err
		}
		if park() {
			return nil, errParked
		}
		if err := conn.Wait(ctx); err != nil && !errors.Is(err, transport.ErrAnswerNow) {
			return nil, err
		}
	}
}

// Next implements park.PendingResponse. A link that can be idle waits for a second
// at most.
func (e *exchange) Next(ctx context.Context) ([]byte, error) {
	batch, err := e.link.Next(ctx, e.maxBatch)
	if err != nil {
		return nil, err
	}
	return e.form.append(nil, batch), nil
}

// Close implements park.PendingResponse.
func (e *exchange) Close() { e.link.Close() }
