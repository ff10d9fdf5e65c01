package enginetest_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// peer is a client that sends what a test says, batch by batch.
type peer struct {
	t           *testing.T
	acceptor    transport.Acceptor
	id, key     []byte
	x           uint64
	seq         uint64 // of the last frame
	ack         uint64
	incarnation uint64
	began       time.Time
	header      http.Header // of its requests
}

func newPeer(t *testing.T, reg *registry.Registry) *peer {
	p := &peer{t: t, acceptor: reg, id: make([]byte, 16), key: make([]byte, 16), began: time.Now()}
	_, _ = rand.Read(p.id)
	_, _ = rand.Read(p.key)
	return p
}

// bubble runs f in a synctest bubble with a Registry, which must be empty
// again when f and the longest window are over.
func bubble(t *testing.T, cfg registry.Config, f func(t *testing.T, reg *registry.Registry)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if cfg.Handle == nil {
			cfg.Handle = echo
		}
		reg := enginetest.NewRegistry(cfg)
		f(t, reg)
		reg.Close()
		synctest.Wait()
		if st := reg.Stats(); st.Sessions != 0 || st.Streams != 0 || st.BufferedBytes != 0 {
			t.Errorf("left behind: %+v", st)
		}
	})
}

// batch is the next batch of the peer, with its frames numbered.
func (p *peer) batch(change func(*wire.Batch), frames ...wire.Frame) *wire.Batch {
	p.x++
	b := &wire.Batch{
		Session: p.id, Key: p.key, X: p.x, Incarnation: p.incarnation, Ack: p.ack,
		Awaiting: p.x, NowMicros: uint64(time.Since(p.began).Microseconds()) + p.x,
	}
	for _, f := range frames {
		p.seq++
		f.Seq = p.seq
		b.Frames = append(b.Frames, f)
	}
	if change != nil {
		change(b)
	}
	return b
}

// accept opens a link with a batch.
func (p *peer) accept(kind transport.Kind, b *wire.Batch) transport.Link {
	return p.acceptor.Accept(p.t.Context(), transport.Hello{
		Header: p.header,
		Kind:   kind, Session: wire.EncodeSession(p.id), Batch: wire.AppendBatch(nil, b), RemoteAddr: "192.0.2.1",
	})
}

// parked is an exchange in flight; its answer comes on the channel.
func (p *peer) park(b *wire.Batch) <-chan *wire.Batch {
	c := make(chan *wire.Batch, 1)
	link := p.accept(transport.Longpoll, b)
	go func() {
		defer close(c)
		defer link.Close()
		answer, err := next(p.t.Context(), link, 1<<20)
		if err == nil {
			c <- p.parse(answer)
		}
	}()
	synctest.Wait()
	return c
}

// poll is an exchange that is waited for.
func (p *peer) poll(b *wire.Batch) *wire.Batch {
	p.t.Helper()
	answer := <-p.park(b)
	if answer == nil {
		p.t.Fatal("no answer")
	}
	p.take(answer)
	return answer
}

// take acks an answer's frames.
func (p *peer) take(b *wire.Batch) {
	for _, f := range b.Frames {
		if f.Seq == p.ack+1 {
			p.ack++
		}
	}
}

func (p *peer) parse(raw []byte) *wire.Batch {
	b := new(wire.Batch)
	if err := wire.ParseBatch(raw, b); err != nil {
		p.t.Error(err)
	}
	return b
}

// answered tells whether a parked exchange has its answer by now.
func answered(c <-chan *wire.Batch) *wire.Batch {
	synctest.Wait()
	select {
	case b := <-c:
		return b
	default:
		return nil
	}
}

func withHello(b *wire.Batch) {
	b.Hello = &wire.Hello{Release: "test/1", StreamWindow: 64 << 10}
	b.Versions = &wire.Versions{Lowest: 1, Highest: 1}
}

func holding(d time.Duration) func(*wire.Batch) {
	return func(b *wire.Batch) { b.HoldMillis = uint32(d.Milliseconds()) }
}

// open makes the session.
func (p *peer) open() *wire.Welcome {
	p.t.Helper()
	b := p.poll(p.batch(withHello))
	if b.Welcome == nil || b.Incarnation == 0 {
		p.t.Fatalf("no Welcome: %+v", b)
	}
	p.incarnation = b.Incarnation
	return b.Welcome
}

func openFrame(stream uint64) wire.Frame {
	return wire.Frame{Stream: stream, Type: wire.TypeOpen, Open: &wire.Open{Method: "/test/Echo"}}
}

func earlyFrame(stream uint64) wire.Frame {
	return wire.Frame{Stream: stream, Type: wire.TypeOpen, Open: &wire.Open{Method: "/test/Echo", Early: true}}
}

func dataFrame(stream uint64, data string) wire.Frame {
	return wire.Frame{Stream: stream, Type: wire.TypeMessage, First: true, Length: uint64(len(data)), Data: []byte(data)}
}

func frameOf(stream uint64, kind wire.FrameType) wire.Frame {
	return wire.Frame{Stream: stream, Type: kind}
}

// socket is a WebSocket of the peer.
type socket struct {
	p    *peer
	x    uint64
	link transport.Link
	got  chan *wire.Batch
	done chan struct{}
	stop context.CancelFunc
}

func (p *peer) socket(change func(*wire.Batch), frames ...wire.Frame) *socket {
	b := p.batch(change, frames...)
	so := &socket{p: p, x: b.X, got: make(chan *wire.Batch, 1000), done: make(chan struct{})}
	so.link = p.accept(transport.WS, b)
	ctx, stop := context.WithCancel(p.t.Context())
	so.stop = stop
	go func() {
		defer close(so.done)
		for {
			raw, err := next(ctx, so.link, 64<<10)
			if err != nil {
				return
			}
			so.got <- p.parse(raw)
		}
	}()
	synctest.Wait()
	return so
}

// close drops the WebSocket.
func (so *socket) close() {
	so.stop()
	<-so.done
	so.link.Close()
}

// frames are those that came so far.
func (so *socket) frames() []wire.Frame {
	synctest.Wait()
	var all []wire.Frame
	for {
		select {
		case b := <-so.got:
			all = append(all, b.Frames...)
		default:
			return all
		}
	}
}

func hello(kind transport.Kind, sid string, batch []byte) transport.Hello {
	return transport.Hello{Kind: kind, Session: sid, Batch: batch, RemoteAddr: "test"}
}
