package registry

import (
	"log/slog"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/ratelog"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// notices are the lines of the log about what clients can cause as often as they
// like.
type notices struct {
	full      *ratelog.Line // no room for a session
	wrongKey  *ratelog.Line
	ignored   *ratelog.Line // clients gave one that nobody looks at
	refused   *ratelog.Line // RPCs
	evicted   *ratelog.Line // sessions, for want of room in the buffers
	roomGiven *ratelog.Line // sessions, for want of room in the table
	violation *ratelog.Line
}

func newNotices(logger *slog.Logger) notices {
	warn := func(message string) *ratelog.Line { return ratelog.New(logger, slog.LevelWarn, message) }
	return notices{
		full:      warn("session refused"),
		wrongKey:  warn("wrong session key"),
		ignored:   warn("token ignored: the bridge authenticates nobody"),
		refused:   warn("RPC refused"),
		evicted:   warn("session closed: the buffers are full"),
		roomGiven: warn("session without an RPC closed: there are too many"),
		violation: warn("protocol violation"),
	}
}

// refusedSession notes that there is no room for a session. That a bridge drains
// is no news.
func (r *Registry) refusedSession(hello *transport.Hello, why *wire.Close) {
	if !r.isDraining() {
		r.notices.full.Add("remote", hello.RemoteAddr, "reason", why.Message)
	}
}

// refusedRPC counts and notes an RPC that a limit or its session's credential
// ended before it began.
func (r *Registry) refusedRPC(s *Session, end wire.End) {
	r.countRefused(end.Reason)
	r.notices.refused.Add("remote", s.remote, "principal", s.principal.name, "session", s.ID(), "reason", end.Reason, "err", end.Message)
}

func (r *Registry) countRefused(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusedRPCs[reason]++
}

func (r *Registry) wrongKey(hello *transport.Hello) {
	r.wrongKeys.Add(1)
	r.notices.wrongKey.Add("remote", hello.RemoteAddr, "session", hello.Session)
}

func (r *Registry) evictedSession(s *Session, bytes int) {
	r.notices.evicted.Add("remote", s.remote, "principal", s.principal.name, "session", s.ID(), "bytes", bytes,
		"buffered", r.budget.Held(), "limit", r.cfg.MaxBufferedBytes)
}

func (r *Registry) roomGiven(s *Session) {
	r.notices.roomGiven.Add("remote", s.remote, "principal", s.principal.name, "session", s.ID(), "limit", r.cfg.MaxSessions)
}

func (r *Registry) violation(s *Session, why *engine.Error) {
	r.notices.violation.Add("remote", s.remote, "principal", s.principal.name, "session", s.ID(), "err", why.Message)
}
