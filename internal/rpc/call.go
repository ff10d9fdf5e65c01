package rpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/pollbridge/pollbridge/internal/schema"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Call is one RPC as its client sees it. Recv may be called by one goroutine at
// a time, Send and SendHeaders by another.
type Call interface {
	// Protocol is one of Protocols.
	Protocol() string
	// JSON reports whether the call's messages are in JSON.
	JSON() bool
	// Began is when the request came.
	Began() time.Time
	// Request is the HTTP request. Its body is not to be read. Of native gRPC it
	// has all headers only with Config.Headers.
	Request() *http.Request
	// Cancel ends the context that Serve got.
	Cancel() context.CancelCauseFunc
	// Open is what the client asks for. After an error the client is told what is
	// wrong, whatever Serve returns.
	Open() (*wire.Open, error)
	// Code is the status code that the client is told at an end of this kind.
	Code(end wire.End) uint32
	// Convert has the call take its messages, which are in JSON, to protobuf and
	// back. It is called before Recv and Send. After an error the client is told
	// what is wrong, whatever Serve returns.
	Convert(ctx context.Context, types Types) (*schema.Method, error)
	// OneRequest reports whether the client's first message, which it waits for, is
	// its only one, so far as that can be told.
	OneRequest(ctx context.Context) bool
	// Recv waits for the client's next message, which is the caller's for good;
	// io.EOF says that there is none. After any other error the context that Serve
	// got has ended.
	Recv(ctx context.Context) ([][]byte, error)
	// SendHeaders gives the client the backend's headers, together with what
	// follows if that comes soon.
	SendHeaders(md []wire.Metadatum) error
	// Send sends a message, and waits for a client that reads slowly. free, if not
	// nil, is called once the bytes are needed no more.
	Send(ctx context.Context, pieces [][]byte, free func()) error
}

// httpCall is a Call that came to ServeHTTP.
type httpCall struct {
	handler *Handler
	request *http.Request
	answer  *answer
	form    form
	source  *source
	body    *body
	control *http.ResponseController
	began   time.Time
	duplex  bool // HTTP/1.1, read and written at the same time

	converter *converter // nil: messages go through as they are

	stream connect.ServerStream
	info   *connect.CallInfo
	ctx    context.Context // Serve's
	ending

	held    int // bytes of the message that Recv gave last
	ahead   received
	replies []reply     // Connect's unary form: what goes once the trailers are known
	stall   *time.Timer // cuts writes that a client does not take; nil: none yet

	headers    *time.Timer // flushes headers; nil: there are none yet
	out        sync.Mutex  // held while headers go out by themselves
	headersOut bool        // guarded by out

	mu          sync.Mutex
	reads       half
	writes      half
	interrupted bool
	cut         bool // writes were interrupted
	ended       bool // nothing more is written
	over        bool
}

// received is what OneRequest took for Recv.
type received struct {
	pieces [][]byte
	err    error
	valid  bool
}

// reply is a message to the client.
type reply struct {
	pieces [][]byte
	free   func() // nil: nothing to free
}

type callKey struct{}

// linger is how long a client may go on sending that was answered before.
const linger = 500 * time.Millisecond

func newCall(h *Handler, w http.ResponseWriter, r *http.Request, f form) *httpCall {
	c := &httpCall{handler: h, form: f, control: http.NewResponseController(w), began: time.Now()}
	c.answer = &answer{pacedWriter: pacedWriter{w, c}}
	if c.request = r; c.writeTimeout() > 0 {
		c.setWriteDeadline(time.Time{}) // a stream may take longer
	}
	c.request = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	c.source = &source{ReadCloser: r.Body, length: r.ContentLength}
	c.body = &body{ReadCloser: c.source, call: c, unary: f.unary}
	if f.text {
		c.body.ReadCloser = &textReader{ReadCloser: c.source}
		c.answer.text = &textWriter{to: c.answer.pacedWriter}
	}
	c.request.Body = c.body
	c.adaptHeaders()
	return c
}

// writeTimeout is the server's, for answers that it bounds itself.
func (c *httpCall) writeTimeout() time.Duration {
	server, ok := c.request.Context().Value(http.ServerContextKey).(*http.Server)
	if !ok {
		return 0
	}
	return server.WriteTimeout
}

