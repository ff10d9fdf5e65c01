// Package testsvc is the gRPC service that tests, end-to-end scenarios and
// benchmarks call: all four kinds of RPC, and misbehaviour on request.
package testsvc

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// Service implements echopb.EchoServer. The zero value is ready for use.
type Service struct {
	echopb.UnimplementedEchoServer

	started   atomic.Int64
	ended     atomic.Int64
	cancelled atomic.Int64
}

// Counts says what became of the Service's RPCs.
type Counts struct {
	Started   int64
	Active    int64
	Cancelled int64 // ended because the RPC's context had
}

// Counts reads the counters.
func (s *Service) Counts() Counts {
	ended := s.ended.Load()
	started := s.started.Load()
	return Counts{Started: started, Active: started - ended, Cancelled: s.cancelled.Load()}
}

// Unary implements echopb.EchoServer.
func (s *Service) Unary(ctx context.Context, req *echopb.Request) (_ *echopb.Reply, err error) {
	r := s.begin(ctx, req.GetScript(), unaryHeaders{ctx})
	defer func() { s.end(ctx, err) }()
	if err := r.headers(); err != nil {
		return nil, err
	}
	reply, err := r.reply(req)
	if err != nil {
		return nil, err
	}
	return reply, r.finish()
}

// ServerStream implements echopb.EchoServer.
func (s *Service) ServerStream(req *echopb.Request, out grpc.ServerStreamingServer[echopb.Reply]) (err error) {
	r := s.begin(out.Context(), req.GetScript(), out)
	defer func() { s.end(out.Context(), err) }()
	if err := r.headers(); err != nil {
		return err
	}
	for range r.script.GetReplies() {
		reply, err := r.reply(req)
		if err != nil {
			return err
		}
		if err := out.Send(reply); err != nil {
			return err
		}
	}
	return r.finish()
}

// ClientStream implements echopb.EchoServer.
func (s *Service) ClientStream(in grpc.ClientStreamingServer[echopb.Request, echopb.Reply]) (err error) {
	defer func() { s.end(in.Context(), err) }()
	first, err := in.Recv()
	r := s.begin(in.Context(), first.GetScript(), in)
	if err := r.headers(); err != nil {
		return err
	}
	last := first
	for req := first; ; req, err = in.Recv() {
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		r.count(req)
		last = req
		if r.stopped() {
			break
		}
	}
	reply, err := r.answer(last)
	if err != nil {
		return err
	}
	if err := r.finish(); err != nil {
		return err
	}
	return in.SendAndClose(reply)
}

// Bidi implements echopb.EchoServer.
func (s *Service) Bidi(stream grpc.BidiStreamingServer[echopb.Request, echopb.Reply]) (err error) {
	defer func() { s.end(stream.Context(), err) }()
	first, err := stream.Recv()
	r := s.begin(stream.Context(), first.GetScript(), stream)
	if err := r.headers(); err != nil {
		return err
	}
	for req := first; ; req, err = stream.Recv() {
		if errors.Is(err, io.EOF) {
			return r.finish()
		}
		if err != nil {
			return err
		}
		reply, err := r.reply(req)
		if err != nil {
			return err
		}
		if err := stream.Send(reply); err != nil {
			return err
		}
		if r.stopped() {
			return r.finish()
		}
	}
}

func (s *Service) begin(ctx context.Context, script *echopb.Script, out headerSender) *run {
	s.started.Add(1)
	return &run{ctx: ctx, script: script, out: out}
}

func (s *Service) end(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		s.cancelled.Add(1)
	}
	s.ended.Add(1)
}

// headerSender is what a server stream and a unary call's context have in
// common.
type headerSender interface {
	SetHeader(metadata.MD) error
	SendHeader(metadata.MD) error
	SetTrailer(metadata.MD)
}

type unaryHeaders struct{ ctx context.Context }

func (u unaryHeaders) SetHeader(md metadata.MD) error  { return grpc.SetHeader(u.ctx, md) }
func (u unaryHeaders) SendHeader(md metadata.MD) error { return grpc.SendHeader(u.ctx, md) }
func (u unaryHeaders) SetTrailer(md metadata.MD) {
	// It fails only outside of an RPC.
	_ = grpc.SetTrailer(u.ctx, md)
}

// run is one RPC following its script.
type run struct {
	ctx    context.Context
	script *echopb.Script
	out    headerSender

	replies, requests, bytes uint64
}

func (r *run) headers() error {
	if name := r.script.GetCompression(); name != "" {
		if err := grpc.SetSendCompressor(r.ctx, name); err != nil {
			return status.Errorf(codes.FailedPrecondition, "compression %q: %v", name, err)
		}
	}
	r.out.SetTrailer(toMD(r.script.GetTrailers()))
	if r.script.GetHeadersFirst() {
		return r.out.SendHeader(toMD(r.script.GetHeaders()))
	}
	return r.out.SetHeader(toMD(r.script.GetHeaders()))
}

func (r *run) count(req *echopb.Request) {
	r.requests++
	r.bytes += uint64(len(req.GetPayload()))
}

func (r *run) stopped() bool {
	n := r.script.GetStopAfter()
	return n > 0 && r.requests >= uint64(n)
}

func (r *run) reply(req *echopb.Request) (*echopb.Reply, error) {
	r.count(req)
	return r.answer(req)
}

func (r *run) answer(req *echopb.Request) (*echopb.Reply, error) {
	if d := r.script.GetDelayMs(); d > 0 {
		if err := r.wait(time.Duration(d) * time.Millisecond); err != nil {
			return nil, err
		}
	}
	r.replies++
	reply := &echopb.Reply{Number: r.replies, Requests: r.requests, RequestBytes: r.bytes, Payload: req.GetPayload()}
	if n := r.script.GetReplyBytes(); n > 0 {
		reply.Payload = Payload(r.replies, int(n))
	}
	if r.script.GetReflect() {
		md, _ := metadata.FromIncomingContext(r.ctx)
		reply.Metadata = fromMD(md)
		if deadline, ok := r.ctx.Deadline(); ok {
			reply.TimeoutMs = time.Until(deadline).Milliseconds()
		}
	}
	return reply, nil
}

func (r *run) wait(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-r.ctx.Done():
		return status.FromContextError(r.ctx.Err()).Err()
	}
}

// finish is the RPC's status.
func (r *run) finish() error {
	if r.script.GetHang() {
		<-r.ctx.Done()
		return status.FromContextError(r.ctx.Err()).Err()
	}
	s := status.New(codes.Code(r.script.GetStatus()), r.script.GetMessage())
	if len(r.script.GetDetails()) == 0 {
		return s.Err()
	}
	details := make([]protoadapt.MessageV1, 0, len(r.script.GetDetails()))
	for _, d := range r.script.GetDetails() {
		details = append(details, protoadapt.MessageV1Of(d))
	}
	s, err := s.WithDetails(details...)
	if err != nil {
		return err
	}
	return s.Err()
}
