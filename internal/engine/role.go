package engine

import "github.com/pollbridge/pollbridge/internal/wire"

// Role is what an endpoint asks of the side that it is: the bridge's
// (internal/registry) or the client's (internal/dialer). Its methods are called
// with the lock held.
type Role interface {
	// Wake notifies the links that may have something to send.
	Wake()
	// Appetite returns how many bytes of messages are worth having ready to be
	// sent; more would only wait (D8).
	Appetite() int
	// Over is called once, when the session is over, before what its streams hold
	// is dropped.
	Over(why *Error)
}

// Owner is the role's own stream, of which the endpoint has its part.
type Owner interface {
	// Fail ends the RPC by the engine's doing: what was not sent is dropped.
	Fail(end wire.End)
}

// What one side sends means nothing to that same side (W5), but for OPEN, which
// is a violation. So only the bridge's role and streams take a client's frames,
// and only a client's streams a bridge's.
type (
	requestRole interface {
		// Open starts an RPC, or refuses it.
		Open(stream uint64, open *wire.Open)
		// NotTaken notes that an OPEN was left for later (D6).
		NotTaken()
		// Closed ends the session in order: the client asked for it (L6).
		Closed()
	}
	requestOwner interface {
		// Cancelled applies the client's CANCEL (D5).
		Cancelled()
	}
	responseOwner interface {
		// Responded takes the response headers.
		Responded(md []wire.Metadatum)
		// Ended ends the RPC as the bridge says.
		Ended(end wire.End)
	}
)
