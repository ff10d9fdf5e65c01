package registry

import (
	"context"
	"errors"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Stream is one RPC that a client opened. Send and SendHeaders may be called by
// one goroutine at a time, Recv by another; all else by any.
type Stream struct {
	s     *Session
	base  engine.Stream
	id    uint64
	began time.Duration

	// Guarded by the endpoint's lock.
	headersQueued bool
	reply         *reply
	status        *wire.End // nil before the end
	next          *Stream   // in a streamList
}

// reply is what HEADERS and END carry. It is apart from its stream because it is
// kept until the client has acked it, which may be with its next RPC.
type reply struct {
	headers wire.Headers
	end     wire.End
}

// Session is the session that the stream belongs to.
func (st *Stream) Session() *Session { return st.s }

// ID returns the stream's number in its session.
func (st *Stream) ID() uint64 { return st.base.ID() }

// Request is what the OPEN frame said. Read-only.
func (st *Stream) Request() *wire.Open { return st.base.Request() }

// Context ends when the RPC is over: cancelled by the client, its deadline passed
// (D7), ended, or its session lost. Its cause is an *engine.Error where the engine
// ended it.
func (st *Stream) Context() context.Context { return st.base.Context() }

// Abandon returns the function that ends Context with a cause, for a Handle that
// wants what it has begun with it to stop. The RPC still needs its End.
func (st *Stream) Abandon() context.CancelCauseFunc { return st.base.CancelFunc() }

// Recv returns the next message, in order. The message taken before counts as
// consumed from this call on: its credit goes back to the client (D3). It returns
// io.EOF after the last message, when the client half-closed, and the cause of ctx
// or of Context when one of them ends first. The bytes belong to the caller.
func (st *Stream) Recv(ctx context.Context) (engine.Message, error) { return st.base.Recv(ctx) }

// Send queues one message and waits until the stream's queue has room for the
// next (back-pressure). The engine owns the bytes until it calls m.Free, which it
// does also when Send fails. A message of over 64 KiB for which there is no room is
// an *engine.Error of ReasonOverloaded, and sessions that are away make room for
// the next (D8).
func (st *Stream) Send(ctx context.Context, m engine.Message) error {
	n := m.Len()
	err := st.base.Send(ctx, m)
	if why, ok := errors.AsType[*engine.Error](err); ok && why.Reason == engine.ReasonOverloaded && ctx.Err() == nil {
		st.s.reg.noRoomFor(n, st.s, why)
	}
	return err
}

// SendHeaders queues the response headers: at most once, before the first Send.
func (st *Stream) SendHeaders(md []wire.Metadatum) error {
	st.s.ep.Lock()
	defer st.s.unlock()
	if err := st.base.CanSend(); err != nil {
		return err
	}
	if st.headersQueued {
		return &engine.Error{Reason: engine.ReasonEnded, Message: "headers were sent already"}
	}
	st.headersQueued = true
	st.reply = &reply{headers: wire.Headers{Metadata: md}}
	st.base.QueueHeaders(&st.reply.headers)
	return nil
}

// End ends the RPC with a status, after all that was sent. The first call counts,
// later ones are ignored (D5). It is needed after the client's CANCEL too.
func (st *Stream) End(end wire.End) {
	st.s.ep.Lock()
	defer st.s.unlock()
	st.end(end)
}

func (st *Stream) end(end wire.End) {
	if st.base.Done() {
		return
	}
	if st.reply == nil {
		st.reply = new(reply)
	}
	st.reply.end = end
	st.status = &st.reply.end
	st.base.End(st.status)
}

// served settles a stream whose Handle has returned.
func (st *Stream) served() {
	st.s.ep.Lock()
	defer st.s.unlock()
	if !st.base.Done() {
		st.end(engine.BridgeEnd(engine.StatusInternal, engine.ReasonEnded, "the handler returned without a status"))
	}
	st.release()
}

// release lets go of what the RPC holds beside its messages.
func (st *Stream) release() {
	st.base.Keep(false)
	st.s.reg.end(st.s.principal)
}

// Open starts an RPC, or refuses it.
func (r *role) Open(id uint64, open *wire.Open) {
	s := (*Session)(r)
	st := &Stream{s: s, id: id, began: s.ep.Now()}
	st.base.Init(&s.ep, (*owner)(st), open)
	if open.SingleRequest && open.SingleResponse {
		// Only of a unary RPC nobody waits for the headers: a caller that streams
		// may go by them.
		st.base.Cork()
	}
	s.setContext(st)
	s.used = true
	refusal := s.refuseStream(open)
	st.base.Accept(id)
	if refusal != nil {
		s.happened("RPC refused", refusal.Message)
		(*owner)(st).Fail(*refusal)
		s.ep.Later(func() {
			s.reg.refusedRPC(s, *refusal)
			if tell := s.reg.cfg.Refused; tell != nil {
				tell(st, *refusal)
			}
		})
		return
	}
	st.base.Keep(true)
	s.fresh.push(st)
}

// maxTimeout is the longest that gRPC can state, 10^8 hours, cut to what fits.
const maxTimeout = 1 << 62 * time.Nanosecond

// setContext gives the stream its context, with the deadline of rule D7.
func (s *Session) setContext(st *Stream) {
	o := st.base.Request()
	// Without a parent: the session's end is what cancels it.
	ctx, cancel := context.WithCancelCause(context.Background())
	if !o.HasTimeout {
		st.base.SetContext(ctx, cancel, true)
		return
	}
	age := uint64(0)
	if s.clock > o.CreatedMicros {
		age = s.clock - o.CreatedMicros
	}
	left := time.Duration(0)
	if o.TimeoutMicros > age {
		left = time.Duration(min(o.TimeoutMicros-age, uint64(maxTimeout/time.Microsecond))) * time.Microsecond
	}
	ctx, stop := context.WithDeadlineCause(ctx, time.Now().Add(left),
		&engine.Error{Reason: engine.ReasonDeadline, Message: "deadline exceeded"})
	st.base.SetContext(ctx, func(cause error) {
		cancel(cause)
		stop()
	}, true)
}

// owner is what the endpoint asks of a Stream.
type owner Stream

// Fail implements engine.Owner.
func (o *owner) Fail(end wire.End) {
	if o.base.Done() {
		return
	}
	o.base.DropSend()
	o.base.Cancel(&engine.Error{Reason: end.Reason, Message: end.Message})
	(*Stream)(o).end(end)
}

// Cancelled applies the client's CANCEL (D5).
func (o *owner) Cancelled() {
	st := (*Stream)(o)
	if st.base.Done() {
		st.base.EndOnly(st.status)
		return
	}
	st.base.DropSend()
	st.base.DropReceived()
	st.base.Cancel(&engine.Error{Reason: engine.ReasonCancelled, Message: "cancelled by the client"})
	if st.s.fresh.remove(st) { // its OPEN came in this batch: not started
		st.release()
		st.end(engine.BridgeEnd(engine.StatusCancelled, engine.ReasonCancelled, "cancelled by the client"))
	}
}

// streamList is a FIFO of streams, each of which is in one at most.
type streamList struct{ first, last *Stream }

func (l *streamList) push(st *Stream) {
	if l.first == nil {
		l.first = st
	} else {
		l.last.next = st
	}
	l.last = st
}

// pop returns the first stream; nil: there is none.
func (l *streamList) pop() *Stream {
	st := l.first
	if st != nil {
		l.first, st.next = st.next, nil
	}
	return st
}

// remove takes a stream out. It reports false if it was not in the list.
func (l *streamList) remove(st *Stream) bool {
	found := false
	rest := *l
	*l = streamList{}
	for s := rest.pop(); s != nil; s = rest.pop() {
		if s == st {
			found = true
		} else {
			l.push(s)
		}
	}
	return found
}
