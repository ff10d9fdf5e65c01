package backend

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // for CallOptions.Compression
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// CallOptions are a call's own.
type CallOptions struct {
	// Session pins the call's channel: calls of one session share it.
	Session string
	// SessionDone is closed when the session is over, and its own channels are
	// closed with it. Only with Config.PerSession.
	SessionDone <-chan struct{}
	// Compression names the compressor of the messages sent, e.g. "gzip".
	// Empty: none. Received ones may be in gzip either way: gRPC says so to
	// the backend, as it does for each compressor that is linked in.
	Compression string
	// ContentSubtype is that of gRPC, e.g. "json". Empty: "proto".
	ContentSubtype string
	// WaitForReady waits for a ready channel until ctx ends. False: no longer
	// than Config.ReadyTimeout.
	WaitForReady bool
	// SingleRequest says that exactly one message will be sent: it then goes
	// out together with the half-close.
	SingleRequest bool
	// Cancel, if not nil, ends the context that Invoke is given, which then
	// needs none of its own to give up an RPC that no channel takes in time.
	Cancel context.CancelCauseFunc
}

// Call is one RPC at the backend. Send and CloseSend may be called by one
// goroutine at a time, Header and Recv by another; Close by any.
type Call struct {
	stream  grpc.ClientStream
	turn    turn
	subtype string
	out     Message
	in      incoming
}

// Every call is opened for streams both ways: who called knows what kind it
// is. Only the half-close of a single request is known beforehand.
var (
	bidiStream    = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	singleRequest = &grpc.StreamDesc{ServerStreams: true}
)

var errNotReady = errors.New("backend: not ready in time")

func baseOptions(cfg Config) []grpc.CallOption {
	return []grpc.CallOption{
		grpc.WaitForReady(true), // for how long, take says
		grpc.MaxCallRecvMsgSize(cfg.MaxMessage),
		grpc.MaxCallSendMsgSize(cfg.MaxMessage),
		grpc.MaxRetryRPCBufferSize(retryBuffer),
	}
}

// protoCodec is the option of most calls.
var protoCodec = grpc.ForceCodecV2(rawCodec(""))

// options appends a call's options to opts.
func (p *Pool) options(opts []grpc.CallOption, o CallOptions) []grpc.CallOption {
	opts = append(opts, p.base...)
	if o.ContentSubtype == "" {
		opts = append(opts, protoCodec)
	} else {
		opts = append(opts, grpc.ForceCodecV2(rawCodec(o.ContentSubtype)))
	}
	if o.Compression != "" {
		opts = append(opts, grpc.UseCompressor(o.Compression))
	}
	return opts
}

// turn is an RPC's place on a channel. gRPC may take ReadyTimeout to give the
// RPC to the channel, and then all the time it needs.
type turn struct {
	pool   *Pool
	group  *group
	ch     *channel
	ctx    context.Context
	cancel context.CancelCauseFunc
	owns   bool // ctx is the turn's own
	bound  bool // to take part in Pool.waiting
	left   atomic.Bool

	// Guarded by waiting.mu.
	waits          bool
	due            time.Time
	before, behind *turn
}

// take begins a turn, which is not to be moved from then on.
func (p *Pool) take(ctx context.Context, t *turn, md metadata.MD, o CallOptions) error {
	group, ch, err := p.acquire(o)
	if err != nil {
		return &NotTakenError{status.New(codes.Unavailable, err.Error())}
	}
	t.pool, t.group, t.ch = p, group, ch
	t.ctx, t.cancel = ctx, o.Cancel
	if len(md) > 0 {
		t.ctx = metadata.NewOutgoingContext(ctx, md)
	}
	if t.cancel == nil {
		t.ctx, t.cancel = context.WithCancelCause(t.ctx)
		t.owns = true
	}
	if !o.WaitForReady {
		t.bound = true
		p.waiting.add(t)
	}
	return nil
}

// endWait says that the channel took the RPC, and tells whether that was in
// time. Only the first call does.
func (t *turn) endWait() bool { return !t.bound || t.pool.waiting.remove(t) }

// NotTakenError is the status of an RPC that no channel took: it did not run.
type NotTakenError struct{ status *status.Status }

func (e *NotTakenError) Error() string { return e.status.String() }

// GRPCStatus makes it a gRPC status error.
func (e *NotTakenError) GRPCStatus() *status.Status { return e.status }

// notTaken says why no channel took the RPC in time, nil if one did.
func (t *turn) notTaken(err error) error {
	name, limit := t.pool.cfg.Name, t.pool.cfg.ReadyTimeout
	switch {
	case errors.Is(context.Cause(t.ctx), errNotReady):
		return &NotTakenError{status.Newf(codes.Unavailable, "backend %q not ready within %v: %s", name, limit, t.ch.describe())}
	case err != nil:
		return &NotTakenError{status.Convert(err)}
	}
	return nil
}

// leave ends the RPC, if it is not over, and gives its place back.
func (t *turn) leave() {
	if t.left.Swap(true) {
		return
	}
	t.endWait()
	if t.owns {
		t.cancel(errCallClosed)
	}
	t.pool.release(t.group, t.ch)
}

// ended looks at how the RPC ended: was it the backend's annoyance at pings, it
// is logged and counted.
func (t *turn) ended(err error) {
	if !t.ch.complaint(err) {
		return
	}
	t.pool.complaints.Add(1)
	t.ch.log.Warn("backend closed a connection: " + tooManyPings + "; choose the profile safe, or let the backend permit them")
}

