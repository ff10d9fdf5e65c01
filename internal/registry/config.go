package registry

import (
	"context"
	"log/slog"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// Principal says who a session belongs to. Two with the same Name are the same
// one: a session is only ever resumed by its own.
type Principal struct {
	Name string
	// Value is the application's own and is left alone.
	Value any
	// Expires is when the credential does. From then on new RPCs end with
	// UNAUTHENTICATED while those that run go on; the client asks its
	// application for another token and sends it over the same session (O5). Zero:
	// never.
	Expires time.Time
}

// Config configures a Registry. bridge.Config has the defaults: here every field
// must be set, but for Authenticate, Refused and those whose comment gives a default.
type Config struct {
	// Handle serves one RPC; each call has a goroutine of its own and must
	// call Stream.End before it returns.
	Handle func(*Stream)
	// Refused, if not nil, is called for each RPC that a limit or an expired
	// credential ended before it began. It must not block.
	Refused func(*Stream, wire.End)
	// Authenticate runs at Hello and for each refreshed token (rule O5). Nil: the
	// principal is the peer's address.
	Authenticate func(ctx context.Context, hello transport.Hello, token string) (Principal, error)
	// IgnoresTokens says that Authenticate looks at no token: clients are told, in
	// the Welcome.
	IgnoresTokens bool
	// Logger gets a record for each session that is opened or ends (debug), and
	// of what is refused, closed or violated, at most one of a kind in 10 s (warn).
	Logger *slog.Logger
	// Release is sent in the Welcome, e.g. "pollbridge/0.1.0".
	Release string

	Hold         time.Duration // longest hold of an exchange
	ResumeWindow time.Duration // life of a session with no link
	PauseMax     time.Duration // longest resume window that a client gets
	HelloWindow  time.Duration // life of a session from which no RPC came (O4). Default: 30 s

	StreamWindow     int   // first window of a stream, bytes. Default: 64 KiB
	MaxStreamWindow  int   // most that it grows to (D3). Default: 8 MiB
	SessionWindow    int   // most bytes of frames sent and not acked (D2), and by which the windows of a session's streams grow in all. Default: 16 MiB
	MaxMessage       int   // bytes
	MaxMetadata      int   // bytes per RPC and direction
	MaxBatch         int   // bytes, envelope included
	MaxStreams       int   // per session
	MaxSessions      int   // in all
	MaxPerPrincipal  int   // sessions
	MaxBufferedBytes int64 // over all sessions

	SessionRate         int // new sessions of a principal per second, ten times as many at once. Default: 1,000
	IPv6Prefix          int // bits of an address that name a client. Default: 64
	MaxRPCs             int // in all. Default: no limit
	MaxRPCsPerPrincipal int // Default: no limit
	RPCBytes            int // what an open RPC counts in MaxBufferedBytes beside its messages
}
