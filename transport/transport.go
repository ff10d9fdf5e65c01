// Package transport is the contract between transports and the session
// engine. A transport carries opaque batches; the engine knows what is in
// them. See docs/ARCHITECTURE.md, "Pull, never push".
package transport

import (
	"context"
	"errors"
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
	// bytes from now on.
	Batch []byte
	// Request is the HTTP request that the link came with. The engine hands it
	// to Authenticate and keeps nothing of it.
	Request *http.Request
	// RemoteAddr is the client's address, after trusted proxies.
	RemoteAddr string
}

// Acceptor opens and resumes sessions. The session engine implements it.
type Acceptor interface {
	// Accept takes a link's first batch in and returns the link. It never
	// fails: a batch that the engine refuses (rules W6 and O3) gets a link
	// whose Next yields that refusal once and then ErrLinkDone.
	Accept(ctx context.Context, hello Hello) Link
}

// Link is one live carriage of a session: one exchange or one WebSocket.
// Deliver and Next may be called at the same time by two goroutines, each of
// them by one at a time.
type Link interface {
	// Deliver takes a further batch in. A WebSocket calls it for each message
	// after the first. The engine owns the batch's bytes from now on. It never
	// waits for anything but the session's lock. After an error the link is of
	// no more use; Next still yields what is to be said about it.
	Deliver(batch []byte) error

	// Next waits until there is something to say, appends one encoded batch of
	// at most max bytes to dst and returns the extended slice. An exchange
	// calls it once, a WebSocket writer in a loop. It returns ErrLinkDone when
	// nothing more will come: the link was replaced, refused, or its session
	// is over; and the context's cause when ctx ends.
	Next(ctx context.Context, dst []byte, max int) ([]byte, error)

	// Close says that the carriage is gone, for whatever reason. It is called
	// exactly once, after the last Deliver and Next. It never ends a session.
	Close()
}

// ErrLinkDone is returned by Link.Next when the link has nothing more to say.
var ErrLinkDone = errors.New("transport: link is done")
