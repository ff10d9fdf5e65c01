package dialer

import (
	"context"
	"errors"
	"slices"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Stream is one RPC of a client. Send and CloseSend may be called by one goroutine
// at a time, Recv by another; all else by any.
type Stream struct {
	s        *Session
	base     engine.Stream
	answered chan struct{} // closed when headers are known, or none will come
	order    uint64        // place among the RPCs opened

	// Guarded by the endpoint's lock.
	unfollow     func() bool // stops following the caller's context
	headers      []wire.Metadatum
	headersKnown bool
	status       *wire.End // nil before the end
}

// Open starts an RPC. It never waits; sending waits for the Welcome where rule O4
// says so. When ctx ends the RPC is cancelled. With open.SingleRequest the OPEN
// leaves together with the message and the half-close, so Send and CloseSend must
// follow. It fails with an *engine.Error when the session is over or going away;
// such an RPC was never sent.
func (s *Session) Open(ctx context.Context, open wire.Open) (*Stream, error) {
	s.ep.Lock()
	defer s.ep.Unlock()
	if s.active {
		s.checkExpiry(s.ep.Now()) // run may be late
	}
	switch why := s.ep.Ended(); {
	case why != nil:
		return nil, &engine.Error{Reason: why.Reason, Message: why.Message, NotStarted: true}
	case s.goingAway != nil, s.ep.Closing():
		return nil, errGoingAway
	}
	s.askAfterQuiet()
	open.CreatedMicros = uint64(s.ep.Now().Microseconds())
	s.opened++
	st := &Stream{s: s, answered: make(chan struct{}), order: s.opened}
	st.base.Init(&s.ep, (*owner)(st), &open)
	ctxOfRPC, cancel := context.WithCancelCause(ctx)
	st.base.SetContext(ctxOfRPC, cancel, false)
	if open.SingleRequest {
		st.base.Cork()
	}
	st.base.Wait(s.holdsBack(&open))
	st.unfollow = context.AfterFunc(ctx, func() { st.contextEnded(ctx) })
	st.base.Start()
	s.checkMetadata(&st.base)
	if !s.active {
		s.active, s.reachedAt = true, s.ep.Now()
		s.ep.Wake()
	}
	return st, nil
}

// holdsBack reports whether an RPC may not be sent yet (O4, O5, E2).
func (s *Session) holdsBack(open *wire.Open) bool {
	return !s.welcomed() && !open.Early || s.token.fetching || s.asking
}

// releaseUnsent looks again which RPCs may be sent, in the order in which they
// were opened.
func (s *Session) releaseUnsent() {
	waiting := slices.SortedFunc(s.ep.Unsent(), func(a, b *engine.Stream) int {
		return int(a.Owner().(*owner).order) - int(b.Owner().(*owner).order)
	})
	for _, st := range waiting {
		st.RaiseWindow(s.ep.PeerStreamWindow)
		st.Wait(s.holdsBack(st.Request()))
		s.checkMetadata(st)
	}
	s.ep.Wake()
}

// checkMetadata ends an unsent RPC whose metadata the bridge would refuse, as soon as
// its limit is known (section 7).
func (s *Session) checkMetadata(st *engine.Stream) {
	if s.welcome == nil || s.welcome.MaxMetadataBytes == 0 {
		return
	}
	size, limit := wire.MetadataSize(st.Request().Metadata), int(s.welcome.MaxMetadataBytes)
	if size > limit {
		st.Owner().Fail(engine.BridgeEnd(engine.StatusResourceExhausted, engine.ReasonLimit, "metadata of %d bytes is over the limit of %d", size, limit))
	}
}

// endStreams ends every RPC with one UNAVAILABLE (E2).
func (s *Session) endStreams(why *engine.Error) {
	s.endUnsent(why)
	for st := range s.ep.Streams() {
		endLost(st, why, "may have")
	}
}

// endUnsent ends the RPCs of which nothing was sent: they can go to another session.
func (s *Session) endUnsent(why *engine.Error) {
	for st := range s.ep.Unsent() {
		endLost(st, why, "has not")
		st.Abandon()
	}
}

func endLost(st *engine.Stream, why *engine.Error, has string) {
	st.DropSend()
	(*Stream)(st.Owner().(*owner)).finish(engine.BridgeEnd(engine.StatusUnavailable, why.Reason, "session lost: %s; the RPC %s run", why.Message, has))
}

// ID returns the stream's number in its session; 0: nothing of it was sent yet.
func (st *Stream) ID() uint64 { return st.base.ID() }

// Sent reports whether the OPEN frame was given to a link at least once. While it
// is false nothing of the RPC can have reached the bridge; when the RPC has ended
// so, it may be opened again on another session (E2).
func (st *Stream) Sent() bool { return st.base.ID() != 0 }

// Context ends when the RPC is over: ended by the bridge, given up, or its session
// lost; or with the context that it was opened with.
func (st *Stream) Context() context.Context { return st.base.Context() }

// Recv returns the next message, in order. The message taken before counts as
// consumed from this call on: its credit goes back to the bridge (D3). It returns
// io.EOF after the last message, when the RPC has ended (see Status), and the cause
// of ctx when that ends first; messages that are there come before that. The bytes
// belong to the caller.
func (st *Stream) Recv(ctx context.Context) (engine.Message, error) { return st.base.Recv(ctx) }

// Send queues one message and waits until the stream's queue has room for the
// next (back-pressure). The engine owns the bytes until it calls m.Free, which it
// does also when Send fails. It returns io.EOF when the RPC had ended before: see
// Status.
func (st *Stream) Send(ctx context.Context, m engine.Message) error { return st.base.Send(ctx, m) }

// CloseSend says that no more messages follow.
func (st *Stream) CloseSend() error {
	st.s.ep.Lock()
	defer st.s.ep.Unlock()
	st.base.CloseSend()
	return nil
}

// Cancel gives the RPC up. Status is then CANCELLED with reason "cancelled"
// unless the bridge's END was there first. Recv still returns the messages that
// came before.
func (st *Stream) Cancel() {
	st.s.ep.Lock()
	defer st.s.ep.Unlock()
	st.giveUp(engine.BridgeEnd(engine.StatusCancelled, engine.ReasonCancelled, "cancelled by the caller"))
}

// Headers waits for the response headers. It returns nil headers and no error when
// the RPC ended without any.
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
	st.s.ep.Lock()
	defer st.s.ep.Unlock()
	return st.headers, nil
}

