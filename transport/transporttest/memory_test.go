package transporttest_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/transporttest"
)

// TestMemory holds the suite to itself: the engine with nothing between its
// two ends but function calls.
func TestMemory(t *testing.T) {
	for _, kind := range []transport.Kind{transport.Longpoll, transport.WS} {
		t.Run(kind.String(), func(t *testing.T) {
			transporttest.Run(t, kind, func(t *testing.T, acceptor transport.Acceptor, _ transporttest.Network) dialer.Carrier {
				m := &memory{acceptor: acceptor}
				t.Cleanup(m.links.Wait)
				return m
			})
		})
	}
}

const maxBatch = 1 << 20

// memory is a carrier that calls the acceptor.
type memory struct {
	acceptor transport.Acceptor
	links    sync.WaitGroup
}

func (m *memory) hello(kind transport.Kind, sid string, batch []byte) transport.Hello {
	h := transport.Hello{Kind: kind, Session: sid, RemoteAddr: "192.0.2.1", Batch: bytes.Clone(batch)}
	if len(batch) > maxBatch {
		h.Batch, h.TooLarge = nil, maxBatch
	}
	return h
}

func (m *memory) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	link := m.acceptor.Accept(ctx, m.hello(transport.Longpoll, sid, batch))
	defer link.Close()
	return link.Next(ctx, nil, maxBatch)
}

func (m *memory) Dial(_ context.Context, sid string) (dialer.Conn, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &memorySocket{ctx: ctx, cancel: cancel, up: make(chan []byte), down: make(chan []byte)}
	m.links.Go(func() {
		defer cancel()
		select {
		case batch := <-s.up:
			s.serve(m.acceptor.Accept(ctx, m.hello(transport.WS, sid, batch)))
		case <-ctx.Done():
		}
	})
	return s, nil
}

// memorySocket is a WebSocket without the web.
type memorySocket struct {
	ctx      context.Context
	cancel   context.CancelFunc
	up, down chan []byte
}

func (s *memorySocket) serve(link transport.Link) {
	defer link.Close()
	var reader sync.WaitGroup
	defer reader.Wait()
	defer s.cancel()
	reader.Go(func() {
		for {
			select {
			case batch := <-s.up:
				if link.Deliver(s.ctx, batch) != nil {
					return
				}
			case <-s.ctx.Done():
				return
			}
		}
	})
	for {
		batch, err := link.Next(s.ctx, nil, 64<<10)
		if err != nil {
			return
		}
		select {
		case s.down <- batch:
		case <-s.ctx.Done():
			return
		}
	}
}

var errClosed = errors.New("socket closed")

func (s *memorySocket) Read(ctx context.Context) ([]byte, error) {
	select {
	case batch := <-s.down:
		return batch, nil
	case <-s.ctx.Done():
		return nil, errClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *memorySocket) Write(ctx context.Context, batch []byte) error {
	select {
	case s.up <- bytes.Clone(batch):
		return nil
	case <-s.ctx.Done():
		return errClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *memorySocket) Close() { s.cancel() }
