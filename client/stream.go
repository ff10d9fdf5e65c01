package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// rpc is the part of a *registry.Stream that a clientStream uses.
type rpc interface {
	Send(context.Context, engine.Message) error
	CloseSend() error
	Recv(context.Context) (engine.Message, error)
	Headers(context.Context) ([]wire.Metadatum, error)
	Status() *wire.End
	Sent() bool
	Cancel()
}

// caller opens RPCs. A Channel is one.
type caller interface {
	call(ctx context.Context, open wire.Open) (r rpc, release func(), err error)
	isClosed() bool
	peer() peer.Peer
}

// attempt is an RPC on one session. A clientStream makes another attempt only if
// nothing of the previous one can have reached the bridge or, for an idempotent
// RPC, nothing came back (rule E2).
type attempt struct {
	rpc
	release func()
}

// clientStream is one RPC. It implements grpc.ClientStream.
type clientStream struct {
	ctx     context.Context
	desc    *grpc.StreamDesc
	options callOptions
	channel caller
	open    wire.Open

	shown   context.Context // returned by Context; ends with the RPC
	hide    context.CancelFunc
	unwatch func() bool

	receiving sync.Mutex // held while attempt.Recv runs

	mu       sync.Mutex
	attempt  *attempt
	moves    int
	kept     []mem.BufferSlice // messages that another attempt needs, in order
	settled  bool              // no other attempt follows: kept stays empty
	sentLast bool
	finished bool
	drained  bool  // RecvMsg returns only result from now on
	result   error // the RPC's status, io.EOF for OK; final once drained
	header   metadata.MD
	trailer  metadata.MD
}

// begin opens the first attempt.
func (s *clientStream) begin() error {
	s.shown = s.ctx
	var err error
	s.attempt, err = s.newAttempt()
	return err
}

func (s *clientStream) newAttempt() (*attempt, error) {
	if s.ctx.Err() != nil {
		return nil, contextError(s.ctx)
	}
	if deadline, ok := s.ctx.Deadline(); ok {
		s.open.HasTimeout = true
		s.open.TimeoutMicros = uint64(max(time.Until(deadline).Microseconds(), 1))
	}
	r, release, err := s.channel.call(s.ctx, s.open)
	if err != nil {
		return nil, err
	}
	return &attempt{rpc: r, release: release}, nil
}

// watch ends the RPC with its context, even if nobody receives any more. As in
// grpc-go, what arrived before can still be received, including the status if it
// had arrived.
func (s *clientStream) watch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown, s.hide = context.WithCancel(s.ctx)
	s.unwatch = context.AfterFunc(s.ctx, func() { s.end(contextError(s.ctx), false) })
}

// Context implements grpc.ClientStream.
func (s *clientStream) Context() context.Context { return s.shown }

// SendMsg implements grpc.ClientStream.
func (s *clientStream) SendMsg(m any) error {
	s.mu.Lock()
	closed := s.sentLast
	s.mu.Unlock()
	if closed {
		return s.fail(status.Error(codes.Internal, "SendMsg called after CloseSend"))
	}
	data, err := encode(s.options.codec, m, s.options.maxSend)
	if err != nil {
		return s.fail(err)
	}
	a := s.keep(data)
	if a == nil {
		data.Free()
		return s.sendEnded()
	}
	err = a.Send(s.ctx, toMessage(data))
	if err == nil && !s.desc.ClientStreams {
		err = a.CloseSend()
	}
	if err == nil || !a.Sent() && s.movedFrom(a) {
		return nil
	}
	return s.sendEnded()
}

// sendEnded returns SendMsg's error after the RPC ended: io.EOF, since RecvMsg
// returns the status, and nil if there is only one message to send.
func (s *clientStream) sendEnded() error {
	if !s.desc.ClientStreams {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The message refused here would be missing from another attempt.
	s.settle()
	return io.EOF
}

// keep keeps data for another attempt, if there may be one, and returns the
// attempt to send it on, nil if the RPC has ended.
func (s *clientStream) keep(data mem.BufferSlice) *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return nil
	}
	if s.attempt.Sent() && !s.options.idempotent {
		s.settle()
	}
	if !s.settled {
		data.Ref()
		s.kept = append(s.kept, data)
	}
	s.sentLast = !s.desc.ClientStreams
	return s.attempt
}

// settle rules out another attempt. s.mu is held.
func (s *clientStream) settle() {
	s.settled = true
	for _, data := range s.kept {
		data.Free()
	}
	s.kept = nil
}

// CloseSend implements grpc.ClientStream.
func (s *clientStream) CloseSend() error {
	s.mu.Lock()
	if s.sentLast || s.finished {
		s.mu.Unlock()
		return nil
	}
	s.sentLast = true
	a := s.attempt
	s.mu.Unlock()
	// An error means that the RPC has ended; RecvMsg returns its status.
	_ = a.CloseSend()
	return nil
}

