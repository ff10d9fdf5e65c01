package dialer

import (
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
)

// Network is what a session has learnt of the network between it and its bridge.
type Network struct {
	// Since is when the first session began to learn.
	Since time.Time
	// Hold is how long a poll may be held. It shrinks when polls are cut.
	Hold time.Duration
	// UpBytes and DownBytes are the longest bodies of requests and responses.
	UpBytes   int
	DownBytes int
	// SocketBytes is the longest message on a WebSocket.
	SocketBytes int
	// SocketQuiet is how long a WebSocket is idle before the client pings it: 20 s,
	// by which time the bridge has pinged, and less after one died idle.
	SocketQuiet time.Duration
	// NoSocketBefore is when the next WebSocket may be tried after one failed with
	// SocketError. They are zero and nil while one carries frames, or if none has
	// failed.
	NoSocketBefore time.Time
	SocketError    error
}

// learntLife is how long a session believes what those before it have learnt.
const learntLife = 4 * time.Hour

// recall takes over what earlier sessions have learnt of exchanges, and of how
// long lasting links may be quiet. Whether and how those work is tried anew.
func (s *Session) recall(learnt Network) {
	if learnt.Since.IsZero() || wallNow().Sub(learnt.Since.Round(0)) > learntLife {
		s.learntSince = wallNow()
		return
	}
	s.learntSince = learnt.Since
	e := &s.exchanges
	e.hold.Hold = min(e.hold.Hold, learnt.Hold)
	e.uplink.Size = min(e.uplink.Size, learnt.UpBytes)
	e.downlink.Size = learnt.DownBytes
	s.ladder.quiet = min(s.ladder.quiet, max(tune.MinHold, learnt.SocketQuiet))
}

// network returns what the session has learnt.
func (s *Session) network() Network {
	e, l := &s.exchanges, &s.ladder
	n := Network{
		Since: s.learntSince, Hold: e.hold.Hold, UpBytes: e.uplink.Learnt(), DownBytes: e.downlink.Size,
		SocketBytes: s.ep.LastingBatch(), SocketQuiet: l.quiet,
	}
	if l.lastError != nil && !s.ep.Carries() {
		n.NoSocketBefore, n.SocketError = s.ep.Time(l.nextDial), l.lastError
	}
	return n
}