// Start begins an RPC of the given method ("/pkg.Service/Method"). It waits
// until a ready channel took it, no longer than Config.ReadyTimeout unless
// CallOptions.WaitForReady: then the error is an UNAVAILABLE with the channel's
// state and last error. All errors are gRPC status errors. ctx is the RPC's:
// its deadline goes to the backend, and its end cancels the RPC.
func (p *Pool) Start(ctx context.Context, method string, md metadata.MD, o CallOptions) (*Call, error) {
	o.Cancel = nil // Close must not end the caller's context
	c := &Call{subtype: o.ContentSubtype}
	t := &c.turn
	if err := p.take(ctx, t, md, o); err != nil {
		return nil, err
	}
	desc := bidiStream
	if o.SingleRequest {
		desc = singleRequest
	}
	stream, err := t.ch.cc.NewStream(t.ctx, desc, method, p.options(nil, o)...)
	t.endWait()
	if err := t.notTaken(err); err != nil {
		t.leave()
		return nil, err
	}
	c.stream = stream
	return c, nil
}

// Reply is what a backend said in an RPC of one message each way.
type Reply struct {
	Header   metadata.MD // nil: there was none
	Messages []Message   // only without an error; one, unless the backend broke the rule
	Trailer  metadata.MD

	in  incoming   // the first message
	one [1]Message // the room for Messages, mostly
}

func (r *Reply) take(data mem.BufferSlice) {
	in := &r.in
	if r.Messages == nil {
		r.Messages = r.one[:0]
	} else {
		in = new(incoming)
	}
	in.takeOnly(data)
	r.Messages = append(r.Messages, in.Message)
}

// invocation is all that an Invoke needs, in one piece. It is gRPC's request,
// which is marshalled once a channel took the RPC: that ends the wait for one.
type invocation struct {
	Reply
	request Message
	whole   mem.SliceBuffer // the marshalled request, mostly
	buffer  [1]mem.Buffer   // the room for it
	turn    turn
	taken   bool // in time
	options [8]grpc.CallOption
}

// Invoke runs an RPC of one message each way. It is cheaper than Start: gRPC
// keeps a goroutine for each stream. The error is nil for an OK status, else a
// status error; Header and Trailer are what came of them either way. That the
// messages are not one is for the user's side to judge, and no error here.
func (p *Pool) Invoke(ctx context.Context, method string, md metadata.MD, o CallOptions, request [][]byte) (*Reply, error) {
	in := &invocation{request: Message{Pieces: request}}
	r, t := &in.Reply, &in.turn
	if err := p.take(ctx, t, md, o); err != nil {
		return r, err
	}
	defer t.leave()
	opts := append(p.options(in.options[:0], o), grpc.Header(&r.Header), grpc.Trailer(&r.Trailer))
	err := t.ch.cc.Invoke(t.ctx, method, in, r, opts...)
	if !in.taken {
		return new(Reply), t.notTaken(err)
	}
	if err == nil || r.miscounted(err) {
		return r, checkType(r.Header, o.ContentSubtype)
	}
	t.ended(err)
	r.Messages = nil
	return r, status.Convert(err).Err()
}

// miscounted tells whether gRPC refused the reply for its number of messages
// alone. It says so by this text only: a backend whose own status bears it is
// taken for one that said OK and nothing else.
func (r *Reply) miscounted(err error) bool {
	s := status.Convert(err)
	return len(r.Messages) > 1 || len(r.Messages) == 0 && s.Code() == codes.Internal && s.Message() == noMessage
}

const noMessage = "cardinality violation: received no response message from non-server-streaming RPC"

// Send sends one message. It returns once gRPC took it, which waits for the
// backend's HTTP/2 window; the bytes must stay as they are. io.EOF says that
// the RPC is over: Recv tells how.
func (c *Call) Send(pieces [][]byte) error {
	c.out.Pieces = pieces
	return c.stream.SendMsg(&c.out)
}

// CloseSend says that no more messages follow.
func (c *Call) CloseSend() error { return c.stream.CloseSend() }

// Header waits for the response headers; nil when the RPC ends without any.
// Headers of another content-type than was asked for are an INTERNAL error:
// what follows would be foreign bytes.
func (c *Call) Header() (metadata.MD, error) {
	md, err := c.stream.Header()
	if err != nil {
		return nil, err
	}
	return md, checkType(md, c.subtype)
}

func checkType(md metadata.MD, subtype string) error {
	for _, got := range md.Get("content-type") {
		if !sameType(got, subtype) {
			return status.Errorf(codes.Internal, "backend answered with content-type %q, want %q", got, contentType(subtype))
		}
	}
	return nil
}

func contentType(subtype string) string {
	if subtype == "" {
		subtype = "proto"
	}
	return "application/grpc+" + subtype
}

func sameType(got, subtype string) bool {
	got, _, _ = strings.Cut(strings.ToLower(got), ";")
	got = strings.TrimSpace(got)
	return got == "application/grpc" || got == contentType(strings.ToLower(subtype))
}

// Recv waits for the next message. After the last it returns io.EOF for an OK
// status and a status error for any other; Trailer is then valid. The caller
// owns the message's bytes and calls its Free; the slice of Pieces itself holds
// until the next Recv.
func (c *Call) Recv() (Message, error) {
	if err := c.stream.RecvMsg(&c.in); err != nil {
		c.turn.ended(err)
		if err != io.EOF { //nolint:errorlint // gRPC wraps it too, after retries in vain, and then it is no OK
			err = status.Convert(err).Err()
		}
		return Message{}, err
	}
	return c.in.Message, nil
}

// Trailer is the trailing metadata, after Recv returned an error.
func (c *Call) Trailer() metadata.MD { return c.stream.Trailer() }

// Close gives the RPC up, if it is not over, and its place in the channel. It
// is to be called once the Call is done with, however it went.
func (c *Call) Close() { c.turn.leave() }

var errCallClosed = errors.New("backend: call closed")
