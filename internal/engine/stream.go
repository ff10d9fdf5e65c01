package engine

import (
	"context"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// Stream is the endpoint's part of one RPC. Send may be called by one goroutine
// at a time, Recv by another; ID, Request and Context by any. Its other methods are
// for its owner, with the endpoint's lock held.
type Stream struct {
	ep        *Endpoint
	owner     Owner
	request   *wire.Open
	ctx       context.Context
	cancel    context.CancelCauseFunc
	interrupt <-chan struct{} // ends Send and Recv at once; nil: only the RPC's end does
	readable  chan struct{}   // capacity 1: Recv may look again; nil until one waits
	writable  chan struct{}   // capacity 1: Send may look again; nil until one waits

	// Guarded by the endpoint's lock.
	id     uint64
	send   sendSide
	recv   recvSide
	done   bool // the RPC is over for this side: nothing more is sent or taken
	ended  bool // END was sent or received: the peer knows that it is over
	kept   bool // its owner still uses it
	corked bool // what was queued waits for more
	waits  bool // it may not be sent yet
}

// Init prepares the stream of an RPC.
func (st *Stream) Init(ep *Endpoint, owner Owner, request *wire.Open) {
	st.ep, st.owner, st.request = ep, owner, request
	st.send.queue.items = st.send.room[:0]
	st.recv.queue.items = st.recv.room[:0]
	st.recv.window = ep.streamWindow.From(ep.Now())
	st.recv.limit = uint64(ep.streamWindow.Size)
	st.send.limit = uint64(ep.PeerStreamWindow)
}

// SetContext gives the stream its context. With interrupts, its end also ends
// Send and Recv.
func (st *Stream) SetContext(ctx context.Context, cancel context.CancelCauseFunc, interrupts bool) {
	st.ctx, st.cancel = ctx, cancel
	if interrupts {
		st.interrupt = ctx.Done()
	}
}

// Accept numbers a stream that the peer opened.
func (st *Stream) Accept(id uint64) { st.ep.add(st, id) }

// Keep keeps the stream in the endpoint's table after its END, until it is called
// with false (D5).
func (st *Stream) Keep(kept bool) {
	st.kept = kept
	st.ep.forget(st)
}

// Start queues OPEN. The stream gets its number when that is first sent.
func (st *Stream) Start() {
	if st.ep.unsent == nil {
		st.ep.unsent = make(map[*Stream]struct{})
	}
	st.ep.unsent[st] = struct{}{}
	st.enqueue(outItem{kind: wire.TypeOpen, open: st.request})
	st.ep.wakeFor(st)
}

// errEnded is the cause of a Context whose RPC has ended.
var errEnded = &Error{Reason: ReasonEnded, Message: "the RPC has ended"}

// signal has who waits on c look again, and nobody if c is nil.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// ID returns the stream's number in its session; 0: nothing of it was sent yet.
func (st *Stream) ID() uint64 {
	st.ep.mu.Lock()
	defer st.ep.mu.Unlock()
	return st.id
}

// Done reports whether the RPC is over for this side.
func (st *Stream) Done() bool { return st.done }

// Owner returns the role's own stream.
func (st *Stream) Owner() Owner { return st.owner }

// Request is what the OPEN frame said. Read-only.
func (st *Stream) Request() *wire.Open { return st.request }

// Context ends when the RPC is over for this side. Its cause is an *Error where
// the engine ended it.
func (st *Stream) Context() context.Context { return st.ctx }

// Cancel ends Context with a cause.
func (st *Stream) Cancel(cause error) { st.cancel(cause) }

// CancelFunc returns the function that ends Context with a cause.
func (st *Stream) CancelFunc() context.CancelCauseFunc { return st.cancel }

// Cork keeps what is queued from being sent until Uncork, or until more is queued
// than headers and one short message.
func (st *Stream) Cork() { st.corked = true }

// Uncork lets what is queued go.
func (st *Stream) Uncork() {
	if st.corked {
		st.corked = false
		st.update()
	}
}

// Wait keeps the stream from being sent while waits is true.
func (st *Stream) Wait(waits bool) {
	st.waits = waits
	st.update()
}

// RaiseWindow raises the peer's limit to that of a first window of n bytes.
func (st *Stream) RaiseWindow(n int) {
	st.send.limit = max(st.send.limit, uint64(n))
	st.update()
}

// QueueHeaders queues the response headers.
func (st *Stream) QueueHeaders(h *wire.Headers) {
	st.enqueue(outItem{kind: wire.TypeHeaders, headers: h})
	st.ep.wakeFor(st)
}

// CloseSend queues HALF_CLOSE: no more messages follow.
func (st *Stream) CloseSend() {
	if st.done || st.send.closed {
		return
	}
	st.enqueue(outItem{kind: wire.TypeHalfClose})
	st.send.closed = true
	st.Uncork()
	st.ep.Wake()
}

// End ends the RPC with an END after all that was queued. What was received and
// not taken is dropped.
func (st *Stream) End(end *wire.End) {
	st.done = true
	st.DropReceived()
	st.ep.share.Hold(-st.takeKept())
	if st.ep.err == nil {
		st.Uncork()
		st.enqueue(outItem{kind: wire.TypeEnd, end: end})
		st.ep.Wake()
	}
	st.cancel(errEnded)
}

// EndOnly drops what is queued, but for the END that was queued before.
func (st *Stream) EndOnly(end *wire.End) {
	if st.send.queue.len() == 0 {
		return
	}
	st.DropSend()
	st.enqueue(outItem{kind: wire.TypeEnd, end: end})
	st.ep.Wake()
}

// Finish ends the RPC for this side and tells the peer nothing. What was received
// can still be taken.
func (st *Stream) Finish() {
	st.done = true
	st.send.closed = true
	st.recv.ended = true
	st.dropPart()
	signal(st.readable)
	signal(st.writable)
	st.cancel(errEnded)
}

// Abandon tells the peer by CANCEL that the RPC is given up; one of which nothing
// was sent is just forgotten.
func (st *Stream) Abandon() {
	if st.id == 0 {
		delete(st.ep.unsent, st)
		return
	}
	st.ep.out.cancels = append(st.ep.out.cancels, st.id)
	st.ep.Wake()
}
