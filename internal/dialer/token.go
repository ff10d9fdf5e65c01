package dialer

import (
	"errors"
	"unicode/utf8"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// token is what a client knows of its credential (O5). Guarded by the endpoint's
// lock.
type token struct {
	value    string
	due      bool // the bridge may not have it yet: batches carry it
	fetching bool // the application is asked for another one
}

// fetchToken asks for the credential of the first batch. It reports false if there
// is none: the session is over then.
func (s *Session) fetchToken() bool {
	if s.cfg.Token == nil {
		return true
	}
	value, err := s.askToken()
	s.ep.Lock()
	if err != nil {
		s.ep.Over(&engine.Error{Reason: engine.ReasonUnauthenticated, Message: err.Error()})
	}
	s.token.value = value
	state := s.seen()
	s.ep.Unlock()
	if err != nil {
		s.report(state)
	}
	return err == nil
}

// askToken asks the application for a credential that can be sent.
func (s *Session) askToken() (string, error) {
	value, err := s.cfg.Token(s.ctx)
	if err == nil && !utf8.ValidString(value) {
		err = errors.New("the token is not UTF-8")
	}
	return value, err
}

// checkToken is called for each RPC's end: when the bridge takes no more RPCs on
// an expired token, new ones wait until there is another.
func (s *Session) checkToken(end *wire.End) {
	expired := end.Origin == wire.OriginBridge && end.Reason == engine.ReasonUnauthenticated
	if !expired || s.cfg.Token == nil || s.token.fetching {
		return
	}
	s.token.fetching = true
	for st := range s.ep.Unsent() {
		st.Wait(true)
	}
	s.tasks.Go(s.refreshToken)
}

func (s *Session) refreshToken() {
	value, err := s.askToken()
	s.ep.Lock()
	defer s.ep.Unlock()
	s.token.fetching = false
	switch {
	case s.ep.Ended() != nil:
		return
	case err != nil:
		s.cfg.Logger.Debug("token not refreshed", "session", s.ID(), "err", err)
	default:
		s.token = token{value: value, due: true}
		if l := s.link; l != nil && l.open && l.Pinged == 0 {
			l.ask(0) // its pong says that the bridge has the token
		}
	}
	s.releaseUnsent()
}

// tokenTaken notes that a batch was answered which carried a token.
func (s *Session) tokenTaken(value string) {
	if value == s.token.value {
		s.token.due = false
	}
}
