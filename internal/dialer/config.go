package dialer

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/transport"
)

// Carrier is how a session reaches its bridge. Its methods may be called by
// several goroutines at once.
type Carrier interface {
	// Exchange sends one batch and returns the body of the answer, whatever it is.
	// An error is a link error: it says what was seen, and wraps one of the errors
	// below where that is what it means.
	Exchange(ctx context.Context, session string, batch []byte) ([]byte, error)
	// Dial opens a lasting link. Its error, and those of the Conn, are link errors
	// too.
	Dial(ctx context.Context, session string) (Conn, error)
}

// What a Carrier's error may wrap to say why a link failed.
var (
	// ErrTooLong means that the network called the request too long.
	ErrTooLong = errors.New("the request is too long")
	// ErrBroken means that the request was begun and broke with no answer: it may
	// be too long.
	ErrBroken = errors.New("broken without an answer")
	// ErrUnavailable means that an intermediary reached no bridge for the session's
	// ID: statuses 502 and 503.
	ErrUnavailable = errors.New("no bridge for the session")
	// ErrDraining means that the bridge closed a lasting link because it takes no
	// new sessions any more.
	ErrDraining = errors.New("the bridge is draining")
	// ErrUntrusted means that who is there cannot prove to be the bridge. It ends
	// a session that had no Welcome yet: waiting does not mend a certificate.
	ErrUntrusted = errors.New("certificate not trusted")
	// ErrNoBridge means that what answered knows nothing of a bridge at its URL: a
	// page, a redirect, or status 404 or 405. It ends a session that had no Welcome
	// yet when it comes again and again, by every kind of link, unless there was a
	// bridge before.
	ErrNoBridge = errors.New("no bridge here")
)

// Conn carries a lasting link. Read and Write may run at the same time, each by
// one goroutine.
type Conn interface {
	// Read returns one message. Its bytes belong to the caller.
	Read(ctx context.Context) ([]byte, error)
	// Write sends one message. It keeps nothing of batch after it returned.
	Write(ctx context.Context, batch transport.Batch) error
	// Close closes at once, without waiting for the peer; Read and Write then
	// return. It may be called more than once, by any goroutine.
	Close()
}

// Config configures a Session. The zero value of each field stands for the
// default that its comment gives.
type Config struct {
	Carrier Carrier // required
	// Multiplexed reports whether exchanges share one connection, as in HTTP/2, so
	// that there may be more than two; they never do. It may be called at any time.
	Multiplexed func() bool
	// Bridge is what errors call the bridge, with its URL; "the bridge".
	Bridge string
	// Known is true if a bridge was there before: one that is gone is waited for,
	// whatever answers in its place.
	Known bool
	// Transports is the choice: one kind forces it; both (the default) begin
	// with an exchange and go over to a lasting link once it has proved itself.
	Transports []transport.Kind
	Logger     *slog.Logger // default: discard
	Release    string       // sent in the Hello, e.g. "pollbridge-go/0.1.0"
	// Token, if not nil, returns the credential for the first batch, and a fresh
	// one after the bridge refused an RPC because it had expired (rule O5).
	Token func(ctx context.Context) (string, error)
	// Lazy waits for the first RPC before anything is sent.
	Lazy bool

	Hold         time.Duration    // longest hold asked for; 25 s
	Pause        time.Duration    // longer resume window asked for; 0: the bridge's own
	StreamWindow int              // first window of a stream, bytes; 64 KiB. It grows as the path needs
	MaxMessage   int              // longest message taken, bytes; no limit
	Wall         func() time.Time // reads the clock on the wall; time.Now. For tests
	Learnt       Network          // by an earlier session on the same way; zero: nothing
	// OnState, if not nil, is called after each change of State but RTT, by
	// one goroutine at a time, never under a lock.
	OnState func(State)
}

func (c Config) withDefaults() Config {
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	c.Bridge = cmp.Or(c.Bridge, "the bridge")
	c.Release = cmp.Or(c.Release, "pollbridge")
	c.Hold = cmp.Or(c.Hold, 25*time.Second)
	c.StreamWindow = cmp.Or(c.StreamWindow, 64<<10)
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Multiplexed == nil {
		c.Multiplexed = func() bool { return false }
	}
	c.MaxMessage = cmp.Or(c.MaxMessage, engine.Unlimited)
	if len(c.Transports) == 0 {
		c.Transports = []transport.Kind{transport.Longpoll, transport.WS}
	}
	return c
}

// kindOf returns the first of the kinds that has the given shape; 0: none has.
func kindOf(kinds []transport.Kind, lasting bool) transport.Kind {
	for _, k := range kinds {
		if k.Lasting() == lasting {
			return k
		}
	}
	return 0
}

// Phase is what a session is doing.
type Phase string

// Phases of a session.
const (
	Connecting Phase = "connecting" // no Welcome yet
	Open       Phase = "open"       // the latest link worked
	Retrying   Phase = "retrying"   // the latest link failed
	Closed     Phase = "closed"     // over; see Session.Err
)

// State is what can be seen of a session.
type State struct {
	Phase     Phase
	Transport transport.Kind // what carries frames now
	RTT       time.Duration  // 0: not measured yet
	LastError error          // the latest link error; nil: none yet
	Network   Network
}