// Status returns how the RPC ended; nil before.
func (st *Stream) Status() *wire.End {
	st.s.ep.Lock()
	defer st.s.ep.Unlock()
	return st.status
}

// contextEnded gives the RPC up because its caller's context has ended.
func (st *Stream) contextEnded(ctx context.Context) {
	st.s.ep.Lock()
	defer st.s.ep.Unlock()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		st.giveUp(engine.BridgeEnd(engine.StatusDeadlineExceeded, engine.ReasonDeadline, "context deadline exceeded"))
		return
	}
	st.giveUp(engine.BridgeEnd(engine.StatusCancelled, engine.ReasonCancelled, "context canceled"))
}

// giveUp ends the RPC for its caller and tells the bridge, which still sends its
// END; an RPC of which nothing was sent is just forgotten. What was received can
// still be read, but holds up nobody: it counts as consumed (D3).
func (st *Stream) giveUp(end wire.End) {
	st.base.SettleReceived()
	if st.base.Done() {
		return
	}
	st.base.DropSend()
	st.finish(end)
	st.base.Abandon()
}

// finish ends the RPC for its caller.
func (st *Stream) finish(end wire.End) {
	if st.base.Done() {
		return
	}
	st.status = &end
	st.base.Finish()
	st.unfollow()
	st.knowHeaders(nil)
}

func (st *Stream) knowHeaders(md []wire.Metadatum) {
	if !st.headersKnown {
		st.headers, st.headersKnown = md, true
		close(st.answered)
	}
}

// owner is what the endpoint asks of a Stream.
type owner Stream

// Fail implements engine.Owner.
func (o *owner) Fail(end wire.End) { (*Stream)(o).giveUp(end) }

// Responded takes the response headers.
func (o *owner) Responded(md []wire.Metadatum) { (*Stream)(o).knowHeaders(md) }

// Ended ends the RPC as the bridge says.
func (o *owner) Ended(end wire.End) {
	(*Stream)(o).finish(end)
	o.s.checkToken(&end)
}
