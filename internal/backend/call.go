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

// CallOptions configure one RPC.
type CallOptions struct {
	// Session is the ID of the RPC's session. RPCs of one session share a channel.
	Session string
	// SessionDone is closed when the session ends, and its own channels are closed
	// then. Only used with Config.PerSession.
	SessionDone <-chan struct{}
	// Compression is the compressor of sent messages, such as "gzip"; empty: none.
	// Received messages may be compressed regardless: gRPC announces every
	// compressor that is linked in.
	Compression string
	// ContentSubtype is gRPC's content-subtype, such as "json"; empty: "proto".
	ContentSubtype string
	// WaitForReady makes the RPC wait for a ready channel until ctx ends, instead
	// of for Config.ReadyTimeout.
	WaitForReady bool
	// SingleRequest promises that exactly one message will be sent. It is then
	// sent together with the half-close.
	SingleRequest bool
	// Cancel, if not nil, cancels the context passed to Invoke, which then need
	// not derive its own to end an RPC that no channel takes in time.
	Cancel context.CancelCauseFunc
}

// Call is one RPC at the backend. One goroutine at a time may call Send and
// CloseSend, another one Header and Recv, and any Close.
type Call struct {
	stream  grpc.ClientStream
	turn    turn
	subtype string
	out     Message
	in      incoming
}

// Every Call is opened as bidirectional, because only the caller knows the kind
// of its RPC. Only the half-close after a single request is known beforehand.
var (
	bidiStream    = &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	singleRequest = &grpc.StreamDesc{ServerStreams: true}
)

var errNotReady = errors.New("backend: not ready in time")

