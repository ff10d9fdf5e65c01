package session

import (
	"github.com/pollbridge/pollbridge/internal/wire"
)

// token is what a client knows of its credential (O5). Guarded by Session.mu.
type token struct {
	value    string
	due      bool // the bridge may not have it yet: batches carry it
	fetching bool // the application is asked for another one
}

// fetchToken asks for the credential of the first batch.
func (c *clientSide) fetchToken() bool {
	if c.cfg.Token == nil {
		return true
	}
	value, err := c.cfg.Token(c.ctx)
	c.s.mu.Lock()
	defer c.s.unlock()
	if err != nil {
		c.s.over(&Error{Reason: ReasonUnauthenticated, Message: err.Error()})
		c.tell(c.state)
		return false
	}
	c.token.value = value
	return true
}

// refused is called for each RPC's end: the bridge takes no more RPCs on an
// expired token. New ones wait until there is another.
func (c *clientSide) refused(end *wire.End) {
	expired := end.Origin == wire.OriginBridge && end.Reason == ReasonUnauthenticated
	if !expired || c.cfg.Token == nil || c.token.fetching {
		return
	}
	c.token.fetching = true
	c.tasks.Go(c.refreshToken)
}

func (c *clientSide) refreshToken() {
	value, err := c.cfg.Token(c.ctx)
	c.s.mu.Lock()
	defer c.s.unlock()
	c.token.fetching = false
	switch {
	case c.s.err != nil:
		return
	case err != nil:
		c.cfg.Logger.Debug("no fresh token", "session", c.s.sid)
	default:
		c.token = token{value: value, due: true}
		if so := c.socket; so != nil && so.open && so.pinged == 0 {
			so.ask(0) // its pong tells that the bridge has the token
		}
	}
	c.releaseUnsent()
}

// tokenTaken notes that a batch was answered which carried a token.
func (c *clientSide) tokenTaken(value string) {
	if value == c.token.value {
		c.token.due = false
	}
}
