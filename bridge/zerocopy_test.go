package bridge_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// carriage is an RPC of the same message again and again, both ways, through a
// bridge with nothing on its sides: it is the bridge's stream and gRPC channel.
// Like gRPC it has the codec encode and decode, and frees what it gave.
type carriage struct {
	messages int      // each way
	up       [][]byte // the message from the client, in the session's pieces
	down     []byte   // the message from the backend, in gRPC's buffer

	received, sent, replied int
	freed                   int // of down
	copiedUp, copiedDown    int
	codec                   encoding.CodecV2
}

// carry runs the RPC, unary or as a stream.
func (c *carriage) carry(ctx context.Context, srv *bridge.Server, unary bool) error {
	c.received, c.sent, c.replied = 0, 0, 0
	end := srv.RunRPC(ctx, c, &wire.Open{Method: "/s/m", SingleRequest: unary, SingleResponse: unary})
	if end.Status != 0 || c.sent != c.messages || c.replied != c.messages {
		return fmt.Errorf("%d messages came, %d went: %+v", c.replied, c.sent, end)
	}
	return nil
}

// Recv, Send and SendHeaders are the stream's.

func (c *carriage) Recv(context.Context) (engine.Message, error) {
	if c.received == c.messages {
		return engine.Message{}, io.EOF
	}
	c.received++
	return engine.Message{Pieces: c.up}, nil
}

func (c *carriage) Send(_ context.Context, m engine.Message) error {
	if len(m.Pieces) != 1 || &m.Pieces[0][0] != &c.down[0] {
		c.copiedDown++
	}
	m.Free()
	return nil
}

func (c *carriage) SendHeaders([]wire.Metadatum) error { return nil }

// Invoke and NewStream are the gRPC channel's, the rest those of its stream.

func (c *carriage) Invoke(_ context.Context, _ string, args, reply any, opts ...grpc.CallOption) error {
	c.use(opts)
	if err := c.SendMsg(args); err != nil {
		return err
	}
	return c.RecvMsg(reply)
}

func (c *carriage) NewStream(_ context.Context, _ *grpc.StreamDesc, _ string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c.use(opts)
	return c, nil
}

func (c *carriage) use(opts []grpc.CallOption) {
	for _, o := range opts {
		if codec, ok := o.(grpc.ForceCodecV2CallOption); ok {
			c.codec = codec.CodecV2
		}
	}
}

func (c *carriage) SendMsg(m any) error {
	data, err := c.codec.Marshal(m)
	if err != nil {
		return err
	}
	for i, piece := range c.up {
		if len(data) != len(c.up) || &data[i].ReadOnlyData()[0] != &piece[0] {
			c.copiedUp++
		}
	}
	c.sent++
	data.Free()
	return nil
}

func (c *carriage) RecvMsg(m any) error {
	if c.replied == c.messages {
		return io.EOF
	}
	c.replied++
	data := mem.BufferSlice{mem.NewBuffer(&c.down, c)}
	defer data.Free()
	return c.codec.Unmarshal(data, m)
}

func (*carriage) Header() (metadata.MD, error) { return metadata.MD{}, nil }
func (*carriage) Trailer() metadata.MD         { return nil }
func (*carriage) CloseSend() error             { return nil }
func (*carriage) Context() context.Context     { return context.Background() }

// Get and Put are those of the pool that down is from.

func (*carriage) Get(int) *[]byte { panic("unused") }
func (c *carriage) Put(*[]byte)   { c.freed++ }

// carriages calls f for both shapes of RPC and for messages of three sizes.
func carriages(tb testing.TB, f func(name string, c *carriage, carry func() error)) {
	for _, unary := range []bool{true, false} {
		for _, size := range []int{2 << 10, 64 << 10, 1 << 20} {
			c := &carriage{messages: 20, down: make([]byte, size)}
			name := fmt.Sprintf("stream/%dKiB", size>>10)
			if unary {
				c.messages, name = 1, fmt.Sprintf("unary/%dKiB", size>>10)
			}
			for left := size; left > 0; left -= wire.MaxFragment {
				c.up = append(c.up, make([]byte, min(left, wire.MaxFragment)))
			}
			srv, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{ClientConn: c}}})
			if err != nil {
				tb.Fatal(err)
			}
			f(name, c, func() error { return c.carry(tb.Context(), srv, unary) })
			if err := srv.Shutdown(context.Background()); err != nil {
				tb.Error(err)
			}
		}
	}
}

// TestProxy_noCopy: a message's bytes reach gRPC where the session has them, and
// the session where gRPC has them, and gRPC gets its buffer back. Nor is as much
// as a quarter of a message allocated for each on the way.
func TestProxy_noCopy(t *testing.T) {
	carriages(t, func(name string, c *carriage, carry func() error) {
		var before, after runtime.MemStats
		const rounds = 20
		runtime.ReadMemStats(&before)
		for range rounds {
			if err := carry(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		runtime.ReadMemStats(&after)
		if c.copiedUp+c.copiedDown > 0 || c.freed != rounds*c.messages {
			t.Errorf("%s: %d pieces copied upwards, %d messages downwards, %d of %d buffers freed", name, c.copiedUp, c.copiedDown, c.freed, rounds*c.messages)
		}
		size := uint64(len(c.down))
		if each := (after.TotalAlloc - before.TotalAlloc) / uint64(rounds*c.messages); size >= 64<<10 && each > size/4 {
			t.Errorf("%s: %d bytes allocated for a message of %d each way", name, each, size)
		}
	})
}

// BenchmarkProxy_message is what the bridge allocates, between session and gRPC,
// for messages that go both ways.
func BenchmarkProxy_message(b *testing.B) {
	carriages(b, func(name string, c *carriage, carry func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(2 * int64(c.messages*len(c.down)))
			for b.Loop() {
				if err := carry(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}
