package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/internal/ratelog"
)

// Config configures a handler.
type Config struct {
	Source Source
	// Token is what requests must have as a bearer token. Empty: whoever reaches
	// the listener may look, and nobody may act.
	Token string
	// Drain begins the drain, and does not wait. Nil: that cannot be asked for.
	Drain func()
	// Done is closed when the bridge is over: then streams end.
	Done   <-chan struct{}
	Logger *slog.Logger
}

// maxStreams is how many requests get events at a time.
const maxStreams = 32

// Handler serves the API under /api/v1.
type Handler struct {
	cfg     Config
	mux     *http.ServeMux
	cross   *http.CrossOriginProtection
	streams chan struct{}
	refused *ratelog.Line
}

// New returns a Handler.
func New(cfg Config) *Handler {
	h := &Handler{
		cfg: cfg, mux: http.NewServeMux(), cross: http.NewCrossOriginProtection(), streams: make(chan struct{}, maxStreams),
		refused: ratelog.New(cfg.Logger, slog.LevelWarn, "admin request refused"),
	}
	h.mux.HandleFunc("GET /api/v1/overview", h.overview)
	h.mux.HandleFunc("GET /api/v1/sessions", h.sessions)
	h.mux.HandleFunc("GET /api/v1/sessions/{id}", h.session)
	h.mux.HandleFunc("DELETE /api/v1/sessions/{id}", h.action("disconnect", h.disconnect))
	h.mux.HandleFunc("POST /api/v1/drain", h.action("drain", h.drain))
	return h
}

// ServeHTTP serves what the token allows.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.Guard(h.mux).ServeHTTP(w, r) }

func (h *Handler) overview(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, func() (any, *problem) {
		o := h.cfg.Source.Overview()
		o.Actions = h.actions()
		return o, nil
	})
}

// actions are what requests may ask for.
func (h *Handler) actions() []string {
	switch {
	case h.cfg.Token == "":
		return []string{}
	case h.cfg.Drain == nil:
		return []string{"disconnect"}
	}
	return []string{"disconnect", "drain"}
}

func (h *Handler) sessions(w http.ResponseWriter, r *http.Request) {
	query, err := parseQuery(r.URL.Query())
	if err != nil {
		fail(w, &problem{http.StatusBadRequest, err.Error(), nil})
		return
	}
	h.serve(w, r, func() (any, *problem) { return h.cfg.Source.Sessions(query), nil })
}

func (h *Handler) session(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	h.serve(w, r, func() (any, *problem) {
		details, ended, ok := h.cfg.Source.Session(id)
		if ok {
			return details, nil
		}
		return nil, gone(id, ended)
	})
}

// gone tells of a session that there is not.
func gone(id string, ended *Ended) *problem {
	if ended == nil {
		return &problem{http.StatusNotFound, fmt.Sprintf("no session %.64q", id), nil}
	}
	return &problem{http.StatusGone, fmt.Sprintf("session %s is over: %s: %s", id, ended.Reason, ended.Message), ended}
}

// action has f done only if requests may ask for it, and notes that.
func (h *Handler) action(name string, f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(h.actions(), name) {
			remedy := "start the bridge with --admin-token-file"
			if h.cfg.Token != "" {
				remedy = "the program that embeds this bridge does not offer it"
			}
			fail(w, &problem{http.StatusForbidden, fmt.Sprintf("%s is not possible here: %s", name, remedy), nil})
			return
		}
		h.cfg.Logger.Info("admin request", "action", name, "session", r.PathValue("id"), "remote", r.RemoteAddr)
		f(w, r)
	}
}

func (h *Handler) disconnect(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if !h.cfg.Source.Disconnect(id) {
		_, ended, _ := h.cfg.Source.Session(id)
		fail(w, gone(id, ended))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Handler) drain(w http.ResponseWriter, _ *http.Request) {
	h.cfg.Drain()
	w.WriteHeader(http.StatusAccepted)
}

// problem is why there is no document. It is what clients get as JSON.
type problem struct {
	status int
	Text   string `json:"error"`
	Ended  *Ended `json:"ended,omitempty"`
}

func fail(w http.ResponseWriter, p *problem) { writeJSON(w, p.status, p) }

func writeJSON(w http.ResponseWriter, status int, document any) {
	text, err := json.Marshal(document)
	if err != nil { // no type of this package can cause it
		status, text = http.StatusInternalServerError, []byte(`{"error":"not written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = httpwrite.Body(w, status, append(text, '\n'), httpwrite.Timeout) // who asked may be gone
}

func parseQuery(v url.Values) (Query, error) {
	q := Query{Filter: v.Get("filter"), Transport: v.Get("transport"), Sort: cmp.Or(v.Get("sort"), Sorts[0])}
	if q.Transport != "" && !slices.Contains(Transports, q.Transport) {
		return q, fmt.Errorf("transport %.64q is wrong, want %s", q.Transport, strings.Join(Transports, ", "))
	}
	if !slices.Contains(Sorts, q.Sort) {
		return q, fmt.Errorf("sort %.64q is wrong, want %s", q.Sort, strings.Join(Sorts, ", "))
	}
	var err error
	if q.Limit, err = number(v, "limit", DefaultLimit, 1, MaxLimit); err != nil {
		return q, err
	}
	q.Offset, err = number(v, "offset", 0, 0, maxOffset)
	return q, err
}

func number(v url.Values, name string, without, least, most int) (int, error) {
	text := v.Get(name)
	if text == "" {
		return without, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s %.64q is wrong, want a number from %d to %d", name, text, least, most)
	}
	return n, nil
}
