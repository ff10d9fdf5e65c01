package bridge

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// traceContext is how a trace crosses processes: W3C's traceparent and tracestate.
var traceContext propagation.TraceContext

// observer records each RPC in the access log and in a span. Nil: neither is
// configured.
type observer struct {
	log    *slog.Logger // nil: no access log
	tracer trace.Tracer // nil: no spans
}

func newObserver(cfg Config) *observer {
	if cfg.AccessLog == nil && cfg.TracerProvider == nil {
		return nil
	}
	o := &observer{log: cfg.AccessLog}
	if cfg.TracerProvider != nil {
		o.tracer = cfg.TracerProvider.Tracer(module, trace.WithInstrumentationVersion(Version()))
	}
	return o
}

// observed is the record of one RPC. Nil: none is kept.
type observed struct {
	by       *observer
	began    time.Time
	method   string
	protocol string
	who      string
	remote   string
	sess     *registry.Session // nil: the RPC has none
	stream   uint64
	resumed  uint64     // how often its session had, when the RPC began
	span     trace.Span // nil: no spans
	up, down tally
}

// sessionTrace is the latest of the spans that mark where a session began, and
// where it came back. RPCs are linked to them, and each to the one before.
type sessionTrace struct {
	mu      sync.Mutex
	latest  trace.SpanContext
	resumed uint64
}

// mark returns the link to a session's latest mark, which it first makes if the
// session has come back since.
func (o *observer) mark(sess *registry.Session, resumed uint64) trace.Link {
	t := sess.Note(func() any { return new(sessionTrace) }).(*sessionTrace)
	t.mu.Lock()
	defer t.mu.Unlock()
	before := trace.Link{SpanContext: t.latest}
	if t.latest.IsValid() && t.resumed >= resumed {
		return before
	}
	name, links := "session opened", []trace.Link(nil)
	if t.latest.IsValid() {
		name, links = "session resumed", []trace.Link{before}
	}
	_, span := o.tracer.Start(context.Background(), name, trace.WithNewRoot(), trace.WithLinks(links...),
		trace.WithAttributes(attribute.String("pollbridge.session", sess.ID()), attribute.Int64("pollbridge.resumed", int64(resumed))))
	span.End()
	t.latest, t.resumed = span.SpanContext(), resumed
	return trace.Link{SpanContext: t.latest}
}

// tally counts the messages of one direction. It is used by one goroutine.
type tally struct{ messages, bytes int64 }

func (t *tally) add(m engine.Message) {
	t.messages++
	for _, p := range m.Pieces {
		t.bytes += int64(len(p))
	}
}

// begin observes an RPC of a session.
func (o *observer) begin(st *registry.Stream, began time.Time) *observed {
	if o == nil {
		return nil
	}
	sess := st.Session()
	rpc := &observed{by: o, began: began, protocol: sessionProtocol, method: st.Request().Method, who: sess.Principal().Name, sess: sess, stream: st.ID()}
	_, rpc.resumed = sess.Transport()
	rpc.startSpan(st.Context(), openCarrier{st.Request()})
	return rpc
}

// beginRequest observes an RPC without a session.
func (o *observer) beginRequest(r *http.Request, protocol, remote string, began time.Time) *observed {
	if o == nil {
		return nil
	}
	rpc := &observed{by: o, began: began, protocol: protocol, method: r.URL.Path, remote: remote}
	rpc.startSpan(r.Context(), propagation.HeaderCarrier(r.Header))
	return rpc
}

// startSpan starts a span below the one that the caller names.
func (o *observed) startSpan(ctx context.Context, from propagation.TextMapCarrier) {
	if o.by.tracer == nil {
		return
	}
	service, method, _ := strings.Cut(strings.TrimPrefix(o.method, "/"), "/")
	attributes := []attribute.KeyValue{
		attribute.String("rpc.system", "grpc"), attribute.String("rpc.service", service), attribute.String("rpc.method", method),
		attribute.String("pollbridge.protocol", o.protocol),
	}
	var links []trace.Link
	if o.sess != nil {
		attributes = append(attributes, attribute.String("pollbridge.session", o.sess.ID()), attribute.Int64("pollbridge.stream", int64(o.stream)))
		links = append(links, o.by.mark(o.sess, o.resumed))
	}
	_, o.span = o.by.tracer.Start(traceContext.Extract(ctx, from), strings.TrimPrefix(o.method, "/"),
		trace.WithTimestamp(o.began), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes...), trace.WithLinks(links...))
}

