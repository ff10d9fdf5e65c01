package enginetest_test

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// TestMessage_notCopied: a received message is a part of the batch that brought
// it; a message to be sent stays where it is, also in the batch that a link writes,
// and is freed when it was acked and no link writes it any more: it may be acked on
// another link meanwhile.
func TestMessage_notCopied(t *testing.T) {
	const cut = 4 << 10 // of the first fragments
	payload := bytes.Repeat([]byte("p"), 2*cut)
	var got engine.Message
	reply := engine.Message{Pieces: [][]byte{bytes.Clone(payload), bytes.Clone(payload)}}
	freed := 0
	handle := func(st *registry.Stream) {
		got, _ = st.Recv(st.Context())
		_ = st.Send(st.Context(), engine.Message{Pieces: reply.Pieces, Free: func() { freed++ }})
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		raw := wire.AppendBatch(nil, p.batch(nil, openFrame(1), dataFrame(1, string(payload))))
		link := reg.Accept(t.Context(), transport.Hello{Kind: transport.Longpoll, Session: wire.EncodeSession(p.id), Batch: raw, RemoteAddr: "192.0.2.1"})
		synctest.Wait()
		if at := bytes.Index(raw, payload); len(got.Pieces) != 1 || &got.Pieces[0][0] != &raw[at] {
			t.Error("the message received is not where the batch has it")
		}

		for _, piece := range reply.Pieces { // it waits in the outbox
			copy(piece, "changed")
		}
		answer, err := link.Next(t.Context(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range reply.Pieces {
			for fragment := range slices.Chunk(piece, cut) {
				if !slices.ContainsFunc(answer, func(sent []byte) bool { return len(sent) == cut && &sent[0] == &fragment[0] }) {
					t.Error("a part of the message is not where it was, in the batch that is sent")
				}
			}
		}
		b := p.parse(answer.AppendTo(nil))
		var sent []byte
		for _, f := range b.Frames {
			sent = append(sent, f.Data...)
		}
		if !bytes.Equal(sent, reply.Bytes()) {
			t.Error("the message sent is not what its bytes were when the link took it")
		}
		p.ack = b.Frames[0].Seq // of its fragments the first
		p.poll(p.batch(holding(time.Second)))
		if freed != 0 {
			t.Error("freed before the last of it was acked")
		}
		p.take(b)
		p.poll(p.batch(nil))
		if freed != 0 {
			t.Error("freed while a link still writes it")
		}
		link.Close()
		if freed != 1 {
			t.Errorf("freed %d times", freed)
		}
	})
}
