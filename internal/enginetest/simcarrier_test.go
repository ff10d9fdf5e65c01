package enginetest_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/transport"
)

// faulty is a Carrier that reaches a Registry through a faulty network, with
// what the transports do and no HTTP.
type faulty struct {
	net *simnet.Network
	reg atomic.Pointer[registry.Registry]

	tasks sync.WaitGroup
}

func newFaulty(net *simnet.Network, reg *registry.Registry) *faulty {
	f := &faulty{net: net}
	f.reg.Store(reg)
	return f
}

// close ends the network and waits for what was under way.
func (f *faulty) close() {
	f.net.Close()
	f.tasks.Wait()
}

func (f *faulty) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	a, err := f.net.Exchange(ctx, batch, func(ctx context.Context, request []byte) ([]byte, error) {
		ready := make(chan struct{}, 1) // no more calls than rests
		h := hello(transport.Longpoll, sid, request)
		h.Wake = func() { ready <- struct{}{} }
		link := f.reg.Load().Accept(ctx, h)
		defer link.Close()
		for {
			answer, err := link.Next(ctx, nil, 1<<20)
			if !errors.Is(err, transport.ErrIdle) {
				return answer, err
			}
			select {
			case <-ready:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return a.Body, a.Err()
}

func hello(kind transport.Kind, sid string, batch []byte) transport.Hello {
	return transport.Hello{Kind: kind, Session: sid, Batch: batch, RemoteAddr: "test"}
}

func (f *faulty) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	near, far, err := f.net.Dial(ctx)
	if err != nil {
		return nil, err
	}
	f.tasks.Go(func() { f.carry(far, sid) })
	return end{near}, nil
}

// carry is the bridge's end of a WebSocket.
func (f *faulty) carry(far *simnet.End, sid string) {
	defer far.Close()
	tooLate := time.AfterFunc(10*time.Second, far.Close)
	first, err := far.Read()
	tooLate.Stop()
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	link := f.reg.Load().Accept(ctx, hello(transport.WS, sid, first))
	defer link.Close()
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			batch, err := link.Next(ctx, nil, 64<<10)
			if err != nil {
				_ = far.Finish()
				time.AfterFunc(5*time.Second, far.Close) // a peer that answers no close frame
				return
			}
			if far.Write(batch) != nil {
				return
			}
		}
	})
	for {
		batch, err := far.Read()
		if err != nil {
			break
		}
		if link.Deliver(ctx, batch) != nil {
			far.Drain()
			break
		}
	}
	cancel()
	far.Close()
	writer.Wait()
}

// end is the client's end of a WebSocket.
type end struct{ *simnet.End }

func (e end) Read(context.Context) ([]byte, error) { return e.End.Read() }

func (e end) Write(_ context.Context, batch []byte) error {
	if err := e.End.Write(batch); err != nil {
		return io.ErrClosedPipe
	}
	return nil
}