// adaptHeaders gives connect-go the form that it knows.
func (c *httpCall) adaptHeaders() {
	h := c.request.Header
	if c.form.text {
		subtype := ""
		if c.form.json {
			subtype = "+" + connect.CodecNameJSON
		}
		h.Set("Content-Type", "application/grpc-web"+subtype)
	}
	// In gRPC, who sends nothing compressed gets nothing compressed, though it
	// could read it.
	if sent := h.Get("Grpc-Encoding"); c.form.protocol != connect.ProtocolNameConnect && (sent == "" || sent == connect.CompressionNameIdentity) {
		h.Del("Grpc-Accept-Encoding")
	}
}

// handlerName names the connect-go handler for the call.
func (c *httpCall) handlerName() string {
	switch {
	case c.form.unary:
		return unaryHandler
	case c.request.ProtoMajor >= 2:
		return http2Handler
	}
	// A backend may answer before it has heard all. A server that cannot do that
	// reads the request to its end first.
	c.duplex = c.control.EnableFullDuplex() == nil
	return http1Handler
}

// serve is what the handlers of connect-go run.
func serve(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	c, ok := ctx.Value(callKey{}).(*httpCall)
	if !ok {
		return errors.New("rpc: not one of this package's requests")
	}
	c.stream = stream
	c.info, _ = connect.CallInfoForServerContext(ctx)
	ctx, c.cancel = context.WithCancelCause(ctx)
	c.ctx = ctx
	defer c.cancel(nil)
	if !c.handler.calls.add(c) {
		return connect.NewError(connect.CodeUnavailable, "the bridge is shutting down")
	}
	defer c.handler.calls.remove(c)
	end := c.handler.cfg.Serve(ctx, c)
	c.takeOut()
	defer c.dropReplies()
	defer c.unwatch()
	if err := c.failure(); err != nil {
		return err
	}
	setMetadata(c.info.ResponseTrailer(), end.Trailers)
	c.answer.notFound = end.Origin == wire.OriginBridge
	if err := statusError(end, c.form.protocol); err != nil || !c.form.unary {
		return err
	}
	return c.sendReply(ctx)
}

// finish ends what the call began.
func (c *httpCall) finish() {
	c.unwatch()
	c.answer.end()
	if c.duplex && !c.source.whole() {
		// net/http reads on for a while, so that a client that is still sending
		// gets to read the answer, and then closes the connection.
		_ = c.control.SetReadDeadline(time.Now().Add(linger))
	}
	c.body.release()
	c.release()
}

// Protocol implements Call.
func (c *httpCall) Protocol() string { return c.form.protocol }

// JSON implements Call.
func (c *httpCall) JSON() bool { return c.form.json }

// Began implements Call.
func (c *httpCall) Began() time.Time { return c.began }

// Request implements Call.
func (c *httpCall) Request() *http.Request { return c.request }

// Open implements Call.
func (c *httpCall) Open() (*wire.Open, error) {
	md, err := requestMetadata(c.request.Header, c.handler.cfg.MaxMetadata)
	if err != nil {
		c.fail(err)
		return nil, err
	}
	open := &wire.Open{
		Method:         c.request.URL.Path,
		Metadata:       md,
		SingleRequest:  c.form.unary,
		SingleResponse: c.form.unary,
	}
	if c.info.RequestEncoding != connect.CompressionNameIdentity {
		open.Compression = c.info.RequestEncoding
	}
	return open, nil
}

// Code implements Call.
func (c *httpCall) Code(end wire.End) uint32 {
	if err := c.failure(); err != nil {
		return uint32(connect.CodeOf(err))
	}
	return end.Status
}

// Recv implements Call.
func (c *httpCall) Recv(ctx context.Context) ([][]byte, error) {
	pieces, err := c.ahead.pieces, c.ahead.err
	if !c.ahead.valid {
		c.release()
		pieces, err = c.receive(ctx)
	}
	c.ahead = received{}
	if err != nil || c.converter == nil {
		return pieces, err
	}
	binary, err := c.converter.toBinary(ctx, pieces)
	if err == nil {
		err = c.hold(len(binary))
	}
	if err != nil {
		c.fail(err)
		return nil, err
	}
	return [][]byte{binary}, nil
}

