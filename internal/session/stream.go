package session

import (
	"context"
	"io"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// Stream is one RPC on a session. Send and its kin may be called by one
// goroutine at a time, Recv by another; Cancel, End and Context by any.
type Stream struct {
	s        *Session
	request  *wire.Open
	ctx      context.Context
	cancel   context.CancelCauseFunc
	readable chan struct{}   // capacity 1: Recv may look again; nil until one waits
	writable chan struct{}   // capacity 1: Send may look again; nil until one waits
	over     <-chan struct{} // bridge: the end of ctx
	answered chan struct{}   // client: closed when headers are known, or none will come

	// Guarded by Session.mu.
	order    uint64 // client: place among the RPCs opened
	id       uint64
	send     sendSide
	recv     recvSide
	done     bool // bridge: END is queued; client: the RPC is over for the user
	ended    bool // END was sent or received: the peer knows that it is over
	serving  bool // bridge: Handle runs
	corked   bool // bridge: HEADERS and a short message wait for END
	answer   bool // HEADERS were queued or received
	headers  []wire.Metadatum
	reply    *reply  // bridge
	behind   *Stream // in a streamList
	status   *wire.End
	unfollow func() bool // client: stops following the caller's context
}

// reply is what HEADERS and END carry. It is apart from its stream because it is
// kept until the client has acked it, which may be with its next RPC.
type reply struct {
	headers wire.Headers
	end     wire.End
}

func newStream(s *Session, request *wire.Open) *Stream {
	st := &Stream{s: s, request: request}
	st.send.queue.items = st.send.room[:0]
	st.recv.queue.items = st.recv.room[:0]
	st.recv.window = s.streamWindow
	st.recv.limit = uint64(s.streamWindow)
	st.send.limit = uint64(s.peerStreamWindow)
	return st
}

// errEnded is the cause of a Context whose RPC has ended.
var errEnded = &Error{Reason: ReasonEnded, Message: "the RPC has ended"}

// signal makes who waits on c look again, and nobody if c is nil.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// ID is the stream's number in its session. 0: nothing of it was sent yet.
func (st *Stream) ID() uint64 {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.id
}

// Sent reports whether the OPEN frame was given to a link at least once.
// Client only. While it is false nothing of the RPC can have reached the
// bridge; when the RPC has ended so, it may be opened again on another session
// (E2).
func (st *Stream) Sent() bool { return st.ID() != 0 }

// Session is the session that the stream belongs to.
func (st *Stream) Session() *Session { return st.s }

// Request is what the OPEN frame said. Read-only.
func (st *Stream) Request() *wire.Open { return st.request }

// Context ends when the RPC is over for this side: cancelled by the peer, its
// deadline passed, ended, or its session lost. Its cause is an *Error where
// the engine ended it. On the bridge it carries the deadline of rule D7.
func (st *Stream) Context() context.Context { return st.ctx }

// Abandon gives the function that ends Context with a cause, for a Handle that
// wants what it has begun with it to stop. The RPC still needs its End.
func (st *Stream) Abandon() context.CancelCauseFunc { return st.cancel }

// Recv returns the next message, in order. The message taken before counts as
// consumed from this call on: its credit goes back to the peer (D3). It
// returns io.EOF after the last message (bridge: the client half-closed;
// client: the RPC ended, see Status), and the cause of ctx or of Context when
// one of them ends first; messages that are there come before that. The bytes
// belong to the caller.
func (st *Stream) Recv(ctx context.Context) (Message, error) {
	for {
		m, err, ok := st.tryRecv()
		if ok {
			return m, err
		}
		select {
		case <-st.readable:
		case <-st.over:
		case <-ctx.Done():
			if m, err, ok := st.tryRecv(); ok {
				return m, err
			}
			return Message{}, context.Cause(ctx)
		}
	}
}

func (st *Stream) tryRecv() (Message, error, bool) {
	s := st.s
	s.mu.Lock()
	defer s.unlock()
	r := &st.recv
	st.consume()
	if r.queue.len() > 0 {
		r.taken = r.queue.pop()
		st.extend()
		s.wakeIfGranting()
		return Message{Pieces: r.taken.pieces}, nil, true
	}
	s.wakeIfGranting()
	switch {
	case s.bridge != nil && st.ctx.Err() != nil:
		return Message{}, context.Cause(st.ctx), true
	case r.ended:
		return Message{}, io.EOF, true
	}
	if st.readable == nil {
		st.readable = make(chan struct{}, 1)
	}
	return Message{}, nil, false
}

// Send queues one message and waits until the stream's queue has room for the
// next (back-pressure). The engine owns the bytes until it calls m.Free, which
// it does also when Send fails. On the client it returns io.EOF when the RPC
// had ended before: see Status.
func (st *Stream) Send(ctx context.Context, m Message) error {
	if err := st.queueMessage(m); err != nil {
		return err
	}
	for {
		if err, ok := st.hasRoom(); ok {
			return err
		}
		select {
		case <-st.writable:
		case <-st.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (st *Stream) queueMessage(m Message) error {
	s := st.s
	s.mu.Lock()
	defer s.unlock()
	if err := st.sendError(); err != nil {
		if m.Free != nil {
			m.Free()
		}
		return err
	}
	msg := newOutMessage(m)
	if msg.length > wire.MaxFragment || st.send.queue.len() > 2 {
		st.uncork()
	}
	st.enqueue(outItem{msg: msg})
	s.wakeFor(st)
	return nil
}

func (st *Stream) sendError() error {
	switch {
	case st.done && st.s.bridge == nil:
		return io.EOF
	case st.done || st.send.closed:
		return &Error{Reason: ReasonEnded, Message: "send after the end of the RPC"}
	case st.ctx.Err() != nil:
		return context.Cause(st.ctx)
	}
	return nil
}

// hasRoom tells whether Send may return, and with what.
func (st *Stream) hasRoom() (error, bool) {
	s := st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	st.send.waiting = false
	switch {
	case st.done && s.bridge == nil:
		// The message was taken before the end came: the next Send tells.
		return nil, true
	case st.ctx.Err() != nil:
		return context.Cause(st.ctx), true
	case st.send.bytes > sendQueueBytes, st.send.bytes > 0 && !st.corked && s.scarce():
		st.send.waiting = true
	case s.congested():
		s.out.stalled.push(st)
	default:
		return nil, true
	}
	if st.writable == nil {
		st.writable = make(chan struct{}, 1)
	}
	return nil, false
}

// uncork lets what waits for END go.
func (st *Stream) uncork() {
	if !st.corked {
		return
	}
	st.corked, st.send.held = false, st.s.holdsBack(st)
	st.activate()
}

// SendHeaders queues the response headers. Bridge only, at most once, before
// the first Send.
func (st *Stream) SendHeaders(md []wire.Metadatum) error {
	s := st.s
	s.mu.Lock()
	defer s.unlock()
	if err := st.sendError(); err != nil {
		return err
	}
	if st.answer {
		return &Error{Reason: ReasonEnded, Message: "headers were sent already"}
	}
	st.answer = true
	st.reply = &reply{headers: wire.Headers{Metadata: md}}
	st.enqueue(outItem{kind: wire.TypeHeaders, headers: &st.reply.headers})
	s.wakeFor(st)
	return nil
}

// End ends the RPC with a status, after all that was sent. Bridge only; the
// first call counts, later ones are ignored (D5). After a peer's CANCEL it is
// still owed. It never waits for a peer.
func (st *Stream) End(end wire.End) {
	st.s.mu.Lock()
	defer st.s.unlock()
	st.end(end)
}

func (st *Stream) end(end wire.End) {
	if st.done {
		return
	}
	if st.reply == nil {
		st.reply = new(reply)
	}
	st.reply.end = end
	st.done, st.status = true, &st.reply.end
	st.dropReceived()
	if st.s.err == nil {
		st.uncork()
		st.enqueue(outItem{kind: wire.TypeEnd, end: st.status})
		st.s.wake()
	}
	st.cancel(errEnded)
}

// fail ends the RPC by the engine's doing: what was not sent is dropped.
func (st *Stream) fail(end wire.End) {
	if st.done {
		return
	}
	if st.s.bridge == nil {
		st.giveUp(end)
		return
	}
	st.dropQueue()
	st.cancel(&Error{Reason: end.Reason, Message: end.Message})
	st.end(end)
}

// CloseSend says that no more messages follow. Client only.
func (st *Stream) CloseSend() error {
	s := st.s
	s.mu.Lock()
	defer s.unlock()
	if st.done || st.send.closed {
		return nil
	}
	st.enqueue(outItem{kind: wire.TypeHalfClose})
	st.send.closed = true
	st.uncork()
	s.wake()
	return nil
}

// Cancel gives the RPC up. Client only. Status is then CANCELLED with reason
// "cancelled" unless the bridge's END was there first. Recv still returns the
// messages that came before.
func (st *Stream) Cancel() {
	st.s.mu.Lock()
	defer st.s.unlock()
	st.giveUp(bridgeEnd(statusCancelled, ReasonCancelled, "cancelled by the caller"))
}

// giveUp ends the RPC for the user and tells the bridge, which still owes its
// END; an RPC of which nothing was sent is just forgotten. What was received can
// still be read, but holds up nobody: it counts as consumed (D3).
func (st *Stream) giveUp(end wire.End) {
	st.settleReceived()
	if st.done {
		return
	}
	st.dropQueue()
	st.finish(end)
	if st.id == 0 {
		delete(st.s.client.unsent, st)
		return
	}
	st.s.out.cancels = append(st.s.out.cancels, st.id)
	st.s.wake()
}

// finish ends the RPC for the user of a client.
func (st *Stream) finish(end wire.End) {
	if st.done {
		return
	}
	st.done, st.status = true, &end
	st.send.closed = true
	st.recv.ended = true
	st.dropPart()
	if st.unfollow != nil {
		st.unfollow()
	}
	if !st.answer {
		st.answer = true
		close(st.answered)
	}
	signal(st.readable)
	signal(st.writable)
	st.cancel(errEnded)
}

// Headers waits for the response headers. Client only. It returns nil headers
// and no error when the RPC ended without any.
func (st *Stream) Headers(ctx context.Context) ([]wire.Metadatum, error) {
	select {
	case <-st.answered:
	default:
		select {
		case <-st.answered:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.headers, nil
}

// Status is how the RPC ended; nil before. Client only.
func (st *Stream) Status() *wire.End {
	st.s.mu.Lock()
	defer st.s.mu.Unlock()
	return st.status
}
