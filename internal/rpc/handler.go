package rpc

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectgzip"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport/access"
)

// Config configures a Handler. Access, Serve and the limits are needed.
type Config struct {
	// Access says which pages may call.
	Access *access.Policy
	// Serve runs one RPC to its end, which it returns. ctx ends with the
	// client's request, its deadline, or the call's Cancel.
	Serve func(ctx context.Context, c Call) wire.End
	// Draining reports whether clients are to open their next RPCs elsewhere.
	// Default: never.
	Draining func() bool

	// Headers says that Serve reads headers of Call.Request.
	Headers bool
	// Answered is called for each RPC of native gRPC that ServeHTTP did not get,
	// with the status code that its answer has in HTTP. Default: nothing.
	Answered func(status int)

	// Receiving, if not nil, returns a connection of native gRPC that bounds what is
	// received of messages longer than GRPCStreamWindow.
	Receiving func(net.Conn) net.Conn

	MaxMessage  int   // bytes of a message, both ways, decompressed
	MaxMetadata int   // bytes of a request's metadata, keys and values
	MaxBuffered int64 // bytes of messages that all calls together hold

	// StallTimeout is how long a message that began to arrive may make no
	// progress. Default: StallTimeout.
	StallTimeout time.Duration
}

// StallTimeout is Config.StallTimeout's default.
const StallTimeout = 30 * time.Second

// Protocols are the names that Call.Protocol may have.
var Protocols = []string{connect.ProtocolNameConnect, connect.ProtocolNameGRPCWeb, connect.ProtocolNameGRPC}

// Names of the handlers, in the form of paths, which they never see.
const (
	unaryHandler = "/unary" // Connect's own form of unary RPCs
	http2Handler = "/http2" // all other forms: a stream of envelopes each way
	http1Handler = "/http1" // the same, where connect-go expects nobody to talk both ways at once
)

// compressFrom is the length from which answers are compressed: below it,
// compressing costs more than it saves.
const compressFrom = 1 << 10

const methods = "POST, OPTIONS"

// acceptPost names what a request's body may be.
const acceptPost = "application/proto, application/json, application/connect+proto, application/connect+json, " +
	"application/grpc-web, application/grpc-web-text, application/grpc"

// Handler serves all RPCs without a session: as an http.Handler, and those on
// connections of native gRPC by ServeGRPC.
type Handler struct {
	cfg      Config
	budget   budget
	handlers handlers
	calls    calls
	grpc     grpcServers
	readers  sync.WaitGroup // of grpcCalls
}

// New returns a Handler.
func New(cfg Config) *Handler {
	if cfg.StallTimeout == 0 {
		cfg.StallTimeout = StallTimeout
	}
	if cfg.Draining == nil {
		cfg.Draining = func() bool { return false }
	}
	if cfg.Answered == nil {
		cfg.Answered = func(int) {}
	}
	h := &Handler{cfg: cfg, budget: budget{limit: cfg.MaxBuffered}, handlers: handlers{}}
	server := connect.NewServer()
	for name, kind := range map[string]connect.StreamType{
		unaryHandler: connect.StreamTypeUnary,
		http2Handler: connect.StreamTypeBidi,
		http1Handler: connect.StreamTypeClient,
	} {
		server.Register(connect.Method{Spec: connect.Spec{Procedure: name, StreamType: kind}, Handler: serve})
	}
	connecthttp.Mount(h.handlers, server,
		connecthttp.WithCodecs(codec(connect.CodecNameProto), codec(connect.CodecNameJSON)),
		connecthttp.WithCompressors(connectgzip.New()),
		connecthttp.WithCompressMinBytes(compressFrom),
		connecthttp.WithReadMaxBytes(cfg.MaxMessage),
	)
	return h
}

// handlers are connect-go's, by name. It is where they are mounted.
type handlers map[string]http.Handler

func (h handlers) Handle(name string, handler http.Handler) { h[name] = handler }

// ServeHTTP serves one RPC, or a preflight for one. The path, as it stands in
// the request, is the method's name; it is Serve's to judge.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.cfg.Access.Admit(w, r, false) {
		return
	}
	switch r.Method {
	case http.MethodPost:
		h.post(w, r)
	case http.MethodOptions:
		h.cfg.Access.PreflightWith(w, r, methods, requestedHeaders(r))
	default:
		access.NotAllowed(w, r, methods)
	}
}

func (h *Handler) post(w http.ResponseWriter, r *http.Request) {
	form, ok := formOf(r.Header.Get("Content-Type"))
	if !ok {
		w.Header().Set("Accept-Post", acceptPost)
		httpwrite.Text(w, http.StatusUnsupportedMediaType, fmt.Sprintf("content-type %.256q is none of %s", r.Header.Get("Content-Type"), acceptPost))
		return
	}
	if h.cfg.Draining() {
		w.Header().Set("Connection", "close") // in HTTP/2 it becomes a GOAWAY
	}
	c := newCall(h, w, r, form)
	defer c.finish() // also when connect-go aborts the request by a panic
	h.handlers[c.handlerName()].ServeHTTP(c.answer, c.request)
}

// form is what a content type says of an RPC.
type form struct {
	protocol string
	unary    bool // Connect's unary form: the body is the message
	text     bool // gRPC-Web's text form: the body is base64
	json     bool // messages are in JSON
}

// formOf takes a content type apart. Whether there is a codec for it is
// connect-go's to say.
func formOf(contentType string) (form, bool) {
	mime, _, _ := strings.Cut(contentType, ";")
	mime = strings.ToLower(strings.TrimSpace(mime))
	kind, subtype, _ := strings.Cut(mime, "+")
	f := form{json: subtype == connect.CodecNameJSON}
	switch kind {
	case "application/proto", "application/json":
		f.protocol, f.unary, f.json = connect.ProtocolNameConnect, true, kind == "application/json"
	case "application/connect":
		f.protocol = connect.ProtocolNameConnect
	case "application/grpc-web":
		f.protocol = connect.ProtocolNameGRPCWeb
	case "application/grpc-web-text":
		f.protocol, f.text = connect.ProtocolNameGRPCWeb, true
	case "application/grpc":
		f.protocol = connect.ProtocolNameGRPC
	default:
		return form{}, false
	}
	return f, true
}

// requestedHeaders is what a preflight asks leave to send: any metadata may be
// sent, as in a session.
func requestedHeaders(r *http.Request) string {
	const most = 4 << 10
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && len(asked) <= most {
		return asked
	}
	return "Content-Type"
}
