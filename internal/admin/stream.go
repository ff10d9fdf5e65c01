package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

const (
	// interval is the time between two events.
	interval = time.Second
	// pauses is how many times as long as a document takes to make nothing is done:
	// whoever looks on takes a small part of one processor at most.
	pauses = 20
)

// serve answers with a document, or with an event of it each second.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, document func() (any, *problem)) {
	if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		doc, p := document()
		if p != nil {
			fail(w, p)
			return
		}
		writeJSON(w, http.StatusOK, doc)
		return
	}
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		fail(w, &problem{http.StatusServiceUnavailable, fmt.Sprintf("%d requests get events already, the limit", maxStreams), nil})
		return
	}
	h.stream(w, r, document)
}

// stream writes events until the client or the bridge is gone, or there is no
// document any more: that is the last event, "gone".
func (h *Handler) stream(w http.ResponseWriter, r *http.Request, document func() (any, *problem)) {
	began := time.Now()
	doc, p := document()
	if p != nil {
		fail(w, p)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no")
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		if send(w, "message", doc) != nil {
			return
		}
		pause.Reset(max(interval, pauses*time.Since(began)))
		select {
		case <-r.Context().Done():
			return
		case <-h.cfg.Done:
			return
		case <-pause.C:
		}
		began = time.Now()
		if doc, p = document(); p != nil {
			_ = send(w, "gone", p) // who asked may be gone
			return
		}
	}
}

func send(w http.ResponseWriter, event string, document any) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	if err := httpwrite.Begin(w, httpwrite.Timeout); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, text); err != nil {
		return err
	}
	return http.NewResponseController(w).Flush()
}
