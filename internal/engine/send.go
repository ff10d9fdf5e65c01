package engine

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// sendSide is what a stream has to send. Guarded by the endpoint's lock.
type sendSide struct {
	queue   queue[outItem]
	room    [3]outItem // of queue, mostly: headers, a message, the end
	bytes   int        // message bytes in queue, not yet cut
	limit   uint64     // the peer's WINDOW (D3)
	step    int        // by how much it grew last
	used    uint64     // sum charged against it
	inTurn  bool       // in outbox.turn
	active  bool       // in outbox.turn, and may send
	blocked bool       // waits for credit: its bytes are not in outbox.ready
	stalled bool       // a Send waits for room in queue
	closed  bool       // nothing more may be queued

	kept  int         // bytes held for the next message (D8)
	lapse *time.Timer // lets go of them
}

// sendQueueBytes is what a stream queues before Send waits, at least.
const sendQueueBytes = 64 << 10

// queueLimit is what the stream queues before Send waits: as much as the batches take
// that may leave at once, where the peer gives credit in large steps, because it
// consumes fast.
func (st *Stream) queueLimit() int {
	return max(sendQueueBytes, min(stepsQueued*st.send.step, st.ep.leavesAtOnce()))
}

// stepsQueued is how many times the last step of credit are queued: the next step
// will be larger.
const stepsQueued = 4

// Send queues one message and waits until the stream's queue has room for the
// next (back-pressure). The engine owns the bytes until it calls m.Free, which
// it does also when Send fails. See CanSend for errors; it also returns the cause
// of ctx, and an *Error of ReasonOverloaded where the budget has no room for a
// message of over 64 KiB.
func (st *Stream) Send(ctx context.Context, m Message) error {
	n := m.Len()
	if err := st.queueMessage(m); err != nil {
		return err
	}
	if err := st.awaitRoom(ctx); err != nil || n <= sendQueueBytes || st.request.SingleResponse {
		return err
	}
	// The next message may be as long, and when it comes there must be room (D8).
	held, err := st.ep.share.await(ctx, st.interrupt, n)
	if held {
		st.keepRoom(n)
	}
	return err
}

// roomKept is how long room is kept for a stream's next message.
const roomKept = time.Second

// keepRoom keeps n bytes, which are held, for the next message.
func (st *Stream) keepRoom(n int) {
	st.ep.mu.Lock()
	defer st.ep.mu.Unlock()
	st.send.kept = n
	st.send.lapse = time.AfterFunc(roomKept, func() {
		st.ep.mu.Lock()
		defer st.ep.mu.Unlock()
		st.ep.share.Hold(-st.takeKept())
	})
}

// takeKept returns how many bytes are kept, which are the caller's from then on.
func (st *Stream) takeKept() int {
	n := st.send.kept
	if n > 0 {
		st.send.kept = 0
		st.send.lapse.Stop()
	}
	return n
}

