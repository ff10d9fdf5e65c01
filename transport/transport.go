// Package transport is the contract between transports and the session
// engine. A transport carries opaque batches; the engine knows what is in
// them. See docs/ARCHITECTURE.md, "Pull, never push".
package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Kind names a kind of carriage.
type Kind uint8

// Kinds of carriage.
const (
	Longpoll Kind = iota + 1
	WS
)

// String gives the word used in configuration, logs and metrics.
func (k Kind) String() string {
	switch k {
	case Longpoll:
		return "longpoll"
	case WS:
		return "ws"
	}
	return "unknown"
}

// Hello is what a transport knows when a link begins.
type Hello struct {
	Kind Kind
	// Session is the {sid} of the request's path, as it stands there.
	Session string
	// Batch is the link's first batch, envelope included. The engine owns its
	// bytes from now on. It is empty where none could be had: TooLarge, or a
	// text form that is not base64.
	Batch []byte
	// TooLarge, if not 0, says that the batch was longer than this many bytes
	// and was not taken: the link's Next yields the refusal `too_large`.
	TooLarge int
	// Request is the HTTP request that the link came with. The engine hands it
	// to Authenticate, and keeps it no longer than the link.
	Request *http.Request
	// Ready, if not nil, allows the link to rest: see ErrResting. It is called in
	// any goroutine, and must not wait.
	Ready func()
	// RemoteAddr is the client's IP address, without a port, as trusted proxies
	// tell it.
	RemoteAddr string
}

// Acceptor opens and resumes sessions. The session engine implements it.
type Acceptor interface {
	// Accept takes a link's first batch in and returns the link. It never
	// fails: a batch that the engine refuses (rules W6 and O3) gets a link
	// whose Next yields that refusal once and then ErrLinkDone. ctx bounds the
	// call, not the link.
	Accept(ctx context.Context, hello Hello) Link
}

// Link is one live carriage of a session: one exchange or one WebSocket.
// Deliver and Next may be called at the same time by two goroutines, each of
// them by one at a time.
type Link interface {
	// Deliver takes a further batch in. A WebSocket calls it for each message
	// after the first. The engine owns the batch's bytes from now on. It never
	// waits for anything but the session's lock, and, where the batch brings a
	// new token, Authenticate (O5). After an error the link is of no more use;
	// Next still yields what is to be said about it.
	Deliver(batch []byte) error

	// Next waits until there is something to say, appends one encoded batch of
	// at most max bytes to dst and returns the extended slice. An exchange
	// takes one, a WebSocket writer calls it in a loop. It returns ErrLinkDone, or
	// an error that wraps it, when nothing more will come; and the context's
	// cause when ctx ends. An exchange whose ctx ends by ErrAnswerNow answers as
	// if its hold had ended.
	Next(ctx context.Context, dst []byte, max int) ([]byte, error)

	// Close says that the carriage is gone, for whatever reason. It is called
	// exactly once, after the last Deliver and Next. It never ends a session.
	Close()
}

// ErrAnswerNow is the cause by which a transport ends an exchange's hold.
var ErrAnswerNow = errors.New("transport: to be answered now")

// ErrResting is returned by Next when there was nothing to say for a while, so
// that nobody need wait on a quiet link: Hello.Ready is then called, once, when
// Next is to be called again, which may be before Next has returned. After Close
// it may still be called, and means nothing.
var ErrResting = errors.New("transport: link rests")

// Why Link.Next ends. Each of the others wraps ErrLinkDone; a WebSocket tells
// its peer by the close code.
var (
	// ErrLinkDone says that the link has nothing more to say.
	ErrLinkDone = errors.New("transport: link is done")
	// ErrReplaced says that a higher link took this one's place (L1).
	ErrReplaced = fmt.Errorf("%w: replaced by a newer one", ErrLinkDone)
	// ErrMute says that the peer answered no ping in time.
	ErrMute = fmt.Errorf("%w: no pong in time", ErrLinkDone)
	// ErrSessionOver says that the session is over, as the last batch said.
	ErrSessionOver = fmt.Errorf("%w: its session is over", ErrLinkDone)
)
