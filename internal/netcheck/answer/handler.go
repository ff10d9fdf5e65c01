// Package answer is the bridge's side of the network check: it echoes, holds and
// streams, and reports what requests looked like. Its work is bounded for each
// run, for each client and in total, so that it cannot be used to flood others.
package answer

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/internal/netcheck"
	"github.com/pollbridge/pollbridge/transport/access"
)

const (
	maxLine       = 4 << 10 // of an Ask
	uploadTimeout = 2 * time.Minute
	dripEvery     = 500 * time.Millisecond
)

// Config configures a Handler. Both fields are required.
type Config struct {
	Access  *access.Policy
	Release string // the bridge's name and version
}

// Handler serves the routes under {prefix}/v1/check/.
type Handler struct {
	cfg  Config
	runs runs

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	mu      sync.Mutex // orders Close and new WebSockets
	sockets sync.WaitGroup
}

// New returns a Handler.
func New(cfg Config) *Handler {
	h := &Handler{cfg: cfg, runs: runs{byID: make(map[string]*run)}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Mount serves the routes under path, which ends in a slash.
func (h *Handler) Mount(mux *http.ServeMux, path string) {
	mux.HandleFunc(path+"echo", h.echo)
	mux.HandleFunc(path+"nonce", h.nonce)
	mux.HandleFunc(path+"ws", h.socket)
}

// Close ends held requests and every WebSocket, and waits for the WebSockets.
func (h *Handler) Close() {
	h.mu.Lock()
	h.cancel()
	h.mu.Unlock()
	h.sockets.Wait()
}

// exposed are the headers that pages of other origins may read, to see which of
// them are stripped.
const exposed = access.Marker + ", Cache-Control, Content-Encoding, X-Content-Type-Options"

func (h *Handler) admit(w http.ResponseWriter, r *http.Request, method string) bool {
	if !h.cfg.Access.Admit(w, r, false) {
		return false
	}
	w.Header().Set("Access-Control-Expose-Headers", exposed)
	w.Header().Set("Timing-Allow-Origin", "*") // lets a page see the version of HTTP
	switch r.Method {
	case method:
		return true
	case http.MethodOptions:
		h.cfg.Access.Preflight(w, r, "OPTIONS, "+method)
	default:
		access.NotAllowed(w, r, "OPTIONS, "+method)
	}
	return false
}

func (h *Handler) nonce(w http.ResponseWriter, r *http.Request) {
	if h.admit(w, r, http.MethodGet) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_ = httpwrite.Body(w, http.StatusOK, []byte(rand.Text()), httpwrite.Timeout) // the client may be gone
	}
}

func (h *Handler) echo(w http.ResponseWriter, r *http.Request) {
	if !h.admit(w, r, http.MethodPost) {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(uploadTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, netcheck.MaxPayload+maxLine))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		h.fail(w, fmt.Errorf("request body: too large, over %d bytes", netcheck.MaxPayload+maxLine))
		return
	}
	if err != nil {
		panic(http.ErrAbortHandler) // cut off or too slow: nobody is there
	}
	line, payload, _ := bytes.Cut(body, []byte{'\n'})
	var ask netcheck.Ask
	if err := json.Unmarshal(line, &ask); err != nil {
		h.fail(w, fmt.Errorf("first line of the request: %w", err))
		return
	}
	if err := valid(ask); err != nil {
		h.fail(w, err)
		return
	}
	run, err := h.runs.find(ask.Run, h.cfg.Access.ClientAddr(r))
	if err == nil {
		err = run.enter(ask.N, len(payload)+ask.Down)
	}
	if err != nil {
		h.fail(w, err)
		return
	}
	defer func() { run.leave(ask.N, r.Context().Err() != nil) }()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)() //nolint:contextcheck // the handler is closed
	if ask.Stream != "" {
		h.stream(ctx, w, ask)
		return
	}
	if !sleep(ctx, ask.HoldMillis) {
		panic(http.ErrAbortHandler) // nobody is there
	}
	answer := netcheck.Answer{Run: ask.Run, N: ask.N, Up: len(payload), Sum: crc32.Checksum(payload, castagnoli)}
	if ask.Seen {
		answer.Seen = h.seen(r)
	}
	if ask.Record {
		answer.Record = run.report()
	}
	h.reply(w, r, ask, answer)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func valid(ask netcheck.Ask) error {
	switch {
	case ask.N < 1:
		return fmt.Errorf("n: got %d, want 1 or more", ask.N)
	case ask.HoldMillis < 0 || ask.HoldMillis > netcheck.MaxHold:
		return fmt.Errorf("hold_ms: got %d, want 0 to %d", ask.HoldMillis, netcheck.MaxHold)
	case ask.Down < 0 || ask.Down > netcheck.MaxPayload:
		return fmt.Errorf("down: got %d, want 0 to %d", ask.Down, netcheck.MaxPayload)
	case ask.Status != 0 && (ask.Status < 400 || ask.Status > 599):
		return fmt.Errorf("status: got %d, want 400 to 599", ask.Status)
	case !slices.Contains([]string{"", netcheck.StreamFrames, netcheck.StreamPadded, netcheck.StreamDrip}, ask.Stream):
		return fmt.Errorf("stream: unknown form %.64q", ask.Stream)
	}
	return nil
}

