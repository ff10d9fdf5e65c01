package registry

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// busy is the refusal of a client that may come again.
func busy(format string, args ...any) *wire.Close {
	return &wire.Close{Code: wire.CodeBusy, Message: fmt.Sprintf(format, args...), RetryAfterMillis: 5000}
}

// noRoom returns the refusal of a new session, nil if there is room. r.mu is
// held.
func (r *Registry) noRoom(p *principal) *wire.Close {
	switch {
	case r.closed:
		return busy("the bridge is shutting down")
	case r.isDraining():
		return busy("the bridge is draining")
	case len(r.sessions) >= r.cfg.MaxSessions:
		return busy("the bridge has %d sessions, its limit", r.cfg.MaxSessions)
	case len(p.sessions) >= r.cfg.MaxPerPrincipal:
		return busy("this principal has %d sessions, its limit", r.cfg.MaxPerPrincipal)
	case !p.rate.Allow():
		return busy("this principal opens more than %d sessions per second, its limit", r.cfg.SessionRate)
	}
	return nil
}

// refuseStream returns how an RPC ends that is over one of the limits of section
// 7. Nil: it began, and needs an end.
func (s *Session) refuseStream(o *wire.Open) *wire.End {
	cfg := &s.reg.cfg
	switch size := wire.MetadataSize(o.Metadata); {
	case s.credential.expired():
		return refuse(engine.StatusUnauthenticated, engine.ReasonUnauthenticated, "%s", s.credential.why())
	case s.ep.NumStreams() >= cfg.MaxStreams:
		return refuse(engine.StatusResourceExhausted, engine.ReasonLimit, "the session has %d RPCs open, its limit", cfg.MaxStreams)
	case size > cfg.MaxMetadata:
		return refuse(engine.StatusResourceExhausted, engine.ReasonLimit, "metadata of %d bytes is over the limit of %d", size, cfg.MaxMetadata)
	}
	return s.reg.begin(s.principal)
}

// evict closes sessions that are away of principals that hold least bytes or more,
// those that hold most first, and of each those with most bytes, until enough is
// free (D8).
func (r *Registry) evict(least int64, enough func() bool) {
	type load struct {
		s     *Session
		bytes int
		share int64
	}
	var away []load
	r.each(func(s *Session) {
		n, share := s.ep.BytesHeld()+s.ep.NumStreams()*r.cfg.RPCBytes, s.principal.share.Held()
		if s.away() && n > 0 && share >= least {
			away = append(away, load{s, n, share})
		}
	})
	slices.SortFunc(away, func(a, b load) int {
		return cmp.Or(cmp.Compare(b.share, a.share), cmp.Compare(b.bytes, a.bytes))
	})
	for _, l := range away {
		if enough() {
			return
		}
		l.s.ep.Lock()
		if l.s.away() {
			l.s.ep.Over(&engine.Error{Reason: engine.ReasonOverloaded, Message: "the bridge's buffers are full"})
			r.evictedSession(l.s, l.bytes)
		}
		l.s.unlock()
	}
}

// evictOver closes sessions that are away while the budget is exceeded.
func (r *Registry) evictOver() {
	r.evict(0, func() bool { return !r.budget.Exceeded() })
}

// noRoomFor notes that a message of n bytes of a session's RPC found no room, and
// makes some: of those who hold as much as its principal, or more.
func (r *Registry) noRoomFor(n int, s *Session, why *engine.Error) {
	r.countRefused(why.Reason)
	r.notices.refused.Add("remote", s.remote, "principal", s.principal.name, "session", s.ID(), "reason", why.Reason, "err", why.Message)
	r.evict(s.principal.share.Held(), func() bool { return s.principal.share.HasRoom(n) })
}

// usage reports whether the session ever had an RPC, and, if so, whether it has
// none now and is away.
func (s *Session) usage() (used, away bool) {
	s.ep.Lock()
	defer s.ep.Unlock()
	return s.used, s.ep.NumStreams() == 0 && s.away()
}

// giveRoom ends a session without an RPC for one that comes.
func (s *Session) giveRoom() {
	s.ep.Lock()
	defer s.unlock()
	if s.ep.NumStreams() > 0 || s.ep.Ended() != nil {
		return
	}
	s.ep.Over(&engine.Error{Reason: engine.ReasonOverloaded, Message: "the bridge has as many sessions as it may, and this one has no RPC"})
	s.reg.roomGiven(s)
}

// betweenPolls is how long the gap between two exchanges may be.
const betweenPolls = 2 * time.Second

// away reports whether there is no link, for longer than between two exchanges.
func (s *Session) away() bool {
	return s.links == 0 && s.ep.Now()-s.linklessSince > s.ep.Path.AtLeast(betweenPolls, 4)
}

// appetite is what is worth having ready (D8). Between two exchanges it is twice
// what the last answer took, so that the next one finds as much as the path
// carries.
func (s *Session) appetite() int {
	switch {
	case s.links > 0:
		return engine.Unlimited
	case s.away():
		return engine.LinklessOutbox
	}
	return max(engine.LinklessOutbox, 2*s.lastAnswer)
}
