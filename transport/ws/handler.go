// Package ws carries sessions over WebSockets: one batch in each binary
// message, both ways. See docs/PROTOCOL.md, "Carriage".
package ws

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/access"
)

// Subprotocol must be among those that the client offers.
const Subprotocol = "pollbridge.v1"

// Config configures a Handler. Zero values stand for the defaults.
type Config struct {
	// Acceptor opens and resumes the sessions. Required.
	Acceptor transport.Acceptor
	// Access decides who may use the handler. Default: access.Config{}.
	Access *access.Policy
	// MaxBatch is the longest batch that is taken, in bytes, envelope
	// included. A longer first one gets the refusal `too_large`; any longer
	// one closes the WebSocket. Default: 1 MiB.
	MaxBatch int
	// FirstBatchTimeout bounds how long the first batch may take to arrive.
	// Default: 10 s.
	FirstBatchTimeout time.Duration
	// WriteTimeout bounds how long one message may take to leave. A peer that
	// does not read it in that time has lost this link. Default: 60 s.
	WriteTimeout time.Duration
}

// Handler serves `GET {prefix}/v1/{sid}/ws`. It takes the session's ID from the
// path value "sid" of the pattern that it is mounted with; that pattern should
// have no method, so that the handler can answer wrong ones.
//
// ServeHTTP returns once the first batch is accepted, so that net/http's part
// of the memory is free; a goroutine goes on that reads, and while the link does
// not rest one that writes. They end with the link. http.Server.Shutdown does
// not know them: end the sessions, then call Close.
type Handler struct {
	cfg Config

	mu      sync.Mutex
	closed  bool
	sockets sync.WaitGroup
}

// New returns a Handler. It panics without an Acceptor.
func New(cfg Config) *Handler {
	if cfg.Acceptor == nil {
		panic("ws: Config.Acceptor is required")
	}
	if cfg.Access == nil {
		cfg.Access, _ = access.New(access.Config{}) // nothing in it that could be wrong
	}
	if cfg.MaxBatch == 0 {
		cfg.MaxBatch = 1 << 20
	}
	if cfg.FirstBatchTimeout == 0 {
		cfg.FirstBatchTimeout = 10 * time.Second
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = 60 * time.Second
	}
	return &Handler{cfg: cfg}
}

// Close refuses further WebSockets and waits until the present ones are closed,
// which the ends of their sessions bring about: each has said its last words
// then, or its peer did not take them within 5 s.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.sockets.Wait()
}

// add counts one more socket with a link, unless the handler is closed.
func (h *Handler) add() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.sockets.Add(1)
	return true
}

// ServeHTTP opens one WebSocket.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.cfg.Access.Admit(w, r, false) {
		return
	}
	if r.Method != http.MethodGet {
		access.NotAllowed(w, r, http.MethodGet)
		return
	}
	if !offers(r, Subprotocol) {
		httpwrite.Text(w, http.StatusBadRequest, fmt.Sprintf("want the WebSocket subprotocol %s, got %.256q",
			Subprotocol, r.Header.Values("Sec-WebSocket-Protocol")))
		return
	}
	s, link := h.open(w, r)
	if link == nil {
		return
	}
	if !h.add() {
		link.Close()
		_ = s.CloseNow()
		return
	}
	go s.run(h.sockets.Done)
}

// open makes a socket of the request and opens its link. Without a link the
// request is answered and the socket closed.
func (h *Handler) open(w http.ResponseWriter, r *http.Request) (*socket, transport.Link) {
	s, err := upgrade(w, r, h.cfg)
	if err != nil {
		return nil, nil
	}
	link := s.open(r.Context(), h.cfg, transport.Hello{
		Kind:       transport.WS,
		Session:    r.PathValue("sid"),
		Request:    r,
		RemoteAddr: h.cfg.Access.ClientAddr(r),
	})
	if link == nil {
		_ = s.CloseNow()
	}
	return s, link
}

func offers(r *http.Request, subprotocol string) bool {
	offered := strings.Split(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",")
	return slices.ContainsFunc(offered, func(s string) bool { return strings.TrimSpace(s) == subprotocol })
}
