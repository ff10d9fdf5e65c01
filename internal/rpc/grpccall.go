package rpc

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/pollbridge/pollbridge/internal/schema"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// grpcCall is a Call that came to ServeGRPC.
type grpcCall struct {
	handler *Handler
	stream  grpc.ServerStream
	method  string
	md      metadata.MD // the request's; not to be changed
	subtype string
	began   time.Time
	request *http.Request

	ctx context.Context // Serve's
	ending

	converter *converter // nil: messages go through as they are

	requests chan request // from read; nil: nothing is read yet
	ahead    []request    // what OneRequest took for Recv
	last     int          // bytes of the message that Recv gave last
	headers  *time.Timer  // sends headers; nil: there are none yet

	mu   sync.Mutex
	held int  // bytes of messages that were read
	over bool // nothing is held any more
}

// request is a message that was read, or why there is none.
type request struct {
	message *inbound
	err     error
}

type grpcCallKey struct{}

// beginGRPC makes an RPC's Call of its metadata, before gRPC would copy it. It is a
// tap.ServerInHandle.
func (h *Handler) beginGRPC(ctx context.Context, info *tap.Info) (context.Context, error) {
	c := &grpcCall{handler: h, method: info.FullMethodName, md: info.Header, began: time.Now()}
	if p, ok := peer.FromContext(ctx); ok {
		if conn, ok := p.AuthInfo.(*grpcConn); ok {
			c.request = c.asHTTP(conn.request)
		}
	}
	if c.request == nil {
		return nil, status.Error(codes.Internal, "rpc: not one of this package's connections")
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return context.WithValue(ctx, grpcCallKey{}, c), nil
}

// accessHeaders are those that rules of access look at.
var accessHeaders = []string{"origin", "sec-fetch-site", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}

// asHTTP returns the RPC's request as net/http would have it, like one of its
// connection's.
func (c *grpcCall) asHTTP(like *http.Request) *http.Request {
	r := *like
	r.URL = &url.URL{Path: c.method}
	r.RequestURI = c.method
	if host := c.md[":authority"]; len(host) > 0 {
		r.Host = host[0]
	}
	r.Header = http.Header{}
	if !c.handler.cfg.Headers {
		for _, key := range accessHeaders {
			if values := c.md[key]; len(values) > 0 {
				r.Header[textproto.CanonicalMIMEHeaderKey(key)] = values
			}
		}
		return &r
	}
	for key, values := range c.md {
		if strings.HasPrefix(key, ":") {
			continue
		}
		name := textproto.CanonicalMIMEHeaderKey(key)
		for _, v := range values {
			if strings.HasSuffix(key, binarySuffix) {
				v = base64.RawStdEncoding.EncodeToString([]byte(v))
			}
			r.Header[name] = append(r.Header[name], v)
		}
	}
	return &r
}

// serve runs the RPC to its end.
func (c *grpcCall) serve(stream grpc.ServerStream) error {
	c.stream = stream
	defer c.cancel(nil)
	_, subtype, _ := strings.Cut(first(c.md["content-type"]), "+")
	c.subtype, _, _ = strings.Cut(subtype, ";")
	if c.subtype != "" && c.subtype != connect.CodecNameProto && c.subtype != connect.CodecNameJSON {
		return status.Errorf(codes.Unimplemented, "content-type %.256q is neither application/grpc nor application/grpc+json", first(c.md["content-type"]))
	}
	if !c.handler.calls.add(c) {
		return status.Error(codes.Unavailable, "the bridge is shutting down")
	}
	defer c.handler.calls.remove(c)
	end := c.handler.cfg.Serve(c.ctx, c)
	c.finish()
	if err := c.failure(); err != nil {
		return grpcError(err)
	}
	stream.SetTrailer(grpcMetadata(end.Trailers))
	return grpcStatus(end)
}

// finish ends what the call began.
func (c *grpcCall) finish() {
	if c.headers != nil {
		c.headers.Stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handler.budget.give(c.held)
	c.held, c.over = 0, true
}

// Protocol implements Call.
func (*grpcCall) Protocol() string { return connect.ProtocolNameGRPC }

// JSON implements Call.
func (c *grpcCall) JSON() bool { return c.subtype == connect.CodecNameJSON }

// Began implements Call.
func (c *grpcCall) Began() time.Time { return c.began }

// Request implements Call.
func (c *grpcCall) Request() *http.Request { return c.request }

// Open implements Call.
func (c *grpcCall) Open() (*wire.Open, error) {
	open := &wire.Open{Method: c.method, Metadata: make([]wire.Metadatum, 0, len(c.md))}
	size := 0
	for key, values := range c.md {
		if strings.HasPrefix(key, ":") || protocolKey(key) {
			continue
		}
		for _, v := range values {
			open.Metadata = append(open.Metadata, wire.Metadatum{Key: key, Value: v})
			size += len(key) + len(v)
		}
	}
	if limit := c.handler.cfg.MaxMetadata; size > limit {
		err := tooMuchMetadata(size, limit)
		c.fail(err)
		return nil, err
	}
	// The interface of the stream's own type; without it requests are not
	// compressed.
	if s, ok := grpc.ServerTransportStreamFromContext(c.stream.Context()).(interface{ RecvCompress() string }); ok && s.RecvCompress() != connect.CompressionNameIdentity {
		open.Compression = s.RecvCompress()
	}
	return open, nil
}

// Code implements Call.
func (c *grpcCall) Code(end wire.End) uint32 {
	if err := c.failure(); err != nil {
		return uint32(status.Code(grpcError(err)))
	}
	return end.Status
}

// Convert implements Call.
func (c *grpcCall) Convert(ctx context.Context, types Types) (*schema.Method, error) {
	to, err := newConverter(ctx, types, c.method, &c.handler.budget)
	if err != nil {
		c.fail(err)
		return nil, err
	}
	c.converter = to
	return to.method, nil
}

// OneRequest implements Call. Clients of unary methods say with their message that
// it is the last; gRPC tells so with the next read, which the reader begins at once.
func (c *grpcCall) OneRequest(ctx context.Context) bool {
	r, ok := c.next(ctx)
	if !ok {
		return false
	}
	c.ahead = append(c.ahead, r)
	if r.err != nil {
		return false
	}
	runtime.Gosched()
	select {
	case end := <-c.requests:
		c.ahead = append(c.ahead, end)
		return errors.Is(end.err, io.EOF)
	default:
		return false
	}
}

// next waits for what is read next. ok is false if ctx ended first.
func (c *grpcCall) next(ctx context.Context) (r request, ok bool) {
	if c.requests == nil {
		c.requests = make(chan request, 1)
		c.handler.readers.Go(c.read)
	}
	select {
	case r = <-c.requests:
		return r, true
	case <-ctx.Done():
		return r, false
	}
}

// read reads what the client sends, one message ahead, until there is no more, or the
// RPC is over. It may wait for the client after Serve has returned: nothing but the
// end of the RPC interrupts gRPC, which would tell the client that it was cancelled.
func (c *grpcCall) read() {
	for {
		r := request{message: new(inbound)}
		if r.err = c.stream.RecvMsg(r.message); r.err == nil {
			r.err = c.hold(r.message.size)
		} else if !errors.Is(r.err, io.EOF) && !isEnd(r.err) {
			c.fail(r.err) // which gRPC has already told the client, and ended the RPC
		}
		select {
		case c.requests <- r:
		case <-c.ctx.Done():
			return
		}
		if r.err != nil {
			return
		}
	}
}

// isEnd reports whether a read failed because the RPC is over.
func isEnd(err error) bool {
	code := status.Code(err)
	return code == codes.Canceled || code == codes.DeadlineExceeded
}

// Recv implements Call.
func (c *grpcCall) Recv(ctx context.Context) ([][]byte, error) {
	c.release(c.last)
	c.last = 0
	r, err := c.receive(ctx)
	if err != nil {
		return nil, err
	}
	pieces, size := r.message.pieces, r.message.size
	if c.converter != nil {
		binary, err := c.converter.toBinary(ctx, pieces)
		c.release(size)
		if err == nil {
			err = c.hold(len(binary))
		}
		if err != nil {
			c.fail(err)
			return nil, err
		}
		pieces, size = [][]byte{binary}, len(binary)
	}
	c.last = size
	return pieces, nil
}

// receive takes what OneRequest took, or what is read next.
func (c *grpcCall) receive(ctx context.Context) (request, error) {
	var r request
	if len(c.ahead) > 0 {
		r, c.ahead = c.ahead[0], c.ahead[1:]
	} else if next, ok := c.next(ctx); ok {
		r = next
	} else {
		return r, context.Cause(ctx)
	}
	switch {
	case r.err == nil, errors.Is(r.err, io.EOF):
		return r, r.err
	case ctx.Err() != nil:
		return r, context.Cause(ctx)
	}
	c.fail(r.err)
	return r, r.err
}

// hold counts bytes of messages until release, or until the call is over.
func (c *grpcCall) hold(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return context.Canceled
	}
	if err := c.handler.budget.take(n); err != nil {
		return err
	}
	c.held += n
	return nil
}

// release gives back what was counted.
func (c *grpcCall) release(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.handler.budget.give(n)
		c.held -= n
	}
}

