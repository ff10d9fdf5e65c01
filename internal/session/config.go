package session

import (
	"context"
	"log/slog"
	"time"

	"github.com/pollbridge/pollbridge/transport"
)

// Principal names who a session belongs to. Equal names are the same one.
type Principal struct {
	Name string
	// Value is handed through to the application untouched.
	Value any
	// Expires, if not zero, is when the credential does. From then on new RPCs
	// end with UNAUTHENTICATED, until a refreshed token is good (rule O5).
	Expires time.Time
}

// Config configures the bridge's role. The zero value of each field stands
// for the default that its comment gives.
type Config struct {
	// Handle serves one RPC; each call has a goroutine of its own and must
	// call Stream.End before it returns. Required.
	Handle func(*Stream)
	// Authenticate runs at Hello and for each refreshed token (rule O5).
	// Default: none, and the principal is the peer's address.
	Authenticate func(ctx context.Context, hello transport.Hello, token string) (Principal, error)
	// Logger gets one record for each session that is opened or ends (debug)
	// and for each breach (warn). Default: discard.
	Logger *slog.Logger
	// Release is told in the Welcome, e.g. "pollbridge/0.1.0".
	Release string

	Hold         time.Duration // longest hold of an exchange; 18 s
	ResumeWindow time.Duration // life of a session with no link; 120 s
	PauseMax     time.Duration // most that a client's pause gets; 30 min
	HelloWindow  time.Duration // life of a session from which only Hellos came; 30 s

	StreamWindow     int   // first window of a stream, bytes; 64 KiB. It grows to four times that
	SessionWindow    int   // frames sent and not acked, bytes; 1 MiB
	MaxMessage       int   // bytes; 16 MiB
	MaxMetadata      int   // bytes per RPC and direction; 64 KiB
	MaxBatch         int   // bytes, envelope included; 1 MiB
	MaxStreams       int   // per session; 4,096
	MaxSessions      int   // 100,000
	MaxPerPrincipal  int   // sessions; 10,000
	MaxBufferedBytes int64 // over all sessions; 1 GiB
}

// helloWindow is rule O4's.
const helloWindow = 30 * time.Second

func (c Config) withDefaults() Config {
	setDefault(&c.Logger, slog.New(slog.DiscardHandler))
	setDefault(&c.Release, "pollbridge")
	setDefault(&c.Hold, 18*time.Second)
	setDefault(&c.ResumeWindow, defaultResumeWindow)
	setDefault(&c.PauseMax, 30*time.Minute)
	setDefault(&c.HelloWindow, helloWindow)
	setDefault(&c.StreamWindow, 64<<10)
	setDefault(&c.SessionWindow, 1<<20)
	setDefault(&c.MaxMessage, 16<<20)
	setDefault(&c.MaxMetadata, 64<<10)
	setDefault(&c.MaxBatch, 1<<20)
	setDefault(&c.MaxStreams, 4096)
	setDefault(&c.MaxSessions, 100_000)
	setDefault(&c.MaxPerPrincipal, 10_000)
	setDefault(&c.MaxBufferedBytes, 1<<30)
	return c
}

// Carrier is how the client's role reaches a bridge. Its methods may be called
// by several goroutines at once.
type Carrier interface {
	// Exchange sends one batch by POST and returns the body of the answer,
	// whatever it is. An error is weather: it says what was seen, and wraps
	// ErrTooLong or ErrBroken where that is what it means.
	Exchange(ctx context.Context, session string, batch []byte) ([]byte, error)
	// Dial opens a WebSocket.
	Dial(ctx context.Context, session string) (Socket, error)
}

// Socket is one WebSocket. Read and Write may run at the same time, each by
// one goroutine.
type Socket interface {
	// Read returns one message. Its bytes belong to the caller.
	Read(ctx context.Context) ([]byte, error)
	// Write sends one message. It keeps nothing of batch after it returned.
	Write(ctx context.Context, batch []byte) error
	// Close closes at once, without waiting for the peer; Read and Write then
	// return. It may be called more than once, by any goroutine.
	Close()
}

// ClientConfig configures the client's role. The zero value of each field
// stands for the default that its comment gives.
type ClientConfig struct {
	Carrier Carrier // required
	// Transports is the choice: one kind forces it; both (the default) begin
	// with an exchange and go over to a WebSocket once it has proved itself.
	Transports []transport.Kind
	Logger     *slog.Logger // default: discard
	Release    string       // told in the Hello, e.g. "pollbridge-go/0.1.0"
	// Token, if not nil, gives the credential for the first batch, and a fresh
	// one after the bridge refused an RPC because it had expired (rule O5).
	Token func(ctx context.Context) (string, error)
	// Lazy waits for the first RPC before anything is sent.
	Lazy bool

	Hold         time.Duration // longest hold asked for; 25 s
	Pause        time.Duration // longer resume window asked for; 0: the bridge's own
	StreamWindow int           // first window of a stream, bytes; 64 KiB. It grows to four times that
	MaxMessage   int           // longest message taken, bytes; no limit
	Learnt       Network       // by an earlier session on the same way; zero: nothing
	// OnState, if not nil, is called after each change of State but RTT, by
	// one goroutine at a time, never under a lock.
	OnState func(State)
}

func (c ClientConfig) withDefaults() ClientConfig {
	setDefault(&c.Logger, slog.New(slog.DiscardHandler))
	setDefault(&c.Release, "pollbridge")
	setDefault(&c.Hold, 25*time.Second)
	setDefault(&c.StreamWindow, 64<<10)
	setDefault(&c.MaxMessage, maxMessageUnlimited)
	if len(c.Transports) == 0 {
		c.Transports = []transport.Kind{transport.Longpoll, transport.WS}
	}
	return c
}

// maxMessageUnlimited keeps sums of lengths within an int64.
const maxMessageUnlimited = 1 << 40

// windowGrowth is how many times its first size a stream's window grows (D3).
const windowGrowth = 4

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Phase is what a client's session is doing.
type Phase string

// Phases of a client's session.
const (
	Connecting Phase = "connecting" // no Welcome yet
	Open       Phase = "open"       // the latest link worked
	Retrying   Phase = "retrying"   // the latest link failed
	Closed     Phase = "closed"     // over; see Session.Err
)

// State is what a client can see of its session.
type State struct {
	Phase     Phase
	Transport transport.Kind // what carries frames now
	RTT       time.Duration  // 0: not measured yet
	LastError error          // the latest weather; nil: none yet
	Network   Network
}