func baseOptions(cfg Config) []grpc.CallOption {
	return []grpc.CallOption{
		grpc.WaitForReady(true), // bounded by waiting
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

// turn is an RPC's place on a channel. Only the wait for the channel to take the
// RPC is bounded by ReadyTimeout, not the RPC itself.
type turn struct {
	pool   *Pool
	group  *group
	ch     *channel
	ctx    context.Context
	cancel context.CancelCauseFunc
	owns   bool // ctx is the turn's own
	bound  bool // the wait is bounded: the turn is in Pool.waiting
	left   atomic.Bool

	// Guarded by waiting.mu.
	waits          bool
	due            time.Time
	before, behind *turn
}

// take begins a turn. t must not be moved afterwards.
func (p *Pool) take(ctx context.Context, t *turn, md metadata.MD, o CallOptions) error {
	group, ch, err := p.acquire(o)
	if errors.Is(err, errClosed) {
		return &NotTakenError{status.New(codes.Unavailable, err.Error())}
	}
	if err != nil {
		id := p.report(p.cfg.Logger.With("backend", p.cfg.Name), "no channel", err.Error())
		return &NotTakenError{status.Newf(codes.Unavailable, "%s cannot be dialled (id %s)", p.cfg.publicName(), id)}
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

// endWait ends the wait for the channel to take the RPC. The first call reports
// whether that was in time.
func (t *turn) endWait() bool { return !t.bound || t.pool.waiting.remove(t) }

// NotTakenError is the status of an RPC that no channel took, and that thus did
// not run.
type NotTakenError struct{ status *status.Status }

func (e *NotTakenError) Error() string { return e.status.String() }

// GRPCStatus returns the status. It makes e a gRPC status error.
func (e *NotTakenError) GRPCStatus() *status.Status { return e.status }

// notTaken returns why no channel took the RPC in time, nil if one did.
func (t *turn) notTaken(err error) error {
	if errors.Is(context.Cause(t.ctx), errNotReady) {
		why, full := t.ch.describe()
		return &NotTakenError{status.Newf(codes.Unavailable, "%s not ready within %v: %s (id %s)",
			t.pool.cfg.publicName(), t.pool.cfg.ReadyTimeout, why, t.report(why, full))}
	}
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	switch {
	case s.Code() == codes.DeadlineExceeded:
		s = status.New(s.Code(), context.DeadlineExceeded.Error()) // gRPC adds the last error of a dial
	case s.Code() == codes.Canceled:
		s = status.New(s.Code(), context.Canceled.Error())
	case networkText.MatchString(s.Message()):
		kind := kindOf(s.Message())
		s = status.Newf(s.Code(), "no backend: %s (id %s)", kind, t.report(kind, s.Message()))
	}
	return &NotTakenError{s}
}

// leave ends the RPC, if it has not ended, and frees its place.
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

// ended logs and counts an RPC that ended because the backend received too many
// pings.
func (t *turn) ended(err error) {
	if !t.ch.complaint(err) {
		return
	}
	t.pool.complaints.Add(1)
	t.ch.log.Warn("backend closed a connection: " + tooManyPings + "; choose the profile safe, or let the backend permit them")
}

// Start begins an RPC of the given method ("/pkg.Service/Method"). It waits for a
// ready channel, for Config.ReadyTimeout at most unless CallOptions.WaitForReady
// is set. When that has passed, the error is an UNAVAILABLE with the channel's
// state and last error. All errors are gRPC status errors. ctx is the RPC's: its
// deadline is sent to the backend, and its end cancels the RPC.
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

// Reply is the response of a unary RPC.
type Reply struct {
	Header   metadata.MD // nil: none
	Messages []Message   // nil if there was an error; one, unless the backend violated the protocol
	Trailer  metadata.MD

	in  incoming   // the first message
	one [1]Message // backs Messages, mostly
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

// invocation is everything that an Invoke needs, in one allocation. It is the
// request passed to gRPC, which marshals it once a channel has taken the RPC:
// that ends the wait.
type invocation struct {
	Reply
	request Message
	whole   mem.SliceBuffer // the marshalled request, if it is one piece
	buffer  [1]mem.Buffer   // backs the BufferSlice of whole
	turn    turn
	taken   bool // in time
	options [8]grpc.CallOption
}

// Invoke runs a unary RPC. It is cheaper than Start: gRPC keeps a goroutine for
// each stream. The error is nil for an OK status, else a status error; Header and
// Trailer are set in either case, as far as they came. A number of messages other
// than one is not an error here: the user's side decides.
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
	return r, t.public(err).Err()
}

// miscounted reports whether gRPC refused the reply only for its number of
// messages. Nothing but the text says so: a backend whose own status has the same
// text is mistaken for one that sent OK and no message.
func (r *Reply) miscounted(err error) bool {
	s := status.Convert(err)
	return len(r.Messages) > 1 || len(r.Messages) == 0 && s.Code() == codes.Internal && s.Message() == noMessage
}

const noMessage = "cardinality violation: received no response message from non-server-streaming RPC"

// Send sends one message. It returns once gRPC has taken it, which waits for the
// backend's HTTP/2 window. The bytes must not be changed afterwards. It returns
// io.EOF if the RPC has ended; Recv then returns its status.
func (c *Call) Send(pieces [][]byte) error {
	c.out.Pieces = pieces
	return c.stream.SendMsg(&c.out)
}

// CloseSend half-closes the RPC: no more messages follow.
func (c *Call) CloseSend() error { return c.stream.CloseSend() }

// Header waits for the response headers. It returns nil if the RPC ends without
// any. An unexpected content-type is an INTERNAL error: the bytes that follow
// would be no messages.
func (c *Call) Header() (metadata.MD, error) {
	md, err := c.stream.Header()
	if err != nil {
		return nil, c.turn.public(err).Err()
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
// status and a status error for any other, and Trailer is valid. The caller owns
// the message's bytes and must call its Free; the slice Pieces itself is valid
// until the next Recv.
func (c *Call) Recv() (Message, error) {
	if err := c.stream.RecvMsg(&c.in); err != nil {
		c.turn.ended(err)
		if err != io.EOF { //nolint:errorlint // gRPC also wraps it, after failed retries, and then it does not mean OK
			err = c.turn.public(err).Err()
		}
		return Message{}, err
	}
	return c.in.Message, nil
}

// Trailer returns the trailing metadata. It is valid once Recv has returned an
// error.
func (c *Call) Trailer() metadata.MD { return c.stream.Trailer() }

// Close cancels the RPC, if it has not ended, and frees its place in the channel.
// It must be called for every Call, and may be called more than once.
func (c *Call) Close() { c.turn.leave() }

var errCallClosed = errors.New("backend: call closed")
