package enginetest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/transport"
)

// maxBatch is the longest batch, each way.
const maxBatch = 2 << 20

// Carrier is a dialer.Carrier that reaches an Acceptor over a simulated network,
// with what the transports do and no HTTP.
type Carrier struct {
	net      *simnet.Network
	acceptor transport.Acceptor
	tasks    sync.WaitGroup
}

// NewCarrier returns a Carrier to acceptor over net.
func NewCarrier(net *simnet.Network, acceptor transport.Acceptor) *Carrier {
	return &Carrier{net: net, acceptor: acceptor}
}

// Close closes the network and waits for what was under way.
func (c *Carrier) Close() {
	c.net.Close()
	c.tasks.Wait()
}

// Exchange implements dialer.Carrier.
func (c *Carrier) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	a, err := c.net.Exchange(ctx, batch, func(ctx context.Context, request []byte) ([]byte, error) {
		woken := make(chan struct{}, 1) // no more calls than there were ErrIdle
		h := hello(transport.Longpoll, sid, request)
		h.Wake = func() { woken <- struct{}{} }
		link := c.acceptor.Accept(ctx, h)
		defer link.Close()
		for {
			answer, err := link.Next(ctx, maxBatch)
			if !errors.Is(err, transport.ErrIdle) {
				return answer.AppendTo(nil), err
			}
			select {
			case <-woken:
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
	h := transport.Hello{Kind: kind, Session: sid, Batch: batch, RemoteAddr: "test"}
	if len(batch) > maxBatch {
		h.Batch, h.TooLarge = nil, maxBatch
	}
	return h
}

// Dial implements dialer.Carrier.
func (c *Carrier) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	near, far, err := c.net.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c.tasks.Go(func() { c.carry(far, sid) })
	return Conn{near}, nil
}

// carry is the bridge's end of a WebSocket.
func (c *Carrier) carry(far *simnet.End, sid string) {
	defer far.Close()
	tooLate := time.AfterFunc(10*time.Second, far.Close)
	first, err := far.Read()
	tooLate.Stop()
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	link := c.acceptor.Accept(ctx, hello(transport.WS, sid, first))
	defer link.Close()
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			batch, err := link.Next(ctx, maxBatch)
			if err != nil {
				_ = far.Finish()
				time.AfterFunc(5*time.Second, far.Close) // a peer that answers no close frame
				return
			}
			if far.Write(batch.AppendTo(nil)) != nil {
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

// Conn is the client's end of a lasting link.
type Conn struct{ *simnet.End }

// Read implements dialer.Conn. It returns when the end is closed.
func (c Conn) Read(context.Context) ([]byte, error) { return c.End.Read() }

// Write implements dialer.Conn.
func (c Conn) Write(_ context.Context, batch transport.Batch) error {
	if err := c.End.Write(batch.AppendTo(nil)); err != nil {
		return io.ErrClosedPipe
	}
	return nil
}