// RecvMsg implements grpc.ClientStream.
func (s *clientStream) RecvMsg(m any) error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	message, err := s.receive()
	if errors.Is(err, io.EOF) && !s.desc.ServerStreams && s.finish(errNoResponse()) {
		return errNoResponse()
	}
	if err != nil {
		s.finish(err)
		return s.outcome()
	}
	if err := decode(s.options.codec, message, m, s.options.maxReceive); err != nil {
		return s.fail(err)
	}
	if s.desc.ServerStreams {
		return nil
	}
	_, err = s.receive()
	if err == nil {
		return s.fail(status.Error(codes.Unimplemented, "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message"))
	}
	s.finish(err)
	if err := s.outcome(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func errNoResponse() error {
	return status.Error(codes.Unimplemented, "cardinality violation: received no response message from non-server-streaming RPC")
}

// receive returns the next message, or the RPC's status, io.EOF for OK.
// s.receiving is held.
func (s *clientStream) receive() (engine.Message, error) {
	for {
		s.mu.Lock()
		a, drained, result := s.attempt, s.drained, s.result
		s.mu.Unlock()
		if drained {
			return engine.Message{}, result
		}
		message, err := a.Recv(s.ctx)
		if err == nil {
			s.mu.Lock()
			s.settle()
			s.mu.Unlock()
			return message, nil
		}
		if err := s.over(a, err); err != nil {
			return engine.Message{}, err
		}
	}
}

// movedFrom reports whether the RPC goes on with another attempt than a, which
// ended. It cannot miss a message of a: none was asked for, or the RPC ended
// without headers.
func (s *clientStream) movedFrom(a *attempt) bool {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	s.mu.Lock()
	moved, finished := s.attempt != a, s.finished
	s.mu.Unlock()
	if moved || finished {
		return moved
	}
	_, err := a.Recv(s.ctx)
	return err != nil && s.over(a, err) == nil
}

// over handles an attempt whose Recv failed with err. It returns nil if another
// attempt has taken its place, else the RPC's status.
func (s *clientStream) over(a *attempt, err error) error {
	end := &wire.End{Status: uint32(codes.Unavailable), Message: err.Error(), Origin: wire.OriginBridge}
	if lost, ok := errors.AsType[*engine.Error](err); ok {
		end.Message, end.Reason = lost.Message, lost.Reason
	}
	if errors.Is(err, io.EOF) {
		end = a.Status()
	}
	if end.Origin == wire.OriginBridge {
		switch {
		case s.ctx.Err() != nil && (end.Reason == "" || end.Reason == engine.ReasonCancelled):
			return contextError(s.ctx)
		case end.Reason == engine.ReasonDeadline:
			return status.FromContextError(context.DeadlineExceeded).Err()
		case end.Reason == engine.ReasonUnauthenticated:
			return lostError(end.Reason, end.Message)
		case end.Status == uint32(codes.Unavailable) && s.channel.isClosed():
			return errClosing()
		case s.ctx.Err() != nil && !a.Sent() && movable(end.Reason, s.open.WaitForReady):
			return contextError(s.ctx) // it would have moved to another session
		case movable(end.Reason, s.open.WaitForReady):
			if moved, err := s.move(a); moved || err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	s.trailer = endTrailer(end)
	s.mu.Unlock()
	return endError(end, a.Sent())
}

// move opens another attempt and repeats on it what was sent so far, if rule E2
// allows.
func (s *clientStream) move(a *attempt) (moved bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	again := !a.Sent() || s.options.idempotent
	if s.finished || s.settled || !again || s.moves == maxMoves && !s.open.WaitForReady {
		return false, nil
	}
	s.moves++
	next, err := s.newAttempt()
	if err != nil {
		return false, err
	}
	a.release()
	s.attempt = next
	for _, data := range s.kept {
		data.Ref()
		// Recv returns the error, too.
		_ = next.Send(s.ctx, toMessage(data))
	}
	if s.sentLast {
		_ = next.CloseSend()
	}
	return true, nil
}

// Header implements grpc.ClientStream.
func (s *clientStream) Header() (metadata.MD, error) {
	for {
		s.mu.Lock()
		a, finished, header := s.attempt, s.finished, s.header
		s.mu.Unlock()
		if header != nil {
			return header, nil
		}
		if header := s.arrived(a); header != nil {
			return header, nil
		}
		// It ended without headers. As in grpc-go, RecvMsg returns the status.
		if finished || a.Sent() && !s.options.idempotent || !s.movedFrom(a) {
			return nil, nil
		}
	}
}

// arrived waits for the headers of a. It returns nil if a ended without any.
func (s *clientStream) arrived(a *attempt) metadata.MD {
	list, err := a.Headers(s.ctx)
	if err != nil || list == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	s.header = incoming(list)
	return s.header
}

// Trailer implements grpc.ClientStream.
func (s *clientStream) Trailer() metadata.MD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trailer.Copy()
}

// fail ends the RPC with an error of the client's own, and returns it.
func (s *clientStream) fail(err error) error {
	s.finish(err)
	return err
}

// outcome returns the status of the RPC, which is finished.
func (s *clientStream) outcome() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result
}

// finish ends the RPC: err is its status, io.EOF for OK. Only the first call has
// an effect; finish reports whether this was the first.
func (s *clientStream) finish(err error) bool { return s.end(err, true) }

// end is finish; drained is whether nothing is left to be received.
func (s *clientStream) end(err error, drained bool) bool {
	s.mu.Lock()
	if !s.drained {
		s.drained, s.result = drained, err
	}
	if s.finished {
		s.mu.Unlock()
		return false
	}
	s.finished = true
	s.settle()
	a := s.attempt
	s.mu.Unlock()

	if s.unwatch != nil {
		s.unwatch()
	}
	// No-op after an END.
	a.Cancel()
	s.report(a)
	a.release()
	if s.hide != nil {
		s.hide()
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	s.options.finish(err)
	return true
}

// report fills in the variables of the call options.
func (s *clientStream) report(a *attempt) {
	for _, to := range s.options.header {
		*to = s.arrived(a)
	}
	for _, to := range s.options.trailer {
		*to = s.Trailer()
	}
	for _, to := range s.options.peer {
		*to = s.channel.peer()
	}
}
