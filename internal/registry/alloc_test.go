package registry_test

import (
	"context"
	"io"
	"runtime"
	"testing"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// echoing is a bridge whose RPCs answer as a unary backend does, and one
// WebSocket's link to it, without carriage.
type echoing struct {
	tb   testing.TB
	link transport.Link
	head wire.Batch // of the client's batches
	seq  uint64
	took wire.Batch
	buf  []byte

	builder wire.Builder
}

func newEchoing(tb testing.TB, handle func(*registry.Stream)) *echoing {
	reg := enginetest.NewRegistry(registry.Config{Handle: handle})
	tb.Cleanup(reg.Close)
	id := [wire.IDSize]byte{1}
	e := &echoing{tb: tb, head: wire.Batch{X: 1, Prefer: 1}}
	hello := e.head
	hello.Session, hello.Key = id[:], make([]byte, wire.KeySize)
	hello.Hello = &wire.Hello{StreamWindow: 64 << 10, MaxMessageBytes: 1 << 20}
	hello.Versions = &wire.Versions{Lowest: wire.LowestVersion, Highest: wire.HighestVersion}
	e.link = reg.Accept(tb.Context(), transport.Hello{Kind: transport.WS, Session: wire.EncodeSession(id[:]), Batch: wire.AppendBatch(nil, &hello)})
	tb.Cleanup(e.link.Close)
	e.next()
	e.head.Incarnation = e.took.Incarnation
	return e
}

// say delivers frames, which get their seqs here. The engine owns the bytes, so
// they are always new.
func (e *echoing) say(frames ...wire.Frame) {
	e.head.NowMicros++
	e.head.Frames = frames
	for i := range frames {
		e.seq++
		frames[i].Seq = e.seq
	}
	e.builder.Begin(&e.head)
	for i := range frames {
		e.builder.AppendFrame(&frames[i])
	}
	batch := transport.Batch(e.builder.Finish()).AppendTo(nil)
	if err := e.link.Deliver(context.Background(), batch); err != nil {
		e.tb.Fatal(err)
	}
}

// next takes one batch from the bridge, and acks it with what is said next.
func (e *echoing) next() {
	batch, err := e.link.Next(context.Background(), 64<<10)
	if err != nil {
		e.tb.Fatal(err)
	}
	e.buf = batch.AppendTo(e.buf[:0])
	if err := wire.ParseBatch(e.buf, &e.took); err != nil {
		e.tb.Fatal(err)
	}
	for i := range e.took.Frames {
		e.head.Ack = max(e.head.Ack, e.took.Frames[i].Seq)
	}
}

// unary makes one RPC of 100 bytes each way.
func (e *echoing) unary(stream uint64, open *wire.Open, request []byte) {
	e.say(
		wire.Frame{Stream: stream, Type: wire.TypeOpen, Open: open},
		wire.Frame{Stream: stream, Type: wire.TypeMessage, First: true, Length: uint64(len(request)), Data: request},
		wire.Frame{Stream: stream, Type: wire.TypeHalfClose},
	)
	for ended := false; !ended; {
		e.next()
		for i := range e.took.Frames {
			f := &e.took.Frames[i]
			ended = ended || f.Type == wire.TypeEnd && f.Stream == stream
		}
	}
}

func answer(st *registry.Stream) {
	m, err := st.Recv(st.Context())
	if err == nil {
		err = st.SendHeaders(nil)
	}
	if err == nil {
		err = st.Send(st.Context(), m)
	}
	if err == nil {
		st.End(wire.End{})
	}
}

// mallocs is how often a function of n operations allocates for one of them,
// in every goroutine.
func mallocs(n int, f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n)
}

// TestAllocations holds what the engine's part of an RPC and of a streamed
// message may allocate.
func TestAllocations(t *testing.T) {
	const n = 2000
	t.Run("unary", func(t *testing.T) {
		e := newEchoing(t, answer)
		open := &wire.Open{Method: "/s/m", SingleRequest: true, SingleResponse: true}
		request := make([]byte, 100)
		stream := uint64(0)
		run := func() {
			for range n {
				stream++
				e.unary(stream, open, request)
			}
		}
		run() // fills pools
		// 12 mostly; with the race detector pools forget some of what they are given.
		if got := mallocs(n, run); got > 20 {
			t.Errorf("%.1f allocations for a unary RPC, want 20 at most", got)
		}
	})
	t.Run("streamed message", func(t *testing.T) {
		e := newEchoing(t, flood)
		open := &wire.Open{Method: "/s/m", SingleRequest: true}
		e.say(wire.Frame{Stream: 1, Type: wire.TypeOpen, Open: open}, wire.Frame{Stream: 1, Type: wire.TypeHalfClose})
		granted := uint64(0)
		run := func() {
			for got := 0; got < n; {
				e.next()
				for i := range e.took.Frames {
					if e.took.Frames[i].Type == wire.TypeMessage {
						got++
					}
				}
				granted += 64 << 10
				e.say(wire.Frame{Stream: 1, Type: wire.TypeWindow, Limit: granted})
			}
		}
		for range 5 { // until the queue is as long as the rate needs
			run()
		}
		if got := mallocs(n, run); got > 1 {
			t.Errorf("%.2f allocations for a streamed message, want 1 at most", got)
		}
	})
}

// flood sends one message again and again.
func flood(st *registry.Stream) {
	piece := [][]byte{make([]byte, 100)}
	_, err := st.Recv(st.Context())
	for err == nil || err == io.EOF {
		err = st.Send(st.Context(), engine.Message{Pieces: piece})
	}
}

// BenchmarkUnary is the engine's part of a unary RPC of 100 bytes.
func BenchmarkUnary(b *testing.B) {
	e := newEchoing(b, answer)
	open := &wire.Open{Method: "/s/m", SingleRequest: true, SingleResponse: true}
	request := make([]byte, 100)
	stream := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		stream++
		e.unary(stream, open, request)
	}
}
