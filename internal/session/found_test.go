package session_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/session"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// The tests of this file are what the simulation found, each made small.

// TestFound_gapBehindFullSocket: the frames that a full WebSocket carries
// cannot be acked before those that a lost answer had taken along.
func TestFound_gapBehindFullSocket(t *testing.T) {
	const pause = 5 * time.Second
	handle := func(st *session.Stream) {
		for i := range 10 {
			if i == 1 {
				time.Sleep(pause)
			}
			_ = st.Send(st.Context(), message(bytes.Repeat([]byte{byte(i)}, wire.MaxFragment-1000)))
		}
		st.End(wire.End{})
	}
	bubble(t, session.Config{Handle: handle, StreamWindow: 1 << 20}, func(t *testing.T, reg *session.Registry) {
		p := newPeer(t, reg)
		p.open()
		lost := <-p.park(p.batch(holding(time.Second), openFrame(1)))
		if n := len(lost.Frames); n != 1 {
			t.Fatalf("%d frames in the answer that is to be lost, want 1", n)
		}
		preferred := func(awaiting uint64) func(*wire.Batch) {
			return func(b *wire.Batch) { b.Prefer, b.Awaiting = 3, awaiting }
		}
		so := p.socket(preferred(2))
		time.Sleep(pause)
		if n := len(so.frames()); n == 0 {
			t.Fatal("nothing on the WebSocket")
		}
		late := p.batch(preferred(4))
		late.X = so.x
		if err := so.link.Deliver(wire.AppendBatch(nil, late)); err != nil {
			t.Fatal(err)
		}
		again := so.frames()
		if len(again) == 0 || again[0].Seq != 1 {
			t.Errorf("after the lost answer was given up: %d frames, want frame 1", len(again))
		}
		so.close()
	})
}
