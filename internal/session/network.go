package session

import (
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
)

// Network is what a client has learnt of the way to its bridge.
type Network struct {
	Since          time.Time     // when it began to learn
	Hold           time.Duration // longest that an exchange is asked to be held
	UpBytes        int           // most bytes of a request
	DownBytes      int           // most bytes of an answer
	SocketBytes    int           // most bytes of a batch on a WebSocket
	SocketQuiet    time.Duration // longest that a WebSocket may be quiet
	NoSocketBefore time.Time     // a WebSocket failed, and none is tried before; zero: none did, or one works
	SocketError    error         // how it failed
}

// learntLife is how long a session believes what those before it have learnt.
const learntLife = 4 * time.Hour

// begin takes over what earlier sessions have learnt of exchanges, and of how
// long WebSockets may be quiet. Whether and how they work is tried anew.
func (c *clientSide) begin(learnt Network) {
	if learnt.Since.IsZero() || wallNow().Sub(learnt.Since.Round(0)) > learntLife {
		c.since = wallNow()
		return
	}
	c.since = learnt.Since
	e := &c.exchanges
	e.hold.Hold = min(e.hold.Hold, learnt.Hold)
	e.uplink.Size = min(e.uplink.Size, learnt.UpBytes)
	e.downlink.Size = learnt.DownBytes
	c.ladder.quiet = min(c.ladder.quiet, max(tune.MinHold, learnt.SocketQuiet))
}

// network is what the session has learnt.
func (c *clientSide) network() Network {
	e, l := &c.exchanges, &c.ladder
	n := Network{Since: c.since, Hold: e.hold.Hold, UpBytes: e.uplink.Size, DownBytes: e.downlink.Size, SocketBytes: c.s.batch.Size, SocketQuiet: l.quiet}
	if l.why != nil && !l.carries() {
		n.NoSocketBefore, n.SocketError = c.s.epoch.Add(l.nextDial), l.why
	}
	return n
}