// awaitRoom waits until the stream's queue has room for another message.
func (st *Stream) awaitRoom(ctx context.Context) error {
	for {
		if err, ok := st.hasRoom(); ok {
			return err
		}
		select {
		case <-st.writable:
		case <-st.interrupt:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (st *Stream) queueMessage(m Message) error {
	e := st.ep
	e.mu.Lock()
	defer e.Unlock()
	if err := st.CanSend(); err != nil {
		if m.Free != nil {
			m.Free()
		}
		return err
	}
	if err := st.takeRoom(m.Len()); err != nil {
		if m.Free != nil {
			m.Free()
		}
		return err
	}
	msg := newOutMessage(m)
	if msg.length > wire.MaxFragment || st.send.queue.len() > 2 {
		st.Uncork()
	}
	st.enqueue(outItem{msg: msg})
	e.wakeFor(st)
	return nil
}

// takeRoom holds the bytes of a message that is to be queued. A long one needs room
// in the budget (D8): it was asked for before that was known to be used up.
func (st *Stream) takeRoom(n int) error {
	e, kept := st.ep, st.takeKept()
	if n <= max(sendQueueBytes, kept) {
		e.share.Hold(n - kept)
	} else if !e.share.take(n - kept) {
		e.share.Hold(-kept)
		return &Error{Reason: ReasonOverloaded, Message: fmt.Sprintf("no room for a message of %d bytes: this principal holds its share of the bridge's buffers (%d of %d bytes)", n, e.share.Held(), e.share.budget.limit)}
	}
	e.out.bytes += n
	return nil
}

// CanSend returns why nothing more can be queued: io.EOF when the peer ended the
// RPC, or this side gave it up; an *Error after this side's end; the cause of
// Context when that has ended.
func (st *Stream) CanSend() error {
	switch {
	case st.done && st.interrupt == nil:
		return io.EOF
	case st.done || st.send.closed:
		return &Error{Reason: ReasonEnded, Message: "send after the end of the RPC"}
	case st.ctx.Err() != nil:
		return context.Cause(st.ctx)
	}
	return nil
}

// hasRoom reports whether Send may return, and with what.
func (st *Stream) hasRoom() (error, bool) {
	e := st.ep
	e.mu.Lock()
	defer e.mu.Unlock()
	st.send.stalled = false
	switch {
	case st.done && st.interrupt == nil:
		// The message was taken before the end came: the next Send returns it.
		return nil, true
	case st.ctx.Err() != nil:
		return context.Cause(st.ctx), true
	case st.send.bytes > st.queueLimit(), st.send.bytes > 0 && !st.corked && e.scarce():
		st.send.stalled = true
	case e.congested():
		e.out.stalled.push(st)
	default:
		return nil, true
	}
	if st.writable == nil {
		st.writable = make(chan struct{}, 1)
	}
	return nil, false
}

// credit is how many bytes of the head message the peer's window still allows.
// Negative: not even the message's start.
func (st *Stream) credit() int {
	free := st.send.limit - st.send.used
	if st.send.used > st.send.limit {
		return -1
	}
	if m := st.send.queue.at(0).msg; m == nil || m.started {
		return int(min(free, uint64(Unlimited)))
	}
	return int(min(free, uint64(Unlimited))) - wire.FrameCost
}

// raise takes the peer's limit, which is higher than the one before.
func (st *Stream) raise(limit uint64) {
	st.send.step = int(min(limit-st.send.limit, maxStep))
	st.send.limit = limit
	st.update()
	if st.send.stalled {
		signal(st.writable)
	}
}

// maxStep is as much of a step of credit as counts.
const maxStep = 1 << 20

// hasCredit reports whether the head of the queue may be sent.
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

// sendable reports whether the stream has something that it may send.
func (st *Stream) sendable() bool {
	return !st.corked && !st.waits && st.send.queue.len() > 0 && st.hasCredit()
}

// enqueue appends an item and puts the stream in turn.
func (st *Stream) enqueue(item outItem) {
	st.send.queue.push(item)
	if item.msg != nil {
		st.setBytes(st.send.bytes + item.msg.length)
	}
	st.update()
}

// update puts the stream in turn once it has something that it may send, and
// notes when it has not. It is called after each change of that; the filler takes
// it out of turn.
func (st *Stream) update() {
	sendable := st.sendable()
	st.setBlocked(!sendable && st.send.queue.len() > 0)
	if st.send.active == sendable {
		return
	}
	o := &st.ep.out
	st.send.active = sendable
	if !sendable {
		o.active--
		return
	}
	o.active++
	if !st.send.inTurn {
		st.send.inTurn = true
		o.turn.push(st)
	}
}

// setBlocked moves the stream's bytes out of, or back into, what counts as
// ready to be sent.
func (st *Stream) setBlocked(blocked bool) {
	if st.send.blocked == blocked {
		return
	}
	before := st.weight()
	st.send.blocked = blocked
	st.ep.out.ready += st.weight() - before
	if blocked {
		st.ep.WakeStalled()
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
	st.ep.out.ready += st.weight() - before
}

// sentBytes accounts for n bytes cut off the queue's head.
func (st *Stream) sentBytes(n int) {
	st.setBytes(st.send.bytes - n)
	if st.send.stalled && (st.send.bytes <= sendQueueBytes || st.send.bytes <= st.queueLimit()) {
		signal(st.writable)
	}
}

// DropSend forgets what was not sent.
func (st *Stream) DropSend() {
	st.ep.share.Hold(-st.takeKept())
	for st.send.queue.len() > 0 {
		item := st.send.queue.pop()
		if item.msg == nil {
			continue
		}
		st.ep.out.hold(item.msg.cut - item.msg.length)
		item.msg.dropped = true
		item.msg.settle()
	}
	st.setBytes(0)
	st.update()
	signal(st.writable)
	st.ep.WakeStalled()
}
