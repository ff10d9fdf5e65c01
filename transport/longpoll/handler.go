// Package longpoll carries sessions over plain HTTP/1.1 (or 2): each exchange
// is one POST whose body is one batch, answered by one batch. See
// docs/PROTOCOL.md, "Carriage".
//
// Nothing is ever chunked, streamed or upgraded, so every network that lets an
// HTTP request through lets an exchange through.
package longpoll

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/internal/park"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/access"
)

// Config configures a Handler. Zero values stand for the defaults.
type Config struct {
	// Access decides who may use the handler. Default: access.Config{}.
	Access *access.Policy
	// MaxBatch is the longest batch, in bytes, envelope included, each way. A
	// longer request gets the refusal `too_large`. Default: 2 MiB.
	MaxBatch int
	// UploadTimeout bounds how long a request's body may take to arrive.
	// Default: 30 s.
	UploadTimeout time.Duration
	// WriteTimeout bounds how long the peer may take to read each 64 KiB of an
	// answer, from when there is one; waiting for it does not count. Default:
	// 60 s.
	WriteTimeout time.Duration
}

func (cfg Config) withDefaults() Config {
	if cfg.Access == nil {
		cfg.Access, _ = access.New(access.Config{}) // nothing in it that could be wrong
	}
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 2<<20)
	cfg.UploadTimeout = cmp.Or(cfg.UploadTimeout, 30*time.Second)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, 60*time.Second)
	return cfg
}

// Handler serves `POST {prefix}/v1/{sid}/poll`. It takes the session's ID from
// the path value "sid" of the pattern that it is mounted with; that pattern
// should have no method, so that the handler can answer preflights (204) and
// wrong methods (405) with the headers that a page needs to read them.
//
// The server's WriteTimeout must be 0, or longer than the longest hold. A request
// whose context ends by transport.ErrAnswerNow is answered at once, and its
// session lives on.
type Handler struct {
	acceptor transport.Acceptor
	cfg      Config
}

const methods = "OPTIONS, POST"

// New returns a Handler for the sessions of an Acceptor, as a bridge.Server is.
func New(acceptor transport.Acceptor, cfg Config) *Handler {
	return &Handler{acceptor, cfg.withDefaults()}
}

// ServeHTTP serves one exchange. It returns when the exchange is answered, its
// client is gone, or its connection is parked.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve(w, r, h.exchange) }

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, post func(http.ResponseWriter, *http.Request, form)) {
	form := formOf(r)
	if !h.cfg.Access.Admit(w, r, form.safelisted && r.Method == http.MethodPost) {
		return
	}
	switch r.Method {
	case http.MethodPost:
		post(w, r, form)
	case http.MethodOptions:
		h.cfg.Access.Preflight(w, r, methods)
	default:
		access.NotAllowed(w, r, methods)
	}
}

func (h *Handler) exchange(w http.ResponseWriter, r *http.Request, form form) {
	hello := transport.NewHello(transport.Longpoll, r, h.cfg.Access.ClientAddr(r))
	hello.Session = r.PathValue("sid")
	if err := h.receive(w, r, form, &hello); err != nil {
		panic(http.ErrAbortHandler) // cut off or too slow: no answer can mean anything
	}
	conn := park.Of(r)
	if conn != nil {
		hello.Wake = conn.Wake
	}
	e := &exchange{link: h.acceptor.Accept(r.Context(), hello), form: form, maxBatch: h.cfg.MaxBatch}
	w.Header().Set("Content-Type", form.contentType)
	body, err := e.run(r.Context(), conn, func() bool { return conn.Park(w, e, h.cfg.WriteTimeout) })
	if errors.Is(err, errParked) {
		return
	}
	if errors.Is(err, transport.ErrUnavailable) {
		unavailable(w)
		return
	}
	if err != nil || isGone(r.Context()) {
		// Nobody is left to be answered. Should someone be, an empty 200 would
		// mislead, and each further request on this connection would get one.
		panic(http.ErrAbortHandler)
	}
	h.answer(w, *body)
	if cap(*body) <= keptBody {
		bodies.Put(body)
	}
}

// unavailable answers what comes from the network mostly: the client tries again.
func unavailable(w http.ResponseWriter) {
	httpwrite.Text(w, http.StatusServiceUnavailable, "the session's bridge cannot be reached now")
}

// isGone reports whether a request's client is gone.
func isGone(ctx context.Context) bool {
	return ctx.Err() != nil && !errors.Is(context.Cause(ctx), transport.ErrAnswerNow)
}

// receive reads the request's body into the hello.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request, form form, hello *transport.Hello) error {
	body, err := h.body(w, r, form, h.cfg.MaxBatch)
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		hello.TooLarge = h.cfg.MaxBatch
		return nil
	}
	hello.Batch = body
	return err
}

// body reads and decodes the request's body; the batch is nil if it is not
// base64. The error of one over the limit is an *http.MaxBytesError.
func (h *Handler) body(w http.ResponseWriter, r *http.Request, form form, limit int) ([]byte, error) {
	control := http.NewResponseController(w)
	if err := ignoreUnsupported(control.SetReadDeadline(time.Now().Add(h.cfg.UploadTimeout))); err != nil {
		return nil, err
	}
	body, err := readBody(http.MaxBytesReader(w, r.Body, int64(form.encodedLen(limit))), r.ContentLength)
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); err != nil && !tooLong {
		return nil, err
	}
	// A deadline left behind would end the request's context during the hold.
	if failed := ignoreUnsupported(control.SetReadDeadline(time.Time{})); failed != nil {
		return nil, failed
	}
	if body = form.decode(body); len(body) > limit {
		return nil, &http.MaxBytesError{Limit: int64(limit)}
	}
	return body, err
}

// answer writes the response.
func (h *Handler) answer(w http.ResponseWriter, body []byte) {
	if httpwrite.Body(w, http.StatusOK, body, h.cfg.WriteTimeout) != nil {
		panic(http.ErrAbortHandler)
	}
}

// ignoreUnsupported lets the handler run under response writers without
// deadlines, as recorders in tests and some middleware's are.
func ignoreUnsupported(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
