package transport

import (
	"context"
	"net/http"
	"time"
)

// Parking keeps the connections of exchanges that have nothing to say for long,
// so that none needs a goroutine and a server's buffers while it is held.
type Parking interface {
	// Place gives a place for a request's connection, nil if that cannot be
	// parked, as those of HTTP/2 cannot.
	Place(r *http.Request) Place
}

// Place is where the connection of one exchange may be parked. Its Wake is the
// link's Hello.Wake.
type Place interface {
	// Wake says that Guest.Next is to be called again, or the handler to go on
	// that waits. It may be called in any goroutine, and does not wait.
	Wake()
	// Park takes the connection, and w's header for the answer, from the
	// handler, which is then to return at once. From now on the guest is the
	// Place's. It reports false if the handler is to go on itself: Wake was
	// called, or the connection cannot be had.
	Park(w http.ResponseWriter, guest Guest, writeTimeout time.Duration) bool
	// Wait returns when Wake is called, or with the context's cause.
	Wait(ctx context.Context) error
}

// Guest is what waits for a parked connection's answer.
type Guest interface {
	// Next is called after Wake, in some goroutine. It returns the answer's
	// body, or ErrIdle; any other error has the connection cut.
	Next() ([]byte, error)
	// Close is called once: after Next has returned what ends the wait, or when
	// the peer is gone. It must not wait.
	Close()
}
