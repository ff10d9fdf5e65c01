package answer

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

const (
	subprotocol = "pollbridge.v1" // that of sessions, because networks may look at it
	socketLife  = 3 * time.Minute
	maxMessage  = 128 << 10
)

// socket echoes the messages of a WebSocket. It sends nothing by itself, so that a
// check can find out how long a silence may last.
func (h *Handler) socket(w http.ResponseWriter, r *http.Request) {
	if !h.admit(w, r, http.MethodGet) {
		return
	}
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	run, err := h.runs.find(r.URL.Query().Get("run"), h.cfg.Access.ClientAddr(r))
	if err == nil {
		err = run.enter(n, 0)
	}
	if err != nil {
		h.fail(w, err)
		return
	}
	defer run.leave(n, false)
	upgrade := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	run.socket(n, upgrade)
	if !upgrade {
		httpwrite.Text(w, http.StatusUpgradeRequired, "want a WebSocket handshake; the Upgrade header is missing")
		return
	}
	if !h.add() {
		return
	}
	defer h.sockets.Done()
	if httpwrite.Begin(w, httpwrite.Timeout) != nil {
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // access.Policy has checked the Origin
	})
	if err != nil {
		_ = httpwrite.End(w) // it has been answered
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxMessage)
	ctx, cancel := context.WithTimeout(h.ctx, socketLife) // the request's context ends with the hijack
	defer cancel()
	for echoOne(ctx, conn, run) == nil { //nolint:contextcheck // see above
	}
}

// add counts a WebSocket. It reports false if the handler is closed.
func (h *Handler) add() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil {
		return false
	}
	h.sockets.Add(1)
	return true
}

func echoOne(ctx context.Context, conn *websocket.Conn, run *run) error {
	kind, message, err := conn.Read(ctx)
	if err != nil {
		return err
	}
	if err := run.spend(2 * len(message)); err != nil {
		return conn.Close(websocket.StatusPolicyViolation, err.Error())
	}
	return conn.Write(ctx, kind, message)
}