// OneRequest implements Call: a request of known length may end with its first
// message.
func (c *httpCall) OneRequest(ctx context.Context) bool {
	if c.request.ContentLength <= 0 || c.form.text || c.form.unary {
		return c.form.unary
	}
	pieces, err := c.receive(ctx)
	c.ahead = received{pieces, err, true}
	return err == nil && c.source.whole()
}

// receive takes a message as the client sent it.
func (c *httpCall) receive(ctx context.Context) ([][]byte, error) {
	if err := c.start(ctx, &c.reads); err != nil {
		return nil, err
	}
	m := message{call: c}
	err := c.stream.Receive(&m)
	c.done(&c.reads)
	c.body.release()
	switch {
	case err == nil:
		return m.pieces, nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case m.err != nil:
		err = m.err
	}
	c.fail(err)
	return nil, err
}

// hold counts a message that is given to the caller.
func (c *httpCall) hold(n int) error {
	if err := c.handler.budget.take(n); err != nil {
		return err
	}
	c.held += n
	return nil
}

// release is hold's end.
func (c *httpCall) release() {
	c.handler.budget.give(c.held)
	c.held = 0
}

// headersAfter is how long headers wait for the first message, to go with it.
const headersAfter = time.Millisecond

// SendHeaders implements Call. In Connect's unary form headers go with what
// follows in any case.
func (c *httpCall) SendHeaders(md []wire.Metadatum) error {
	setMetadata(c.info.ResponseHeader(), md)
	if !c.form.unary {
		c.headers = time.AfterFunc(headersAfter, c.flushHeaders)
	}
	return nil
}

func (c *httpCall) flushHeaders() {
	c.out.Lock()
	defer c.out.Unlock()
	if c.headersOut || c.start(c.ctx, &c.writes) != nil {
		return
	}
	defer c.done(&c.writes)
	c.headersOut = true
	_ = c.stream.SendHeaders() // an error comes again with what follows
}

// takeOut keeps headers from going out by themselves from now on, and waits for
// them if they do.
func (c *httpCall) takeOut() {
	if c.headers != nil {
		c.headers.Stop()
	}
	c.out.Lock()
	defer c.out.Unlock()
	c.headersOut = true
}

// Send implements Call.
func (c *httpCall) Send(ctx context.Context, pieces [][]byte, free func()) error {
	if c.form.unary {
		c.replies = append(c.replies, reply{pieces, free})
		return nil
	}
	if free != nil {
		defer free()
	}
	return c.send(ctx, pieces)
}

func (c *httpCall) send(ctx context.Context, pieces [][]byte) error {
	if c.converter != nil {
		var err error
		if pieces, err = c.converter.toJSON(pieces); err != nil {
			c.fail(err)
			return err
		}
	}
	m := message{call: c, pieces: pieces}
	n := m.len()
	if err := c.handler.budget.take(n); err != nil {
		c.fail(err)
		return err
	}
	defer c.handler.budget.give(n)
	c.takeOut()
	if err := c.start(ctx, &c.writes); err != nil {
		return err
	}
	defer c.done(&c.writes)
	if err := c.stream.Send(&m); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	return nil
}

// sendReply sends the one message of Connect's unary form, with headers and
// trailers before it.
func (c *httpCall) sendReply(ctx context.Context) error {
	if n := len(c.replies); n != 1 {
		return connect.Errorf(connect.CodeUnimplemented, "the method answered with %d messages, a unary one has one", n)
	}
	return c.send(ctx, c.replies[0].pieces)
}

func (c *httpCall) dropReplies() {
	for _, r := range c.replies {
		if r.free != nil {
			r.free()
		}
	}
	c.replies = nil
}

// details are those of a status in its binary form.
func details(status []byte) []*anypb.Any {
	if len(status) == 0 {
		return nil
	}
	s := new(spb.Status)
	if proto.Unmarshal(status, s) != nil {
		return nil // the code and the message are known without
	}
	return s.GetDetails()
}
