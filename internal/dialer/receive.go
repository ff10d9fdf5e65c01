package dialer

import (
	"errors"
	"fmt"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// header returns what every batch of the client carries.
func (s *Session) header() wire.Batch {
	s.lastMicros = max(s.lastMicros+1, uint64(s.ep.Now().Microseconds()))
	h := wire.Batch{
		Incarnation: s.incarnation, NowMicros: s.lastMicros, Awaiting: s.exchanges.awaiting(), Prefer: s.ep.Preferred(),
		PauseMillis: millis(s.cfg.Pause),
	}
	if !s.welcomed() {
		h.Hello = &wire.Hello{
			Release: s.cfg.Release, StreamWindow: uint32(s.cfg.StreamWindow), MaxMessageBytes: uint64(s.cfg.MaxMessage),
		}
		h.Versions = &wire.Versions{Lowest: wire.LowestVersion, Highest: wire.HighestVersion}
		h.Token = s.token.value
	} else if s.token.due {
		h.Token = s.token.value
	}
	return h
}

func millis(d time.Duration) uint32 { return uint32(d.Milliseconds()) }

// take takes an answer's header and frames in. sent is when its link, or what
// it answers, was begun.
func (s *Session) take(b *wire.Batch, sent time.Duration) {
	if s.isForeign(b) {
		s.linkFailed(errForeign)
		return
	}
	if b.Close != nil {
		s.closed(b)
		return
	}
	if b.Welcome != nil && !s.welcomed() {
		s.takeWelcome(b)
	}
	s.reached(sent)
	if b.GoAway != nil {
		s.goAway(b.GoAway)
	}
	s.heardBridge()
	if err := s.ep.Receive(b); err != nil {
		s.ep.Over(err)
	}
}

// errForeign is the link error of a batch that isForeign.
var errForeign = errors.New("an answer of another bridge instance")

// isForeign reports whether a batch is of another life of the session than the
// client has the Welcome of, as its Hello may have left one at another bridge (O2). A
// refusal has no life in it (W6).
func (s *Session) isForeign(b *wire.Batch) bool {
	return s.incarnation != 0 && b.Incarnation != s.incarnation && (b.Close == nil || b.Incarnation&engine.LivesMask != 0)
}

// takeWelcome takes the bridge's limits and lets waiting RPCs go (O2, O4).
func (s *Session) takeWelcome(b *wire.Batch) {
	w := *b.Welcome
	s.welcome, s.incarnation = &w, b.Incarnation
	s.ep.SetSessionWindow(int(w.SessionWindow))
	s.ep.PeerStreamWindow = int(w.StreamWindow)
	s.exchanges.bound(int(w.MaxBatchBytes))
	if w.IgnoresTokens && s.token.value != "" {
		s.cfg.Logger.Warn("the bridge ignores the token: it authenticates nobody", "session", s.ID())
	}
	s.releaseUnsent()
}

// refused is what a link failed of that the bridge refused.
func refused(why *wire.Close) error {
	return fmt.Errorf("refused by the bridge: %s", why.Message)
}

// moveOn takes another ID and key before the Welcome: a balancer may have a bridge
// for them that is not busy. All that was sent is sent again.
func (s *Session) moveOn() {
	s.drawID()
	s.ep.SetID(s.id)
	s.exchanges.cancelAll(errMoved)
	s.ep.MarkLost(func(engine.LinkID, time.Duration) bool { return true })
}

var errMoved = errors.New("another bridge is looked for")

// lookElsewhere takes from a link's failure that the bridge for the session's ID is
// away: before the Welcome another ID may find another bridge. After it new RPCs
// leave one that drains, as if it had asked for that (E3).
func (s *Session) lookElsewhere(err error) {
	draining := errors.Is(err, ErrDraining)
	switch {
	case s.ep.Ended() != nil:
	case !s.welcomed() && (draining || errors.Is(err, ErrUnavailable)):
		s.moveOn()
	case draining:
		s.goAway(&wire.GoAway{SpreadMillis: moveSpread})
	}
}

// goAway has RPCs of which nothing was sent, and later ones, go to another session
// (E3).
func (s *Session) goAway(how *wire.GoAway) {
	if s.goingAway != nil {
		return
	}
	s.goingAway = how
	s.endUnsent(errGoingAway)
}

// errGoingAway is why a session that is going away takes no RPC.
var errGoingAway = &engine.Error{Reason: engine.ReasonDrained, Message: "the session takes no more RPCs", NotStarted: true}

// moveSpread is over how many milliseconds clients spread their move where the
// bridge does not say.
const moveSpread = 1000

// closed handles a refusal, or the session's end as the bridge states it.
func (s *Session) closed(b *wire.Batch) {
	why := engine.ErrorOf(b.Close)
	switch b.Close.Code {
	case wire.CodeGarbled, wire.CodeBusy, wire.CodeTooLarge:
		s.linkFailed(refused(b.Close))
		if b.Close.Code == wire.CodeBusy && !s.welcomed() {
			s.moves++
			s.moveOn()
		}
		return
	case wire.CodeUnknown:
		if s.incarnation != 0 && b.Incarnation&^engine.LivesMask != s.incarnation&^engine.LivesMask {
			why.Reason, why.Message = engine.ReasonRestarted, s.cfg.Bridge+" was restarted"
			break
		}
		why.Message = s.cfg.Bridge + " knows no such session any more"
	default:
		why.Message = s.cfg.Bridge + " ended it: " + why.Message
	}
	s.ep.Over(why)
}
