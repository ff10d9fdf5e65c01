package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// quietRole is a role of a session without RPCs.
type quietRole struct{}

func (quietRole) Wake()              {}
func (quietRole) Appetite() int      { return engine.Unlimited }
func (quietRole) Over(*engine.Error) {}

// What a lasting link has to send, and when. Asking changes nothing: the second
// answer is the first one.
func TestLasting_due(t *testing.T) {
	frame := func(seq uint64, size int) wire.Frame {
		return wire.Frame{Seq: seq, Stream: 7, Type: wire.TypeMessage, Data: make([]byte, size)}
	}
	receive := func(t *testing.T, e *engine.Endpoint, frames ...wire.Frame) {
		t.Helper()
		if err := e.Receive(&wire.Batch{Frames: frames}); err != nil {
			t.Fatal(err)
		}
	}
	const ackDelay = 20 * time.Millisecond
	for name, c := range map[string]struct {
		do     func(t *testing.T, e *engine.Endpoint, l *engine.Lasting)
		after  time.Duration // from now on; 0: at once
		frames bool
	}{
		"nothing": {
			do:    func(*testing.T, *engine.Endpoint, *engine.Lasting) {},
			after: engine.LongestWait,
		},
		"frames may go where they are preferred": {
			do:    func(_ *testing.T, e *engine.Endpoint, _ *engine.Lasting) { e.Prefer(3) },
			after: engine.LongestWait, frames: true,
		},
		"an ack, alone": {
			do:    func(t *testing.T, e *engine.Endpoint, _ *engine.Lasting) { receive(t, e, frame(1, 100)) },
			after: ackDelay,
		},
		"an ack since the first frame": {
			do: func(t *testing.T, e *engine.Endpoint, _ *engine.Lasting) {
				receive(t, e, frame(1, 100))
				time.Sleep(ackDelay / 2)
				receive(t, e, frame(2, 100))
			},
			after: ackDelay / 2,
		},
		"an ack of much": {
			do: func(t *testing.T, e *engine.Endpoint, _ *engine.Lasting) { receive(t, e, frame(1, 16<<10)) },
		},
		"an ack that another link took along": {
			do: func(t *testing.T, e *engine.Endpoint, _ *engine.Lasting) {
				receive(t, e, frame(1, 16<<10))
				e.BuildOneShot(engine.NewOutgoing(), &wire.Batch{}, engine.LinkID{Number: 4, Kind: transport.Longpoll}, 1<<10, false)
			},
			after: engine.LongestWait,
		},
		"a pong": {
			do: func(_ *testing.T, e *engine.Endpoint, l *engine.Lasting) { l.Received(&wire.Batch{Ping: 5}, e.Now()) },
		},
		"a request for frames that were dropped": {
			do: func(t *testing.T, e *engine.Endpoint, _ *engine.Lasting) {
				var frames []wire.Frame
				for seq := uint64(2); seq < 1100; seq++ {
					frames = append(frames, frame(seq, 0))
				}
				receive(t, e, frames...)
			},
		},
		"CLOSE, not where it is not preferred": {
			do: func(_ *testing.T, e *engine.Endpoint, _ *engine.Lasting) {
				e.QueueClose(&wire.Close{Code: wire.CodeDone})
			},
			after: engine.LongestWait,
		},
		"CLOSE": {
			do: func(_ *testing.T, e *engine.Endpoint, _ *engine.Lasting) {
				e.Prefer(3)
				e.QueueClose(&wire.Close{Code: wire.CodeDone})
			},
			frames: true,
		},
		"no frames once the session is over": {
			do: func(_ *testing.T, e *engine.Endpoint, _ *engine.Lasting) {
				e.Prefer(3)
				e.Over(&engine.Error{Reason: engine.ReasonClosed})
			},
			after: engine.LongestWait,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var e engine.Endpoint
				e.Init(engine.Config{Role: quietRole{}, Epoch: time.Now(), StreamWindow: 64 << 10, PeerStreamWindow: 64 << 10, SessionWindow: 1 << 20, MaxMessage: 1 << 20})
				l := &engine.Lasting{ID: engine.LinkID{Number: 3, Kind: transport.WS}}
				l.Init(&e, nil, nil)
				e.Attach(l)
				if d := l.Due(e.Now()); d.At > e.Now() {
					t.Errorf("the first batch is due in %v, want at once", d.At-e.Now())
				}
				l.Build(engine.NewOutgoing(), 1<<10, new(wire.Batch), engine.Due{})
				c.do(t, &e, l)
				now := e.Now()
				first := l.Due(now)
				if got := max(first.At-now, 0); got != c.after || first.Frames != c.frames {
					t.Errorf("due in %v, with frames: %v; want in %v, %v", got, first.Frames, c.after, c.frames)
				}
				if again := l.Due(now); again != first {
					t.Errorf("due %+v, and asked again %+v", first, again)
				}
			})
		})
	}
}
