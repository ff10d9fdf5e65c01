package longpoll

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/transport"
)

// maxGroup is the longest group, in bytes.
const maxGroup = 64

// BundleHandler serves `POST {prefix}/v1/{group}/bundle`: one request that carries
// exchanges of several sessions, for the tabs of one browser. See
// docs/PROTOCOL.md, "Carriage". It takes the group from the path value "group"
// of the pattern that it is mounted with; otherwise it is used as Handler is.
type BundleHandler struct {
	handler *Handler

	mu     sync.Mutex
	latest map[string]*bundle // of each group
}

// The bytes of a bundle.
const (
	bundleMagic = "\xb1\xd7\x01\x00"
	bundleHead  = len(bundleMagic) + 4 // magic, hold in milliseconds
	sessionSize = 16                   // of an ID
	itemHead    = sessionSize + 1 + 4  // ID, flags, length
	maxItems    = 256                  // of one bundle
	bundleSlack = maxItems * itemHead  // beyond MaxBatch
	retryable   = 1                    // flag: comes again if it is not answered
)

// bundle is one request with exchanges of several sessions.
type bundle struct {
	hold  time.Duration // 0: only the exchanges' own
	items []item
	// What ends the items' waiting: the retryable ones are dropped, without an
	// answer, and the others answered now.
	drop, answerNow context.CancelCauseFunc
}

// item is one exchange in a bundle.
type item struct {
	session   string // as in a path
	retryable bool
	batch     []byte
	link      transport.Link
	answer    []byte // nil: none yet
	err       error  // why there is none
}

// NewBundleHandler returns a BundleHandler for the sessions of an Acceptor, as a
// bridge.Server is.
func NewBundleHandler(acceptor transport.Acceptor, cfg Config) *BundleHandler {
	return &BundleHandler{handler: New(acceptor, cfg), latest: make(map[string]*bundle)}
}

// ServeHTTP serves one bundle. It returns as soon as one of its exchanges is
// answered, a later bundle of its group has come, or its client is gone.
func (h *BundleHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.handler.serve(w, r, h.exchange)
}

func (h *BundleHandler) exchange(w http.ResponseWriter, r *http.Request, form form) {
	body, err := h.handler.body(w, r, form, h.handler.cfg.MaxBatch+bundleSlack)
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); err != nil && !tooLong {
		panic(http.ErrAbortHandler) // as an exchange of its own
	}
	b := parseBundle(body)
	if b == nil || len(r.PathValue("group")) > maxGroup {
		httpwrite.Text(w, http.StatusBadRequest, "not a bundle, or over the limit")
		return
	}
	h.serve(r, b)
	if isGone(r.Context()) {
		panic(http.ErrAbortHandler)
	}
	if b.isUnavailable() {
		unavailable(w)
		return
	}
	w.Header().Set("Content-Type", form.contentType)
	h.handler.answer(w, form.encode(b.encode()))
}

// serve runs the items' links until the first has an answer.
func (h *BundleHandler) serve(r *http.Request, b *bundle) {
	dropped, drop := context.WithCancelCause(r.Context())
	answered, answerNow := context.WithCancelCause(r.Context())
	b.drop, b.answerNow = drop, answerNow
	defer b.release()
	if b.hold > 0 {
		defer time.AfterFunc(b.hold, b.release).Stop()
	}
	hello := transport.NewHello(transport.Longpoll, r, h.handler.cfg.Access.ClientAddr(r))
	group := r.PathValue("group")
	hello.Group = group
	for i := range b.items {
		hello.Session, hello.Batch = b.items[i].session, b.items[i].batch
		b.items[i].link = h.handler.acceptor.Accept(r.Context(), hello)
	}
	defer b.close()
	h.enter(group, b)
	defer h.leave(group, b)
	var serving sync.WaitGroup
	for i := range b.items {
		item := &b.items[i]
		ctx := answered
		if item.retryable {
			ctx = dropped
		}
		serving.Go(func() {
			answer, err := item.link.Next(ctx, h.handler.cfg.MaxBatch)
			item.answer, item.err = answer.AppendTo(nil), err
			if err == nil || errors.Is(err, transport.ErrReplaced) { // by a later bundle, perhaps at another bridge
				b.release()
			}
		})
	}
	serving.Wait()
}

// release ends the waiting of all items.
func (b *bundle) release() {
	b.drop(nil)
	b.answerNow(transport.ErrAnswerNow)
}

// isUnavailable reports whether there is no answer, and sessions are the reason that
// cannot be reached now. Beside an answer their exchanges just come again.
func (b *bundle) isUnavailable() bool {
	answered := slices.ContainsFunc(b.items, func(i item) bool { return i.err == nil })
	return !answered && slices.ContainsFunc(b.items, func(i item) bool { return errors.Is(i.err, transport.ErrUnavailable) })
}

func (b *bundle) close() {
	for i := range b.items {
		b.items[i].link.Close()
	}
}

// enter notes a group's latest bundle, and releases the one before. The links of
// the new one are open by now, so that a session in both has a link throughout.
func (h *BundleHandler) enter(group string, b *bundle) {
	h.mu.Lock()
	before := h.latest[group]
	h.latest[group] = b
	h.mu.Unlock()
	if before != nil {
		before.release()
	}
}

func (h *BundleHandler) leave(group string, b *bundle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.latest[group] == b {
		delete(h.latest, group)
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
		if len(rest) < itemHead || len(b.items) == maxItems {
			return nil
		}
		head := rest[:itemHead]
		length := uint64(binary.BigEndian.Uint32(head[sessionSize+1:]))
		rest = rest[itemHead:]
		if length > uint64(len(rest)) {
			return nil
		}
		b.items = append(b.items, item{
			session:   base64.RawURLEncoding.EncodeToString(head[:sessionSize]),
			retryable: head[sessionSize]&retryable != 0,
			batch:     bytes.Clone(rest[:length]), // alone: the engine keeps what points into it
		})
		rest = rest[length:]
	}
	return b
}

// encode returns the response's body: each answer after its item's place in the
// request and its length.
func (b *bundle) encode() []byte {
	out := []byte(bundleMagic)
	for i := range b.items {
		answer := b.items[i].answer
		if b.items[i].err != nil {
			continue
		}
		out = binary.BigEndian.AppendUint16(out, uint16(i))
		out = binary.BigEndian.AppendUint32(out, uint32(len(answer)))
		out = append(out, answer...)
	}
	return out
}
