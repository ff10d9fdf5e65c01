// Package ws carries sessions over WebSockets: one batch in each binary
// message, both ways. See docs/PROTOCOL.md, "Carriage".
package ws

import (
	"cmp"
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
	// Access decides who may use the handler. Default: access.Config{}.
	Access *access.Policy
	// MaxBatch is the longest batch that is taken or written, in bytes, envelope
	// included. A longer first one gets the refusal `too_large`; any longer
	// one closes the WebSocket. Default: 2 MiB.
	MaxBatch int
	// FirstBatchTimeout bounds how long the first batch may take to arrive.
	// Default: 10 s.
	FirstBatchTimeout time.Duration
	// WriteTimeout bounds how long one message may take to leave. A peer that
	// does not read it in that time has lost this link. Default: 60 s.
	WriteTimeout time.Duration
}

func (cfg Config) withDefaults() Config {
	if cfg.Access == nil {
		cfg.Access, _ = access.New(access.Config{}) // nothing in it that could be wrong
	}
	cfg.MaxBatch = cmp.Or(cfg.MaxBatch, 2<<20)
	cfg.FirstBatchTimeout = cmp.Or(cfg.FirstBatchTimeout, 10*time.Second)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, 60*time.Second)
	return cfg
}

// Handler serves `GET {prefix}/v1/{sid}/ws`. It takes the session's ID from the
// path value "sid" of the pattern that it is mounted with; that pattern should
// have no method, so that the handler can answer wrong ones.
//
// ServeHTTP returns once the first batch is accepted, so that net/http's part
// of the memory is free; a goroutine goes on that reads, and one that writes. While
// the link is idle there is no writer, and where connections are parked no reader.
// They end with the link. http.Server.Shutdown does not know them: call Close.
type Handler struct {
	acceptor transport.Acceptor
	cfg      Config

	running sync.WaitGroup // sockets

	mu      sync.Mutex
	closed  bool
	sockets map[*socket]struct{}
}

// New returns a Handler for the sessions of an Acceptor, as a bridge.Server is.
func New(acceptor transport.Acceptor, cfg Config) *Handler {
	return &Handler{acceptor: acceptor, cfg: cfg.withDefaults(), sockets: make(map[*socket]struct{})}
}

// Close refuses further WebSockets, closes the open ones and waits until they are
// closed. Each sends what is ready, one batch, and then CloseGoingAway, or
// CloseSession if its session is over. The other sessions live on. Peers have 10 s
// for it.
func (h *Handler) Close() {
	h.mu.Lock()
	h.closed = true
	for s := range h.sockets {
		s.goAway()
	}
	h.mu.Unlock()
	h.running.Wait()
}

// writeMax is how long a batch may be that is written.
func (h *Handler) writeMax() int { return min(writeMax, h.cfg.MaxBatch) }

// start starts a socket with a link, unless the handler is closed.
func (h *Handler) start(s *socket) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.sockets[s] = struct{}{}
	h.running.Add(1) // until the socket is over
	s.startWriter()
	h.read(s)
	return true
}

// read starts the goroutine that reads from a socket.
func (h *Handler) read(s *socket) {
	h.running.Go(func() {
		if s.run() {
			h.over(s)
		}
	})
}

// over forgets a socket that is closed.
func (h *Handler) over(s *socket) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sockets, s)
	h.running.Done()
}

// ServeHTTP opens one WebSocket.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.cfg.Access.Admit(w, asHandshake(r), false) {
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
	s, err := h.upgrade(w, r)
	if err != nil {
		return // it has answered
	}
	hello := transport.NewHello(transport.WS, r, h.cfg.Access.ClientAddr(r))
	hello.Session = r.PathValue("sid")
	if !s.open(r.Context(), h.acceptor, h.cfg.FirstBatchTimeout, hello) {
		_ = s.CloseNow()
		return
	}
	if !h.start(s) {
		s.link.Close()
		s.close(CloseGoingAway, goingAway)
	}
}

// asHandshake returns a request with what a handshake has for its origin's proof. A
// page that asks by another method why its handshake is refused sends
// Sec-Fetch-Site besides, which handshakes lack.
func asHandshake(r *http.Request) *http.Request {
	if r.Method == http.MethodGet || r.Method == http.MethodOptions {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Del("Sec-Fetch-Site")
	return r
}

func offers(r *http.Request, subprotocol string) bool {
	offered := strings.Split(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",")
	return slices.ContainsFunc(offered, func(s string) bool { return strings.TrimSpace(s) == subprotocol })
}