// SendHeaders implements Call.
func (c *grpcCall) SendHeaders(list []wire.Metadatum) error {
	if err := c.stream.SetHeader(grpcMetadata(list)); err != nil {
		return err
	}
	c.headers = time.AfterFunc(headersAfter, func() { _ = c.stream.SendHeader(nil) }) // an error comes again with what follows, and says too that they went
	return nil
}

// Send implements Call. gRPC returns before the client has got a message: it waits
// with the next one, and counts the bytes until they are written.
func (c *grpcCall) Send(ctx context.Context, pieces [][]byte, free func()) error {
	m := &outbound{pieces: pieces, done: free}
	if c.converter != nil {
		text, err := c.converter.toJSON(pieces)
		if free != nil {
			free()
		}
		if err != nil {
			c.fail(err)
			return err
		}
		m = &outbound{pieces: text}
	}
	if err := c.count(m); err != nil {
		c.fail(err)
		return err
	}
	if err := c.stream.SendMsg(m); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

// count has a message counted until it is written, unless it is so short that what
// gRPC queues of an RPC bounds such.
func (c *grpcCall) count(m *outbound) error {
	n := 0
	for _, p := range m.pieces {
		n += len(p)
	}
	if n < uncounted {
		return nil
	}
	free := m.done
	if err := c.handler.budget.take(n); err != nil {
		if free != nil {
			free()
		}
		return err
	}
	m.done = func() {
		c.handler.budget.give(n)
		if free != nil {
			free()
		}
	}
	return nil
}

// uncounted is the length below which messages to clients are not counted: gRPC
// queues 64 KiB of an RPC.
const uncounted = 4 << 10

// grpcMetadata is metadata of the backend for an answer.
func grpcMetadata(list []wire.Metadatum) metadata.MD {
	if len(list) == 0 {
		return nil
	}
	md := make(metadata.MD, len(list))
	for _, m := range list {
		if key := strings.ToLower(m.Key); !ownKey(key) {
			md[key] = append(md[key], m.Value)
		}
	}
	return md
}

// grpcStatus is how an RPC ended, for gRPC to write.
func grpcStatus(end wire.End) error {
	if codes.Code(end.Status) == codes.OK {
		return nil
	}
	//nolint:gosec // codes are small
	return status.FromProto(&spb.Status{Code: int32(end.Status), Message: end.Message, Details: details(end.Details)}).Err()
}

// grpcError is an error of connect's as one of gRPC's.
func grpcError(err error) error {
	if known, ok := errors.AsType[*connect.Error](err); ok {
		return status.Error(codes.Code(known.Code()), known.Message())
	}
	return err
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
