package session

import (
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// sendSide is what a stream has to send. Guarded by Session.mu.
type sendSide struct {
	queue   queue[outItem]
	room    [3]outItem // of queue, mostly: headers, a message, the end
	bytes   int        // message bytes in queue, not yet cut
	limit   uint64     // the peer's WINDOW (D3)
	used    uint64     // sum charged against it
	inTurn  bool       // in outbox.turn
	blocked bool       // waits for credit: its bytes are not in outbox.ready
	held    bool       // may not be sent yet: corked, or waiting for the Welcome (O4)
	waiting bool       // a Send waits for room
	closed  bool       // nothing more may be queued
}

// sendQueueBytes is what a stream queues before Send waits.
const sendQueueBytes = 64 << 10

// credit is how many bytes of the head message the peer's window still allows.
// Negative: not even the message's start.
func (st *Stream) credit() int {
	free := st.send.limit - st.send.used
	if st.send.used > st.send.limit {
		return -1
	}
	if m := st.send.queue.at(0).msg; m == nil || m.started {
		return int(min(free, uint64(maxMessageUnlimited)))
	}
	return int(min(free, uint64(maxMessageUnlimited))) - wire.FrameCost
}

// hasCredit tells whether the head of the queue may be sent.
func (st *Stream) hasCredit() bool {
	m := st.send.queue.at(0).msg
	if m == nil {
		return true
	}
	if m.length == 0 {
		return st.credit() >= 0
	}
	return st.credit() > 0
}

// sendable tells whether the stream has something that it may send.
func (st *Stream) sendable() bool {
	return !st.send.held && st.send.queue.len() > 0 && st.hasCredit()
}

// enqueue appends an item and puts the stream in turn.
func (st *Stream) enqueue(item outItem) {
	st.send.queue.push(item)
	if item.msg != nil {
		st.s.out.hold(item.msg.length)
		st.setBytes(st.send.bytes + item.msg.length)
	}
	st.activate()
}

// activate puts the stream in turn if it has something that it may send.
func (st *Stream) activate() {
	if st.send.inTurn || !st.sendable() {
		return
	}
	st.setBlocked(false)
	st.send.inTurn = true
	st.s.out.turn.push(st)
}

// setBlocked moves the stream's bytes out of, or back into, what counts as
// ready to be sent.
func (st *Stream) setBlocked(blocked bool) {
	if st.send.blocked == blocked {
		return
	}
	before := st.weight()
	st.send.blocked = blocked
	st.s.out.ready += st.weight() - before
	if blocked {
		st.s.wakeStalled()
	}
}

// weight is what the stream counts in the outbox: what waits behind the head of
// a long message is no reason to hold others up.
func (st *Stream) weight() int {
	if st.send.blocked {
		return 0
	}
	return min(st.send.bytes, sendQueueBytes)
}

func (st *Stream) setBytes(n int) {
	before := st.weight()
	st.send.bytes = n
	st.s.out.ready += st.weight() - before
}

// sentBytes accounts for n bytes cut off the queue's head.
func (st *Stream) sentBytes(n int) {
	st.setBytes(st.send.bytes - n)
	if st.send.waiting && st.send.bytes <= sendQueueBytes {
		signal(st.writable)
	}
}

// dropQueue forgets what was not sent.
func (st *Stream) dropQueue() {
	for st.send.queue.len() > 0 {
		item := st.send.queue.pop()
		if item.msg == nil {
			continue
		}
		st.s.out.hold(item.msg.cut - item.msg.length)
		item.msg.dropped = true
		item.msg.settle()
	}
	st.setBytes(0)
	signal(st.writable)
	st.s.wakeStalled()
}

// recvSide is what a stream has received. Guarded by Session.mu.
type recvSide struct {
	queue    queue[*inMessage] // complete messages
	room     [1]*inMessage     // of queue, mostly
	only     inMessage         // the first message
	part     *inMessage        // the one being put together
	charged  uint64            // sum of what arrived (D3)
	consumed uint64            // sum of what was consumed
	limit    uint64            // the limit granted to the peer
	window   int               // size of the window now
	taken    *inMessage        // handed out by the last Recv, not yet consumed
	granting bool              // in outbox.grants
	reserve  *time.Timer       // bounds the wait for the reassembly budget (D4)
	ended    bool              // no more frames follow
}

// onMessage takes a MESSAGE frame. A returned error is a breach.
func (st *Stream) onMessage(f *wire.Frame) *Error {
	r := &st.recv
	if f.First != (r.part == nil) {
		return breach("stream %d: a message's fragments are out of step", st.id)
	}
	if len(f.Data) > wire.MaxFragment {
		return breach("stream %d: a fragment of %d bytes, limit %d", st.id, len(f.Data), wire.MaxFragment)
	}
	if f.First {
		r.charged += wire.FrameCost
		if f.Length > uint64(st.s.maxMessage) {
			return st.tooLarge(f.Length)
		}
		r.part = &r.only
		if r.charged > wire.FrameCost {
			r.part = new(inMessage)
		}
		r.part.length = int(f.Length)
		r.part.pieces = r.part.first[:0]
	}
	r.charged += uint64(len(f.Data))
	if r.charged > r.limit {
		return breach("stream %d: %d bytes beyond its window", st.id, r.charged-r.limit)
	}
	m := r.part
	if len(f.Data) == 0 && m.length > 0 || m.got+len(f.Data) > m.length {
		return breach("stream %d: a fragment does not fit its message", st.id)
	}
	if len(f.Data) > 0 {
		m.pieces = append(m.pieces, f.Data)
		m.got += len(f.Data)
		st.s.hold(len(f.Data))
	}
	if m.got == m.length {
		r.part = nil
		r.queue.push(m)
		signal(st.readable)
		return nil
	}
	st.extend()
	return nil
}

// tooLarge ends the RPC for a message over the limit.
func (st *Stream) tooLarge(length uint64) *Error {
	st.fail(bridgeEnd(statusResourceExhausted, ReasonLimit,
		"message of %d bytes is over the limit of %d", length, st.s.maxMessage))
	return nil
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
	case st.s.tight():
		st.grantFor(min(tightWindow, r.window))
	case st.grantFor(r.window):
		r.window = min(2*r.window, st.s.streamWindow*windowGrowth)
		st.grant(r.consumed + uint64(r.window))
	}
	st.extend()
}

// tightWindow is a stream's window while the bridge is at the edge of its
// budget (D8).
const tightWindow = wire.MaxFragment

// grantFor grants a window if half of it or more is used up. It reports whether
// it did.
func (st *Stream) grantFor(window int) bool {
	r := &st.recv
	if r.consumed+uint64(window) < r.limit+uint64(window)/2 {
		return false
	}
	st.grant(r.consumed + uint64(window))
	return true
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
		st.s.out.grants = append(st.s.out.grants, st)
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
	if r.part.length+wire.FrameCost <= st.s.streamWindow*windowGrowth {
		st.grant(r.charged + rest)
		return
	}
	st.s.reserve(st)
}

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

// dropReceived forgets what was received and not consumed: bytes of a stream
// that is over count as consumed (D3).
func (st *Stream) dropReceived() {
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

// dropPart forgets the message that is being put together.
func (st *Stream) dropPart() {
	st.s.unqueueReserve(st)
	if part := st.recv.part; part != nil {
		st.recv.part = nil
		st.drop(part)
	}
}

// settleReceived gives back what unread messages hold, and leaves them to be
// read.
func (st *Stream) settleReceived() {
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
	st.s.hold(-m.got)
	m.got = 0
	if m.reserved > 0 {
		st.s.unreserve(m.reserved)
		m.reserved = 0
	}
}
