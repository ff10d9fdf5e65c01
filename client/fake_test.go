package client_test

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// bytesCodec takes []byte for messages, in pooled buffers that it counts.
type bytesCodec struct{ held *counter }

type counter struct {
	sync.Mutex
	n int
}

func (c *counter) add(n int) {
	c.Lock()
	defer c.Unlock()
	c.n += n
}

// Get and Put make the counter a mem.BufferPool.
func (c *counter) Get(n int) *[]byte {
	c.add(1)
	b := make([]byte, n)
	return &b
}

func (c *counter) Put(b *[]byte) {
	c.add(-1)
	for i := range *b {
		(*b)[i] = '!' // poison
	}
}

func (c bytesCodec) Name() string { return "Raw" }

func (c bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	b := v.([]byte)
	buf := c.held.Get(len(b) + 2000)
	*buf = (*buf)[:copy(*buf, b)]
	return mem.BufferSlice{mem.NewBuffer(buf, c.held)}, nil
}

func (c bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = bytesCodec{}

// fakeRPC is a session's stream that follows a script.
type fakeRPC struct {
	open    wire.Open
	headers []wire.Metadatum
	replies [][]byte
	end     *wire.End
	sent    bool // the Open frame left
	silent  bool // neither headers nor an end ever come

	mu        sync.Mutex
	got       []string
	closed    int
	cancelled int
}

func (f *fakeRPC) Send(ctx context.Context, m engine.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.Free != nil {
		defer m.Free()
	}
	if f.lost() {
		return io.EOF
	}
	f.got = append(f.got, string(slices.Concat(m.Pieces...)))
	return nil
}

// lost tells a session that is gone: nothing can be sent any more.
func (f *fakeRPC) lost() bool { return f.end != nil && f.end.Reason != "" }

func (f *fakeRPC) CloseSend() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

func (f *fakeRPC) Recv(ctx context.Context) (engine.Message, error) {
	if f.silent {
		<-ctx.Done()
		return engine.Message{}, context.Cause(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.replies) == 0 {
		return engine.Message{}, io.EOF
	}
	m := engine.Message{Pieces: [][]byte{f.replies[0]}}
	f.replies = f.replies[1:]
	return m, nil
}

func (f *fakeRPC) Headers(ctx context.Context) ([]wire.Metadatum, error) {
	f.mu.Lock()
	cancelled := f.cancelled > 0
	f.mu.Unlock()
	if f.silent && !cancelled {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	return f.headers, nil
}

func (f *fakeRPC) Status() *wire.End { return f.end }
func (f *fakeRPC) Sent() bool        { return f.sent }

func (f *fakeRPC) Cancel() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancelled++
}

// inTurn opens the attempts one after the other.
func inTurn(t *testing.T, attempts ...*fakeRPC) client.FakeCaller {
	t.Helper()
	return func(_ context.Context, open wire.Open) (client.RPC, error) {
		if len(attempts) == 0 {
			t.Error("one attempt too many")
			return nil, io.ErrUnexpectedEOF
		}
		next := attempts[0]
		attempts = attempts[1:]
		next.open = open
		return next, nil
	}
}
