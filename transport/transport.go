// Package transport is the contract between transports and the session
// engine. A transport carries opaque batches; the engine knows what is in
// them. See docs/ARCHITECTURE.md, "Pull, never push".
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// Kind names what carries a link.
type Kind uint8

// Kinds of links.
const (
	Longpoll Kind = iota + 1
	WS
)

// String returns the word used in configuration, logs and metrics.
func (k Kind) String() string {
	switch k {
	case Longpoll:
		return "longpoll"
	case WS:
		return "ws"
	}
	return "unknown"
}

// Lasting reports whether a link of this kind carries many batches each way;
// else it carries one.
func (k Kind) Lasting() bool { return k == WS }

// Hello is what a transport knows when a link begins. There is no connection in
// it, so that a link can come from another process.
type Hello struct {
	Kind Kind
	// Session is the {sid} of the request's path, as it stands there.
	Session string
	// Batch is the link's first batch, envelope included. The engine owns its
	// bytes from now on. It is empty where none could be had: TooLarge, or a
	// text form that is not base64.
	Batch []byte
	// TooLarge, if not 0, is the limit in bytes that the batch was over, so that
	// it was not read: the link's Next yields the refusal `too_large`.
	TooLarge int
	// Method, URI, Host, Header and TLS are those of the HTTP request that the
	// link came with, for Authenticate. The engine keeps them no longer than the
	// link, and changes nothing in them.
	Method, URI, Host string
	Header            http.Header
	TLS               *tls.ConnectionState // nil: without TLS
	// RemoteAddr is the client's IP address, without a port, as trusted proxies
	// tell it.
	RemoteAddr string
	// Group, if not empty, is that of the bundle which carries the exchange. A copy of
	// it in a later bundle of the group lets this one go: Next returns ErrReplaced.
	Group string
	// Wake, if not nil, lets Next return ErrIdle. It is called in any goroutine,
	// and must not wait.
	Wake func()
}

// NewHello returns the Hello of a link that came with an HTTP request. Its Session,
// Batch and Wake are the caller's to set.
func NewHello(kind Kind, r *http.Request, remoteAddr string) Hello {
	return Hello{
		Kind: kind, Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header, TLS: r.TLS, RemoteAddr: remoteAddr,
	}
}

// Acceptor opens and resumes sessions. A bridge.Server is one.
type Acceptor interface {
	// Accept takes a link's first batch in and returns the link. It never
	// fails: a batch that the engine refuses (rules W6 and O3) gets a link
	// whose Next yields that refusal once and then ErrLinkDone. ctx bounds the
	// call, not the link.
	Accept(ctx context.Context, hello Hello) Link
}

// Link is one live connection of a session: one exchange or one WebSocket.
// Deliver and Next may be called at the same time by two goroutines, each of
// them by one at a time.
type Link interface {
	// Deliver takes a further batch in: of a lasting link, each after the first. The engine owns the batch's bytes from now on. It may
	// wait, until ctx ends: for Authenticate where the batch brings a new token
	// (O5), or for a network where the session lives in another process. Its
	// caller reads no further meanwhile, which slows the peer down. After an error
	// the link is of no more use; Next still yields what there is to say about it.
	Deliver(ctx context.Context, batch []byte) error

	// Next waits until there is something to say, and returns one encoded batch of
	// at most max bytes. It is valid until Next is called again, or Close, and
	// read-only: messages are in it where they are kept until acked. A lasting link
	// is asked in a loop, another for one batch. Next returns ErrLinkDone, or
	// an error that wraps it, when nothing more will come; and the context's
	// cause when ctx ends. It looks for something to say before it looks at ctx:
	// with a ctx that has ended it does not wait. If ctx ends by ErrAnswerNow, a link
	// that is not lasting answers as if its hold had ended.
	Next(ctx context.Context, max int) (Batch, error)

	// Close ends the link, whose connection is gone for whatever reason. It is
	// called exactly once, after the last Deliver and Next. It never ends a session.
	Close()
}

// Batch is one encoded batch, in pieces that are sent one after the other.
type Batch [][]byte

// Len returns the batch's length in bytes.
func (b Batch) Len() int {
	n := 0
	for _, piece := range b {
		n += len(piece)
	}
	return n
}

// AppendTo appends the batch's bytes to dst, which may be nil, and returns the longer
// slice.
func (b Batch) AppendTo(dst []byte) []byte {
	dst = slices.Grow(dst, b.Len())
	for _, piece := range b {
		dst = append(dst, piece...)
	}
	return dst
}

// ErrAnswerNow is the cause by which a transport ends the hold of a link that is
// not lasting.
var ErrAnswerNow = errors.New("transport: to be answered now")

// ErrIdle is returned by Next when the link has been quiet. Call Next again after
// Wake fires. Wake may fire before Next returns, once for each ErrIdle; after
// Close it may still fire, and means nothing.
var ErrIdle = errors.New("transport: link is idle")

// Why Link.Next ends. Each of the others wraps ErrLinkDone; a WebSocket tells
// its peer by the close code.
var (
	// ErrLinkDone is returned when the link has nothing more to say.
	ErrLinkDone = errors.New("transport: link is done")
	// ErrReplaced is returned when a higher link took this one's place (L1), or a copy
	// of it in a later bundle.
	ErrReplaced = fmt.Errorf("%w: replaced by a newer one", ErrLinkDone)
	// ErrMute is returned when the peer answered no ping in time.
	ErrMute = fmt.Errorf("%w: no pong in time", ErrLinkDone)
	// ErrDraining is returned when the bridge takes no new sessions any more and
	// refused one, as the last batch said.
	ErrDraining = fmt.Errorf("%w: the bridge is draining", ErrLinkDone)
	// ErrSessionOver is returned when the session is over, as the last batch said.
	ErrSessionOver = fmt.Errorf("%w: its session is over", ErrLinkDone)
	// ErrUnavailable is returned when the session lives in a process that cannot be
	// reached now: 503, or a WebSocket's close code 1013.
	ErrUnavailable = fmt.Errorf("%w: its session cannot be reached now", ErrLinkDone)
)