// fail refuses a request, with status 400 or 503.
func (h *Handler) fail(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if errors.Is(err, errBusy) || errors.Is(err, errSpent) {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	body, _ := json.Marshal(netcheck.Answer{Error: err.Error()})         // cannot fail
	_ = httpwrite.Body(w, status, append(body, '\n'), httpwrite.Timeout) // the client may be gone
}

// reply writes an answer and the requested payload.
func (h *Handler) reply(w http.ResponseWriter, r *http.Request, ask netcheck.Ask, answer netcheck.Answer) {
	body, err := json.Marshal(answer)
	if err != nil {
		h.fail(w, err)
		return
	}
	body = append(body, '\n')
	body = append(body, filling(ask.Down)...)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind != "text/plain" {
		kind = "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	_ = httpwrite.Body(w, max(ask.Status, http.StatusOK), body, httpwrite.Timeout) // the client may be gone
}

// filling returns an incompressible payload: n bytes of a fixed keystream.
func filling(n int) []byte {
	data := make([]byte, n)
	state := uint32(0x9E3779B9)
	for i := range data {
		state ^= state << 13
		state ^= state >> 17
		state ^= state << 5
		data[i] = byte(state)
	}
	return data
}

// stream writes an answer in pieces, without a length.
func (h *Handler) stream(ctx context.Context, w http.ResponseWriter, ask netcheck.Ask) {
	w.Header().Set("Content-Type", "application/octet-stream")
	send := func(piece []byte) bool {
		if httpwrite.Begin(w, httpwrite.Timeout) != nil {
			return false
		}
		_, err := w.Write(piece)
		return errors.Join(err, httpwrite.End(w), ctx.Err()) == nil
	}
	if ask.Stream == netcheck.StreamDrip {
		left := time.Duration(ask.HoldMillis) * time.Millisecond
		for send([]byte{'.'}) && left > 0 {
			step := min(left, dripEvery)
			left -= step
			if !sleep(ctx, int(step.Milliseconds())) {
				return
			}
		}
		return
	}
	for i, letter := range []byte("ABC") {
		if i > 0 && !sleep(ctx, netcheck.FrameGap) {
			return
		}
		piece := fmt.Appendf(nil, "%c%s\n", letter, ask.Run[:netcheck.FrameSize-2])
		if i == 0 && ask.Stream == netcheck.StreamPadded {
			piece = append(piece, filling(netcheck.PadSize)...)
		}
		if !send(piece) {
			return
		}
	}
}

// seen returns what a request looked like, without the values of headers that may
// be secret.
func (h *Handler) seen(r *http.Request) *netcheck.Seen {
	s := &netcheck.Seen{
		Release: h.cfg.Release, Proto: r.Proto, Headers: []string{},
		ContentType: short(r.Header.Get("Content-Type")), Via: short(strings.Join(r.Header.Values("Via"), ", ")),
	}
	for name := range r.Header {
		s.Headers = append(s.Headers, strings.ToLower(short(name)))
	}
	slices.Sort(s.Headers)
	s.Headers = s.Headers[:min(len(s.Headers), 64)]
	if chain := r.Header.Values("X-Forwarded-For"); len(chain) > 0 {
		s.Forwarded = strings.Count(strings.Join(chain, ","), ",") + 1
	}
	if r.TLS != nil {
		s.TLS, s.Binding = tls.VersionName(r.TLS.Version), netcheck.Binding(r.TLS)
	}
	return s
}

func short(text string) string { return text[:min(len(text), 128)] }

// sleep waits. It reports whether it did so to the end: false if ctx ended before.
func sleep(ctx context.Context, millis int) bool {
	if millis == 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(time.Duration(millis) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