// context returns the RPC's context with its span as the parent of further ones.
func (o *observed) context(ctx context.Context) context.Context {
	if o == nil || o.span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, o.span)
}

// watch returns the stream with its messages counted.
func (o *observed) watch(st stream) stream {
	if o == nil {
		return st
	}
	return &observedStream{st, o}
}

type observedStream struct {
	stream
	rpc *observed
}

func (s *observedStream) Recv(ctx context.Context) (engine.Message, error) {
	m, err := s.stream.Recv(ctx)
	if err == nil {
		s.rpc.up.add(m)
	}
	return m, err
}

func (s *observedStream) Send(ctx context.Context, m engine.Message) error {
	s.rpc.down.add(m) // the stream may free it
	return s.stream.Send(ctx, m)
}

// traceID returns the ID of the trace if it is recorded, else "".
func (o *observed) traceID() string {
	if o == nil || o.span == nil || !o.span.SpanContext().IsSampled() {
		return ""
	}
	return o.span.SpanContext().TraceID().String()
}

// end records the RPC's end.
func (o *observed) end(ctx context.Context, end *wire.End, took time.Duration) {
	if o == nil {
		return
	}
	carriage, resumed := o.protocol, uint64(0)
	if o.sess != nil {
		var kind transport.Kind
		kind, resumed = o.sess.Transport()
		carriage = kind.String()
	}
	came := resumed - o.resumed
	if o.span != nil {
		o.endSpan(end, took, carriage, resumed)
	}
	if o.by.log != nil {
		o.by.log.LogAttrs(ctx, slog.LevelInfo, "rpc", o.attrs(end, took, carriage, came)...)
	}
}

func (o *observed) endSpan(end *wire.End, took time.Duration, carriage string, resumed uint64) {
	if resumed > o.resumed {
		o.span.AddLink(o.by.mark(o.sess, resumed))
	}
	o.span.SetAttributes(
		attribute.Int64("rpc.grpc.status_code", int64(end.Status)), attribute.String("pollbridge.transport", carriage), attribute.Int64("pollbridge.resumed", int64(resumed-o.resumed)),
		attribute.Int64("pollbridge.messages_in", o.up.messages), attribute.Int64("pollbridge.messages_out", o.down.messages),
	)
	if failed(codes.Code(end.Status)) {
		o.span.SetStatus(otelcodes.Error, end.Message)
	}
	o.span.End(trace.WithTimestamp(o.began.Add(took)))
}

// failed reports whether a status is a server's failure, and not a client's,
// according to OpenTelemetry's conventions for gRPC.
func failed(code codes.Code) bool {
	return slices.Contains([]codes.Code{
		codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss,
	}, code)
}

// attrs returns the fields of a line of the access log, as documented in
// docs/OPERATIONS.md.
func (o *observed) attrs(end *wire.End, took time.Duration, carriage string, resumed uint64) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("method", o.method), slog.String("code", codeName(end.Status)), slog.Float64("duration", took.Seconds()),
		slog.Int64("bytes_in", o.up.bytes), slog.Int64("bytes_out", o.down.bytes),
		slog.Int64("messages_in", o.up.messages), slog.Int64("messages_out", o.down.messages),
		slog.String("transport", carriage), slog.Uint64("resumed", resumed),
	}
	if end.Reason != "" {
		attrs = append(attrs, slog.String("reason", end.Reason))
	}
	if id := backend.IncidentID(end.Message); id != "" && end.Status != 0 {
		attrs = append(attrs, slog.String("id", id))
	}
	if o.who != "" {
		attrs = append(attrs, slog.String("principal", o.who))
	}
	if o.remote != "" {
		attrs = append(attrs, slog.String("remote", o.remote))
	}
	if o.sess != nil {
		attrs = append(attrs, slog.String("session", o.sess.ID()), slog.Uint64("stream", o.stream))
	}
	if id := o.traceID(); id != "" {
		attrs = append(attrs, slog.String("trace", id))
	}
	return attrs
}

// openCarrier reads a trace's context from the metadata of an OPEN.
type openCarrier struct{ open *wire.Open }

func (c openCarrier) Get(key string) string {
	for _, m := range c.open.Metadata {
		if strings.EqualFold(m.Key, key) {
			return m.Value
		}
	}
	return ""
}

func (c openCarrier) Set(string, string) {}

func (c openCarrier) Keys() []string {
	keys := make([]string, len(c.open.Metadata))
	for i, m := range c.open.Metadata {
		keys[i] = m.Key
	}
	return keys
}
