package longpoll

import (
	"context"
	"errors"

	"github.com/pollbridge/pollbridge/transport"
)

// exchange is one exchange that waits for its answer. Parked, it is the guest of
// its place.
type exchange struct {
	link     transport.Link
	form     form
	maxBatch int
}

// errParked says that the exchange is no longer the handler's.
var errParked = errors.New("longpoll: parked")

// run gives the answer's body. The link is closed then, unless the exchange was
// parked.
func (e *exchange) run(ctx context.Context, place transport.Place, park func() bool) (_ []byte, err error) {
	defer func() {
		if !errors.Is(err, errParked) {
			e.link.Close()
		}
	}()
	for {
		body, err := e.next(ctx)
		if !errors.Is(err, transport.ErrIdle) {
			return body, err
		}
		if park() {
			return nil, errParked
		}
		if err := place.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

func (e *exchange) next(ctx context.Context) ([]byte, error) {
	batch, err := e.link.Next(ctx, nil, e.maxBatch)
	if err != nil {
		return nil, err
	}
	return e.form.encode(batch), nil
}

// Next implements transport.Guest. A link that may rest waits for a second at
// the most.
func (e *exchange) Next() ([]byte, error) { return e.next(context.Background()) }

// Close implements transport.Guest.
func (e *exchange) Close() { e.link.Close() }
