package longpoll

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/transport"
)

// Bundles serves `POST {prefix}/v1/{group}/bundle`: one request that carries
// exchanges of several sessions, for the tabs of one browser. See
// docs/PROTOCOL.md, "Carriage". It takes the group from the path value "group"
// of the pattern that it is mounted with; otherwise it is used as Handler is.
type Bundles struct {
	handler *Handler

	mu     sync.Mutex
	parked map[string]*bundle // the latest of each group
}

// The bytes of a bundle.
const (
	bundleMagic   = "\xb1\xd7\x01\x00"
	bundleHead    = len(bundleMagic) + 4          // magic, hold in milliseconds
	sessionSize   = 16                            // of an ID
	passengerHead = sessionSize + 1 + 4           // ID, flags, length
	maxPassengers = 256                           // of one bundle
	bundleSlack   = maxPassengers * passengerHead // beyond MaxBatch
	patient       = 1                             // flag: comes again if it is not answered
)

// bundle is one request with exchanges of several sessions.
type bundle struct {
	hold       time.Duration // 0: only the exchanges' own
	passengers []passenger
	// What ends their waiting: those that are patient go without an answer,
	// the others get one now.
	dismiss, hurry context.CancelCauseFunc
}

// passenger is one exchange in a bundle.
type passenger struct {
	session string // as in a path
	patient bool
	batch   []byte
	link    transport.Link
	answer  []byte // nil: none yet
}

// NewBundles returns the handler of bundles. It panics without an Acceptor.
func NewBundles(cfg Config) *Bundles {
	return &Bundles{handler: New(cfg), parked: make(map[string]*bundle)}
}

// ServeHTTP serves one bundle. It returns as soon as one of its exchanges is
// answered, a later bundle of its group has come, or its client is gone.
func (h *Bundles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.handler.serve(w, r, h.exchange)
}

func (h *Bundles) exchange(w http.ResponseWriter, r *http.Request, form form) {
	body, err := h.handler.body(w, r, form, h.handler.cfg.MaxBatch+bundleSlack)
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); err != nil && !tooLong {
		panic(http.ErrAbortHandler) // as an exchange of its own
	}
	b := parseBundle(body)
	if b == nil {
		httpwrite.Text(w, http.StatusBadRequest, "not a bundle, or over the limit")
		return
	}
	h.ride(r, b)
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", form.contentType)
	h.handler.answer(w, form.encode(b.encode()))
}

// ride runs the passengers' links until the first has an answer.
func (h *Bundles) ride(r *http.Request, b *bundle) {
	patience, dismiss := context.WithCancelCause(r.Context())
	haste, hurry := context.WithCancelCause(r.Context())
	b.dismiss, b.hurry = dismiss, hurry
	defer b.release()
	if b.hold > 0 {
		defer time.AfterFunc(b.hold, b.release).Stop()
	}
	address := h.handler.cfg.Access.ClientAddr(r)
	for i := range b.passengers {
		p := &b.passengers[i]
		p.link = h.handler.cfg.Acceptor.Accept(r.Context(), transport.Hello{
			Kind: transport.Longpoll, Session: p.session, Batch: p.batch,
			Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header, TLS: r.TLS, RemoteAddr: address,
		})
	}
	defer b.close()
	group := r.PathValue("group")
	h.park(group, b)
	defer h.leave(group, b)
	var riding sync.WaitGroup
	for i := range b.passengers {
		p := &b.passengers[i]
		ctx := haste
		if p.patient {
			ctx = patience
		}
		riding.Go(func() {
			answer, err := p.link.Next(ctx, nil, h.handler.cfg.MaxBatch)
			if err == nil {
				p.answer = answer
				b.release()
			}
		})
	}
	riding.Wait()
}

// release ends the waiting of all passengers.
func (b *bundle) release() {
	b.dismiss(nil)
	b.hurry(transport.ErrAnswerNow)
}

func (b *bundle) close() {
	for i := range b.passengers {
		b.passengers[i].link.Close()
	}
}

// park notes a group's latest bundle, and releases the one before. The links of
// the new one are open by now, so that what both carry has one throughout.
func (h *Bundles) park(group string, b *bundle) {
	h.mu.Lock()
	before := h.parked[group]
	h.parked[group] = b
	h.mu.Unlock()
	if before != nil {
		before.release()
	}
}

func (h *Bundles) leave(group string, b *bundle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.parked[group] == b {
		delete(h.parked, group)
	}
}

// parseBundle returns the bundle in a request's body, nil if it is none.
func parseBundle(body []byte) *bundle {
	if len(body) < bundleHead || string(body[:len(bundleMagic)]) != bundleMagic {
		return nil
	}
	hold := binary.BigEndian.Uint32(body[len(bundleMagic):])
	b := &bundle{hold: time.Duration(hold) * time.Millisecond}
	for rest := body[bundleHead:]; len(rest) > 0; {
		if len(rest) < passengerHead || len(b.passengers) == maxPassengers {
			return nil
		}
		head := rest[:passengerHead]
		length := uint64(binary.BigEndian.Uint32(head[sessionSize+1:]))
		rest = rest[passengerHead:]
		if length > uint64(len(rest)) {
			return nil
		}
		b.passengers = append(b.passengers, passenger{
			session: base64.RawURLEncoding.EncodeToString(head[:sessionSize]),
			patient: head[sessionSize]&patient != 0,
			batch:   bytes.Clone(rest[:length]), // alone: the engine keeps what points into it
		})
		rest = rest[length:]
	}
	return b
}

// encode gives the response's body: each answer after its passenger's place in
// the request and its length.
func (b *bundle) encode() []byte {
	out := []byte(bundleMagic)
	for i := range b.passengers {
		answer := b.passengers[i].answer
		if answer == nil {
			continue
		}
		out = binary.BigEndian.AppendUint16(out, uint16(i))
		out = binary.BigEndian.AppendUint32(out, uint32(len(answer)))
		out = append(out, answer...)
	}
	return out
}
