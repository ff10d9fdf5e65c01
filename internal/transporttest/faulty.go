package transporttest

import (
	"context"
	"sync"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/transport"
)

// faulty is a Carrier with the faults of a simulated network between the client
// and another Carrier.
type faulty struct {
	carrier dialer.Carrier
	net     *simnet.Network
	tasks   sync.WaitGroup
}

// Exchange implements dialer.Carrier.
func (f *faulty) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	a, err := f.net.Exchange(ctx, batch, func(ctx context.Context, request []byte) ([]byte, error) {
		return f.carrier.Exchange(ctx, sid, request)
	})
	if err != nil {
		return nil, err
	}
	return a.Body, a.Err()
}

// Dial implements dialer.Carrier.
func (f *faulty) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	near, far, err := f.net.Dial(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := f.carrier.Dial(ctx, sid)
	if err != nil {
		near.Close()
		return nil, err
	}
	live, end := context.WithCancel(context.Background())
	f.tasks.Go(func() {
		defer end()
		defer conn.Close()
		for {
			batch, err := far.Read()
			if err != nil || conn.Write(live, transport.Batch{batch}) != nil {
				far.Close()
				return
			}
		}
	})
	f.tasks.Go(func() {
		for {
			batch, err := conn.Read(live)
			if err != nil {
				_ = far.Finish() // it may be closed already
				return
			}
			if far.Write(batch) != nil {
				return
			}
		}
	})
	return enginetest.Conn{End: near}, nil
}
