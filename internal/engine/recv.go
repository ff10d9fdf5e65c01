package engine

import (
	"context"
	"io"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// recvSide is what a stream has received. Guarded by the endpoint's lock.
type recvSide struct {
	queue    queue[*inMessage] // complete messages
	room     [1]*inMessage     // of queue, mostly
	only     inMessage         // the first message
	part     *inMessage        // the one being put together
	charged  uint64            // sum of what arrived (D3)
	consumed uint64            // sum of what was consumed
	limit    uint64            // the limit granted to the peer
	window   tune.Window       // towards here
	taken    *inMessage        // handed out by the last Recv, not yet consumed
	reserve  *time.Timer       // bounds the wait for the reassembly budget (D4)
	granting bool              // in outbox.grants
	ended    bool              // no more frames follow
}

// Recv returns the next message, in order. The message taken before counts as
// consumed from this call on: its credit goes back to the peer (D3). It
// returns io.EOF after the last message, and the cause of ctx or, where that
// interrupts, of Context when one of them ends first; messages that are there come
// before the end of ctx. The bytes belong to the caller.
func (st *Stream) Recv(ctx context.Context) (Message, error) {
	for {
		m, err, ok := st.tryRecv()
		if ok {
			return m, err
		}
		select {
		case <-st.readable:
		case <-st.interrupt:
		case <-ctx.Done():
			if m, err, ok := st.tryRecv(); ok {
				return m, err
			}
			return Message{}, context.Cause(ctx)
		}
	}
}

func (st *Stream) tryRecv() (Message, error, bool) {
	e := st.ep
	e.mu.Lock()
	defer e.Unlock()
	r := &st.recv
	st.consume()
	if r.queue.len() > 0 {
		r.taken = r.queue.pop()
		st.extend()
		e.wakeIfGranting()
		return Message{Pieces: r.taken.pieces}, nil, true
	}
	e.wakeIfGranting()
	switch {
	case st.interrupt != nil && st.ctx.Err() != nil:
		return Message{}, context.Cause(st.ctx), true
	case r.ended:
		return Message{}, io.EOF, true
	}
	if st.readable == nil {
		st.readable = make(chan struct{}, 1)
	}
	return Message{}, nil, false
}

// beginMessage begins to put a message of that length together.
func (st *Stream) beginMessage(length int) {
	r := &st.recv
	r.part = &r.only
	if r.charged > wire.FrameCost {
		r.part = new(inMessage)
	}
	r.part.length = length
	r.part.pieces = r.part.first[:0]
}

// consume returns the credit of the message that was handed out last (D3).
func (st *Stream) consume() {
	r := &st.recv
	m := r.taken
	if m == nil {
		return
	}
	r.taken = nil
	r.consumed += uint64(m.length) + wire.FrameCost
	st.drop(m)
	if r.ended {
		return
	}
	switch {
	case st.ep.share.Tight():
		st.resize(r.window.Min)
		if st.used(min(tightWindow, r.window.Size)) {
			st.grant(r.consumed + uint64(min(tightWindow, r.window.Size)))
		}
	case st.used(r.window.Size):
		st.resize(r.window.Next(st.ep.Now(), st.ep.roundTrip(), r.consumed))
		st.grant(r.consumed + uint64(r.window.Size))
	}
	st.extend()
}

// floorWindow is what a stream's window shrinks to.
const floorWindow = 64 << 10

// resize makes the window that size if there is room: credit that was given stays.
func (st *Stream) resize(size int) {
	w := &st.recv.window
	first := st.ep.streamWindow.Size
	if st.ep.widen(max(size, first) - max(w.Size, first)) {
		w.Size = size
	}
}

// tightWindow is a stream's window while the bridge is at the edge of its
// budget (D8).
const tightWindow = wire.MaxFragment

// longestStep is the most that is used up of a window before it is extended.
const longestStep = 512 << 10

// used reports whether a quarter of a window of that size is used up.
func (st *Stream) used(window int) bool {
	return st.recv.consumed+uint64(window) >= st.recv.limit+uint64(min(window/4, longestStep))
}

// grant raises the peer's limit and sends it.
func (st *Stream) grant(limit uint64) {
	r := &st.recv
	if limit <= r.limit || r.ended || st.done {
		return
	}
	r.limit = limit
	if !r.granting {
		r.granting = true
		st.ep.out.grants = append(st.ep.out.grants, st)
	}
}

// extend lets the rest of a message come whose stated end is beyond the limit,
// when the stream holds no complete message to wait for (D4).
func (st *Stream) extend() {
	r := &st.recv
	if r.part == nil || r.queue.len() > 0 || r.part.reserved > 0 || r.reserve != nil || r.ended {
		return
	}
	rest := uint64(r.part.length - r.part.got)
	if r.charged+rest <= r.limit {
		return
	}
	if r.part.length+wire.FrameCost <= max(r.window.Size, shortInWindows*st.ep.streamWindow.Size) {
		st.grant(r.charged + rest)
		return
	}
	st.ep.reserve(st)
}

// shortInWindows is how many first windows a message may be long that needs no
// room in the budget for long ones (D4).
const shortInWindows = 4

// reserved is called when the budget has room for the message being put
// together.
func (st *Stream) reserved() {
	r := &st.recv
	if r.reserve != nil {
		r.reserve.Stop()
		r.reserve = nil
	}
	r.part.reserved = r.part.length
	st.grant(r.charged + uint64(r.part.length-r.part.got))
}

// DropReceived forgets what was received and not consumed: bytes of a stream
// that is over count as consumed (D3).
func (st *Stream) DropReceived() {
	r := &st.recv
	st.dropPart()
	for r.queue.len() > 0 {
		st.drop(r.queue.pop())
	}
	if r.taken != nil {
		st.drop(r.taken)
	}
	r.taken, r.ended = nil, true
}

// dropPart forgets the message that is being put together, and gives back what
// the window has grown: nothing more is taken.
func (st *Stream) dropPart() {
	st.ep.unqueueReserve(st)
	st.resize(min(st.recv.window.Size, st.ep.streamWindow.Size))
	if part := st.recv.part; part != nil {
		st.recv.part = nil
		st.drop(part)
	}
}

// SettleReceived gives back what unread messages hold, and leaves them to be
// read.
func (st *Stream) SettleReceived() {
	r := &st.recv
	for i := range r.queue.len() {
		st.drop(*r.queue.at(i))
	}
	if r.taken != nil {
		st.drop(r.taken)
	}
}

// drop gives back what a message holds, once.
func (st *Stream) drop(m *inMessage) {
	st.ep.hold(-m.got)
	m.got = 0
	if m.reserved > 0 {
		st.ep.unreserve(m.reserved)
		m.reserved = 0
	}
}
