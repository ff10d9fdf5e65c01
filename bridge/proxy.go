package bridge

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// stream is the part of registry.Stream that a proxy uses.
type stream interface {
	Recv(context.Context) (engine.Message, error)
	Send(context.Context, engine.Message) error
	SendHeaders([]wire.Metadatum) error
}

// handle serves one RPC. It is registry.Config's Handle, and runs in a goroutine
// of its own.
func (s *Server) handle(st *registry.Stream) {
	began := time.Now()
	m := s.metrics.of(sessionProtocol)
	m.started.Inc()
	sess := st.Session()
	who, _ := sess.Principal().Value.(*identity)
	o := s.observer.begin(st, began)
	end, to := s.serve(o.context(st.Context()), o.watch(st), call{open: st.Request(), session: sess.ID(), sessionDone: sess.Done(), who: who, cancel: st.Abandon()})
	took := time.Since(began)
	m.completed(to, end.Status, took, o.traceID())
	o.end(st.Context(), &end, took)
	st.End(end)
}

// refused counts an RPC that ended before it began. It is registry.Config's
// Refused.
func (s *Server) refused(st *registry.Stream, end wire.End) {
	began := time.Now()
	m := s.metrics.of(sessionProtocol)
	m.started.Inc()
	o := s.observer.begin(st, began)
	m.completed(nil, end.Status, 0, o.traceID())
	o.end(st.Context(), &end, 0)
}

// call is what is known about an RPC when it begins.
type call struct {
	open        *wire.Open
	session     string
	sessionDone <-chan struct{}
	who         *identity               // nil: nothing but an address is known
	cancel      context.CancelCauseFunc // of the RPC's context; nil: there is none
}

// serve runs one RPC to its end, and returns the backend that it went to, nil if
// that is none.
func (s *Server) serve(ctx context.Context, st stream, r call) (wire.End, *backend.Pool) {
	pool, refusal := s.route(r.open.Method, r.who)
	if refusal != nil {
		return *refusal, nil
	}
	return s.join(ctx, st, r, pool), pool
}

// join joins an RPC and a call to its end. It returns after both pumps have.
func (s *Server) join(ctx context.Context, st stream, r call, pool *backend.Pool) wire.End {
	md := requestMetadata(r.open.Metadata)
	if r.who != nil {
		ctx = context.WithValue(ctx, principalKey{}, r.who.principal)
		r.who.forward(md)
	}
	opts := backend.CallOptions{
		Session:        r.session,
		SessionDone:    r.sessionDone,
		Compression:    r.open.Compression,
		ContentSubtype: r.open.ContentSubtype,
		WaitForReady:   r.open.WaitForReady,
		SingleRequest:  r.open.SingleRequest,
		Cancel:         r.cancel,
	}
	if r.open.SingleRequest && r.open.SingleResponse {
		m, err := st.Recv(ctx)
		if err == nil {
			reply, err := pool.Invoke(ctx, r.open.Method, md, opts, m.Pieces)
			return s.answer(ctx, st, reply, err)
		}
		if !errors.Is(err, io.EOF) {
			return callEnd(ctx, err, nil)
		}
	}
	call, err := pool.Start(ctx, r.open.Method, md, opts)
	if err != nil {
		return callEnd(ctx, err, nil)
	}
	p := &proxy{ctx: ctx, stream: st, call: call, maxMetadata: s.cfg.MaxMetadataBytes}
	return p.run(r.open.SingleRequest)
}

// answer sends the client the whole response of a unary RPC.
func (s *Server) answer(ctx context.Context, st stream, reply *backend.Reply, err error) wire.End {
	if err := sendHeaders(st, reply.Header, s.cfg.MaxMetadataBytes); err != nil {
		return callEnd(ctx, err, nil)
	}
	if err == nil {
		err = sendAll(ctx, st, reply.Messages)
	}
	return lastEnd(ctx, err, reply.Trailer, s.cfg.MaxMetadataBytes)
}

func sendAll(ctx context.Context, st stream, messages []backend.Message) error {
	for _, m := range messages {
		if err := st.Send(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func sendHeaders(st stream, header metadata.MD, limit int) error {
	if header == nil {
		return nil
	}
	list := wireMetadata(header)
	if n := wire.MetadataSize(list); n > limit {
		return tooMuchMetadata("headers", n, limit)
	}
	return st.SendHeaders(list)
}

// lastEnd is callEnd with the RPC's trailers, unless they are over the limit.
func lastEnd(ctx context.Context, err error, trailer metadata.MD, limit int) wire.End {
	list := wireMetadata(trailer)
	if n := wire.MetadataSize(list); n > limit {
		return callEnd(ctx, tooMuchMetadata("trailers", n, limit), nil)
	}
	return callEnd(ctx, err, list)
}

// proxy joins a stream and a call: pumpUp copies messages to the backend,
// pumpDown copies the backend's response to the client.
type proxy struct {
	ctx         context.Context // the stream's
	stream      stream
	call        *backend.Call
	maxMetadata int

	upError error // why pumpUp closed the call; read only after it returned
}

func (p *proxy) run(singleRequest bool) wire.End {
	ctx, stop := context.WithCancel(p.ctx)
	defer stop()
	var up sync.WaitGroup
	if singleRequest {
		p.pumpUp(ctx)
	} else {
		up.Go(func() { p.pumpUp(ctx) })
	}
	end := p.pumpDown()
	stop()
	p.call.Close()
	up.Wait()
	if p.upError != nil {
		return callEnd(p.ctx, p.upError, nil)
	}
	return end
}

// pumpUp sends the client's messages and half-close. The next Recv returns the
// credit of a message, once gRPC has taken it; that is why it goes on after a
// single request.
func (p *proxy) pumpUp(ctx context.Context) {
	for {
		m, err := p.stream.Recv(ctx)
		if errors.Is(err, io.EOF) {
			err = p.call.CloseSend()
			p.giveUp(err)
			return
		}
		if err != nil {
			return // the RPC or ctx ended, and the call ends with it
		}
		if err := p.call.Send(m.Pieces); err != nil {
			p.giveUp(err)
			return
		}
	}
}

// giveUp closes the call after a failed send. On io.EOF the backend has ended
// the call itself, and pumpDown gets its status.
func (p *proxy) giveUp(err error) {
	if err == nil || errors.Is(err, io.EOF) {
		return
	}
	p.upError = err
	p.call.Close()
}

// pumpDown forwards headers as soon as they arrive, then messages, and returns
// the RPC's end.
func (p *proxy) pumpDown() wire.End {
	header, err := p.call.Header()
	if err != nil {
		return callEnd(p.ctx, err, nil)
	}
	if err := sendHeaders(p.stream, header, p.maxMetadata); err != nil {
		return callEnd(p.ctx, err, nil)
	}
	for {
		m, err := p.call.Recv()
		if err != nil {
			return lastEnd(p.ctx, err, p.call.Trailer(), p.maxMetadata)
		}
		if err := p.stream.Send(p.ctx, m); err != nil {
			return callEnd(p.ctx, err, nil)
		}
	}
}
