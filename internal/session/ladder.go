package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/pollbridge/pollbridge/transport"
)

// ladder chooses the transport: it opens a WebSocket beside the exchanges,
// prefers it once it proved itself, watches it, and goes back to exchanges
// when it falls silent. Guarded by Session.mu.
type ladder struct {
	c        *clientSide
	prefer   uint64 // x of the WebSocket that carries new frames; 0: exchanges
	dialing  bool
	nextDial time.Duration
	retry    backoff
}

const (
	probeLimit   = 3 * time.Second  // from the dial to the last echo
	probePadding = 4 << 10          // of the second probe
	pingPause    = 5 * time.Second  // without inbound bytes while a stream is open
	muteSuspect  = 2 * time.Second  // after a ping: open an exchange beside
	muteLimit    = 10 * time.Second // after a ping: give the WebSocket up
	helloAlone   = 3 * time.Second  // for exchanges to bring the Welcome
	demoteFirst  = 30 * time.Second
	demoteMost   = 10 * time.Minute
)

func (l *ladder) init(c *clientSide) {
	l.c = c
	l.retry = backoff{first: demoteFirst, most: demoteMost, factor: 2}
	if l.forced() {
		l.retry = backoff{first: retryFirst, most: retryMost, factor: 1.6}
	}
}

// forced tells that there are no exchanges to fall back on.
func (l *ladder) forced() bool { return !l.c.longpoll }

// carries tells that a WebSocket takes new frames.
func (l *ladder) carries() bool {
	return l.c.socket != nil && l.prefer != 0 && l.prefer == l.c.socket.x
}

// step dials and watches; it tells when to look again.
func (l *ladder) step(now time.Duration) time.Duration {
	c := l.c
	if !c.ws {
		return now + longest
	}
	if c.socket != nil {
		return l.watch(now)
	}
	if l.dialing {
		return now + longest
	}
	if due := max(l.nextDial, l.helloDue()); now < due {
		return due
	}
	l.dialing = true
	so := newClientSocket(c, now)
	c.tasks.Go(so.run)
	return now + longest
}

// helloDue is when a WebSocket may be opened for all that the Welcome says: at
// once when it came, or there are no exchanges to bring it; else when those had
// their time.
func (l *ladder) helloDue() time.Duration {
	if l.forced() || l.c.welcomed() {
		return 0
	}
	return l.c.goodAt + helloAlone
}

// opened is called when the WebSocket's handshake is done.
func (l *ladder) opened(so *clientSocket) {
	if l.forced() {
		l.choose(so)
		return
	}
	so.probe(0)
}

// proved is called for each pong; the second one ends the probe.
func (l *ladder) proved(so *clientSocket) {
	if l.carries() {
		return
	}
	if so.probes == 1 {
		so.probe(probePadding)
		return
	}
	l.choose(so)
}

// choose moves new frames to the WebSocket (L3).
func (l *ladder) choose(so *clientSocket) {
	l.prefer, so.proven = so.x, true
	l.c.state.Transport = transport.WS
	l.c.restate()
	l.c.s.wake()
}

// leave moves new frames to exchanges.
func (l *ladder) leave() {
	if l.prefer == 0 || l.forced() {
		return
	}
	l.c.s.out.markLost(func(f *sentFrame) bool { return f.on.ws })
	l.prefer = 0
	l.c.state.Transport = transport.Longpoll
	l.c.s.wake()
}

// watch looks for silence on the attached WebSocket.
func (l *ladder) watch(now time.Duration) time.Duration {
	c := l.c
	so := c.socket
	path := &c.s.path
	if !so.open {
		return so.begun + probeLimit + pongLimit
	}
	if l.forced() && !c.welcomed() {
		limit := so.heard + muteLimit
		if now >= limit {
			so.fail(errors.New("the WebSocket opened, but no Welcome came"))
		}
		return limit
	}
	if so.pinged == 0 {
		return l.pingIfQuiet(so, now)
	}
	silent := max(so.pinged, so.heard)
	if !so.proven {
		limit := so.begun + path.atLeast(probeLimit, 4)
		if now >= limit {
			so.fail(errors.New("the WebSocket opened, but its probe was not answered"))
		}
		return limit
	}
	if l.forced() {
		limit := silent + path.atLeast(probeLimit, 4)
		if now >= limit {
			so.fail(fmt.Errorf("the WebSocket was mute for %v", (now - silent).Round(time.Millisecond)))
		}
		return limit
	}
	return l.doubt(so, now, silent)
}

// pingIfQuiet asks for a sign of life when one is missing: frames are unacked,
// or a stream is open and nothing came for a while.
func (l *ladder) pingIfQuiet(so *clientSocket, now time.Duration) time.Duration {
	s := l.c.s
	due := now + longest
	if len(s.streams) > 0 {
		due = so.heard + pingPause
	}
	if oldest, waits := s.out.oldestSent(); waits {
		due = min(due, max(oldest, so.heard)+s.path.atLeast(time.Second, 2))
	}
	if now < due {
		return due
	}
	so.ask(0)
	return now + s.path.atLeast(muteSuspect, 3)
}

// doubt handles a WebSocket that owes a pong.
func (l *ladder) doubt(so *clientSocket, now, silent time.Duration) time.Duration {
	suspect := silent + l.c.s.path.atLeast(muteSuspect, 3)
	if now < suspect {
		return suspect
	}
	if now >= silent+muteLimit {
		so.fail(fmt.Errorf("the WebSocket was mute for %v", (now - silent).Round(time.Millisecond)))
		return now
	}
	if !so.doubted && l.carries() {
		so.doubted = true
		l.c.exchanges.asked = true
		l.c.s.wake()
	}
	return silent + muteLimit
}

// answered is called when an exchange was answered: frames leave a WebSocket
// that is in doubt.
func (l *ladder) answered() {
	if so := l.c.socket; so != nil && so.doubted && l.carries() {
		l.leave()
	}
}

// lost is called when the WebSocket, or the attempt at one, is gone.
func (l *ladder) lost(so *clientSocket, err error, now time.Duration) {
	c := l.c
	l.dialing = false
	c.weather(err)
	proven := l.carries() && so.x == l.prefer && !so.doubted
	l.leave()
	if c.socket == so {
		c.socket = nil
	}
	c.s.out.markLost(func(f *sentFrame) bool { return f.on == carriage{x: so.x, ws: true} })
	switch {
	case !c.welcomed() && !l.forced():
		l.nextDial = now + helloAlone
	case proven && so.heard > so.begun:
		l.retry.reset()
		l.nextDial = now + jitter(soonAfter)
	default:
		l.nextDial = now + max(l.retry.next(), l.retry.first/2)
	}
	c.s.wake()
}
