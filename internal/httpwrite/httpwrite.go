// Package httpwrite writes HTTP answers that a client which does not read them
// holds up for a limited time only.
package httpwrite

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Timeout is how long a piece of an answer may take to leave.
const Timeout = time.Minute

// pieceSize is the most that has to leave within one Timeout.
const pieceSize = 64 << 10

// Begin bounds what is written from now on.
func Begin(w http.ResponseWriter, timeout time.Duration) error {
	return ignoreUnsupported(http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout)))
}

// End has all leave that was written, within the bound that Begin set, and takes
// that back: the HTTP connection may have other requests.
func End(w http.ResponseWriter) error {
	control := http.NewResponseController(w)
	return errors.Join(ignoreUnsupported(control.Flush()), ignoreUnsupported(control.SetWriteDeadline(time.Time{})))
}

// Body writes a whole answer. Each 64 KiB of it may take as long as timeout.
// After an error the answer is of no use: the handler is to abort.
func Body(w http.ResponseWriter, status int, body []byte, timeout time.Duration) error {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	err := Begin(w, timeout)
	w.WriteHeader(status)
	for len(body) > 0 && err == nil {
		piece := body[:min(len(body), pieceSize)]
		body = body[len(piece):]
		if _, err = w.Write(piece); err == nil && len(body) > 0 {
			err = Begin(w, timeout)
		}
	}
	return errors.Join(err, End(w))
}

// Text writes a whole answer of plain text, as http.Error does.
func Text(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	_ = Body(w, status, []byte(text+"\n"), Timeout) // who asked may be gone
}

// Handler is h with answers of which each piece that is written may take as long
// as Timeout. It is for handlers that neither hijack nor wait.
func Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = Begin(w, Timeout) // an error comes again when something is written
		h.ServeHTTP(writer{w}, r)
		_ = End(w)
	})
}

// writer renews the bound for each piece.
type writer struct{ http.ResponseWriter }

// Unwrap is for http.ResponseController.
func (w writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements http.ResponseWriter.
func (w writer) Write(p []byte) (n int, err error) {
	for {
		if err := Begin(w.ResponseWriter, Timeout); err != nil {
			return n, err
		}
		piece := p[:min(len(p), pieceSize)]
		p = p[len(piece):]
		written, err := w.ResponseWriter.Write(piece)
		n += written
		if err != nil || len(p) == 0 {
			return n, err
		}
	}
}

// WriteString implements io.StringWriter.
func (w writer) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

var _ io.StringWriter = writer{}

// ignoreUnsupported lets handlers run under response writers without deadlines,
// as recorders in tests and some middleware's are.
func ignoreUnsupported(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
