// Package session is the resumable session engine, in both roles: the bridge's
// (Registry) and the client's (Start). It knows no HTTP and no gRPC.
package session

import (
	"context"
	"log/slog"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// Message is one gRPC message: its bytes in order, in one or more pieces.
type Message struct {
	Pieces [][]byte
	// Free, if not nil, is called once when the engine needs the bytes of a
	// sent message no more: acked, or dropped with its stream. It must not
	// block and must not call back into the session.
	Free func()
}

// Len is the number of bytes of the message.
func (m Message) Len() int {
	n := 0
	for _, p := range m.Pieces {
		n += len(p)
	}
	return n
}

// Stream is one RPC on a session. Send and its kin may be called by one
// goroutine at a time, Recv by another; Cancel, End and Context by any.
type Stream struct{}

// ID is the stream's number in its session.
func (s *Stream) ID() uint64 { panic("stub") }

// Session is the session that the stream belongs to.
func (s *Stream) Session() *Session { panic("stub") }

// Request is what the Open frame said. Read-only.
func (s *Stream) Request() *wire.Open { panic("stub") }

// Context ends when the RPC is over for this side: cancelled by the peer, its
// deadline passed, ended, or its session lost. Its cause is an *Error where
// the engine ended it. On the bridge it carries the deadline of rule D7.
func (s *Stream) Context() context.Context { panic("stub") }

// Recv returns the next message, in order. The message taken before counts as
// consumed from this call on: its credit goes back to the peer (D3). It
// returns io.EOF after the last message (bridge: the client half-closed;
// client: the RPC ended, see Status), and the cause of ctx or of Context when
// one of them ends first. The bytes belong to the caller.
func (s *Stream) Recv(ctx context.Context) (Message, error) { panic("stub") }

// Send queues one message and waits until the stream's queue has room for the
// next (back-pressure). The engine owns the bytes until it calls m.Free, which
// it does also when Send fails.
func (s *Stream) Send(ctx context.Context, m Message) error { panic("stub") }

// SendHeaders queues the response headers. Bridge only, at most once, before
// the first Send.
func (s *Stream) SendHeaders(md []wire.Metadatum) error { panic("stub") }

// End ends the RPC with a status, after all that was sent. Bridge only;
// exactly one call counts, later ones are ignored (D5). After a peer's Cancel
// it is still owed.
func (s *Stream) End(end wire.End) { panic("stub") }

// CloseSend says that no more messages follow. Client only.
func (s *Stream) CloseSend() error { panic("stub") }

// Cancel gives the RPC up. Client only. Status is then CANCELLED with reason
// "cancelled" unless the bridge's End was there first.
func (s *Stream) Cancel() { panic("stub") }

// Headers waits for the response headers. Client only. It returns nil headers
// and no error when the RPC ended without any.
func (s *Stream) Headers(ctx context.Context) ([]wire.Metadatum, error) { panic("stub") }

// Status is how the RPC ended; valid once Recv returned io.EOF, nil before.
// Client only.
func (s *Stream) Status() *wire.End { panic("stub") }

// Sent reports whether the Open frame was given to a link at least once.
// Client only. While it is false, nothing of the RPC can have reached the
// bridge; when the RPC has ended so, it may be opened again on another session
// (E2).
func (s *Stream) Sent() bool { panic("stub") }

// Session is the resumable link between one client and the bridge.
type Session struct{}

// ID is the session's public ID as it stands in paths: 22 characters of
// base64url. Safe to log.
func (s *Session) ID() string { panic("stub") }

// Principal is what Authenticate bound the session to. Bridge only.
func (s *Session) Principal() Principal { panic("stub") }

// Done is closed when the session is over; Err then says why.
func (s *Session) Done() <-chan struct{} { panic("stub") }

// Err is nil while the session lives, then an *Error.
func (s *Session) Err() error { panic("stub") }

// Error says why a session, or an RPC by the engine's doing, ended.
type Error struct {
	// Reason is for programs: "expired", "unknown_session",
	// "bridge_restarted", "drained", "closed", "breach", "overloaded",
	// "unauthenticated", "cancelled", "deadline".
	Reason  string
	Message string
}

func (e *Error) Error() string { return "session: " + e.Reason + ": " + e.Message }

// Principal names who a session belongs to. Equal names are the same one.
type Principal struct {
	Name string
	// Value is handed through to the application untouched.
	Value any
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
	Logger       *slog.Logger // default: discard
	Release      string       // e.g. "pollbridge/0.1.0"

	Hold         time.Duration // longest hold of an exchange; 25 s
	ResumeWindow time.Duration // 120 s
	PauseMax     time.Duration // 30 min
	HelloWindow  time.Duration // life of a session from which only Hellos came; 30 s

	StreamWindow     int   // first window of a stream; 64 KiB
	StreamWindowMax  int   // 256 KiB
	SessionWindow    int   // 1 MiB
	MaxMessage       int   // 16 MiB
	MaxMetadata      int   // 64 KiB, per RPC and direction
	MaxBatch         int   // 1 MiB, envelope included
	MaxStreams       int   // per session; 4096
	MaxSessions      int   // 100,000
	MaxPerPrincipal  int   // sessions; 10,000
	MaxBufferedBytes int64 // over all sessions; 1 GiB
}

// Registry holds a bridge's sessions. It is the transport.Acceptor.
type Registry struct{}

// NewRegistry returns a Registry with a fresh incarnation.
func NewRegistry(cfg Config) *Registry { panic("stub") }

// Accept implements transport.Acceptor.
func (r *Registry) Accept(ctx context.Context, hello transport.Hello) transport.Link {
	panic("stub")
}

// Drain tells every client to open its next RPCs elsewhere, refuses new
// sessions, waits for the open RPCs until ctx ends, and then closes every
// session with the reason "drained".
func (r *Registry) Drain(ctx context.Context) error { panic("stub") }

// Close ends every session at once, and waits for every Handle to return.
func (r *Registry) Close() { panic("stub") }

// Stats is a reading of a Registry's gauges and counters.
type Stats struct {
	Sessions      int
	Links         map[transport.Kind]int
	Streams       int
	BufferedBytes int64

	SessionsOpened uint64
	SessionsClosed map[string]uint64 // by Error.Reason
	Resumes        uint64
	Refusals       map[string]uint64 // "garbled", "version", "busy", "too_large", "unknown"
	FramesResent   uint64
}

// Stats reads the gauges and counters.
func (r *Registry) Stats() Stats { panic("stub") }

// Carrier is how the client's role reaches a bridge. The client package
// implements it over net/http and coder/websocket.
type Carrier interface {
	// Exchange sends one batch by POST and returns the body of the answer,
	// whatever it is. An error is weather: it says what was seen.
	Exchange(ctx context.Context, session string, batch []byte) ([]byte, error)
	// Dial opens a WebSocket.
	Dial(ctx context.Context, session string) (Socket, error)
}

// Socket is one WebSocket. Read and Write may run at the same time.
type Socket interface {
	Read(ctx context.Context) ([]byte, error)
	Write(ctx context.Context, batch []byte) error
	// Close closes at once, without waiting for the peer.
	Close()
}

// ClientConfig configures the client's role. Zero values stand for defaults.
type ClientConfig struct {
	Carrier Carrier // required
	// Transports is the choice, e.g. {Longpoll} or {WS} to force one, or both
	// (default) for the ladder.
	Transports []transport.Kind
	Logger     *slog.Logger
	Release    string
	// Token, if not nil, gives the credential for the first batch and again
	// when the bridge asks for a fresh one.
	Token func(ctx context.Context) (string, error)

	Hold            time.Duration // 25 s
	Pause           time.Duration // longer resume window asked for; 0: the bridge's
	StreamWindow    int           // 64 KiB
	StreamWindowMax int           // 256 KiB
	MaxMessage      int           // 16 MiB
	// OnState, if not nil, is called after each change, never under a lock.
	OnState func(State)
}

// State is what a client can see of its session.
type State struct {
	Phase     string // "connecting", "open", "retrying", "closed"
	Transport transport.Kind
	RTT       time.Duration
	LastError error // the latest weather
}

// Start opens a session in the client's role. It never waits: RPCs may be
// opened at once.
func Start(cfg ClientConfig) *Session { panic("stub") }

// Open starts an RPC. Client only. It never waits; sending waits for the
// Welcome where rule O4 says so. With open.SingleRequest the OPEN leaves
// together with the message and the half-close, so Send and CloseSend must
// follow. It fails with an *Error when the session is
// over or going away; such an RPC was never sent.
func (s *Session) Open(ctx context.Context, open wire.Open) (*Stream, error) { panic("stub") }

// State reads the state. Client only.
func (s *Session) State() State { panic("stub") }

// Close ends the session in order: all that was sent is delivered first, until
// ctx ends.
func (s *Session) Close(ctx context.Context) error { panic("stub") }

// Kill drops every link at once, as a network would. For tests and demos.
func (s *Session) Kill() { panic("stub") }
