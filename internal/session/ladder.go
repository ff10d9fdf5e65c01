package session

import (
	"errors"
	"fmt"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/transport"
)

// ladder chooses the transport: it opens a WebSocket beside the exchanges,
// prefers it once it proved itself, watches it, and goes back to exchanges
// when it falls silent. Guarded by Session.mu.
type ladder struct {
	c        *clientSide
	prefer   uint64        // x of the WebSocket that carries new frames; 0: exchanges
	dialing  int           // attempts under way
	dialedAt time.Duration // when the latest began
	nextDial time.Duration
	retry    tune.Backoff
	why      error         // how the latest failed; nil: one carries
	alarms   int           // WebSockets in doubt since the last pong
	quiet    time.Duration // of a WebSocket, until a ping: learnt
}

const (
	probeLimit   = 3 * time.Second  // from the dial to the last echo
	probePadding = 4 << 10          // of the second probe
	muteLimit    = 10 * time.Second // after a ping: give the WebSocket up
	helloAlone   = 3 * time.Second  // for a Hello to be answered before another goes beside it
	maxDialing   = 2
	maxAlarms    = 3 // double what a WebSocket has for its answer
	demoteFirst  = 30 * time.Second
	demoteMost   = 10 * time.Minute
	quietMost    = pingAfter + 5*time.Second // by then the bridge's ping has come
)

func (l *ladder) init(c *clientSide) {
	l.c, l.quiet = c, quietMost
	l.retry = tune.Backoff{First: demoteFirst, Max: demoteMost, Factor: 2}
	if l.forced() {
		l.retry = tune.Backoff{First: retryFirst, Max: retryMost, Factor: 1.6}
	}
}

// forced tells that there are no exchanges to fall back on.
func (l *ladder) forced() bool { return !l.c.longpoll }

// carries tells that a WebSocket takes new frames.
func (l *ladder) carries() bool {
	return l.c.socket != nil && l.prefer != 0 && l.prefer == l.c.socket.x
}

// patience is the time until a ping, and the time for its pong. Both, and half
// a round trip in which a frame of the bridge can follow the last that came, are
// what a direction has until another link opens: max(2 s, 3 × RTT), counted from
// the first frame that needs it (L4).
func (l *ladder) patience() time.Duration {
	return (l.c.s.path.AtLeast(2*time.Second, 3) - l.c.s.path.SmoothedRTT()/2) / 2
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
	due := max(l.nextDial, l.helloDue())
	if l.dialing > 0 {
		due = l.besideDue()
	}
	if now < due {
		return due
	}
	l.dial(now)
	return now + longest
}

// dial opens a WebSocket.
func (l *ladder) dial(now time.Duration) {
	l.dialing++
	l.dialedAt = now
	so := newClientSocket(l.c, now)
	l.c.tasks.Go(so.run)
	l.c.s.wake()
}

// besideDue is when another attempt goes beside one that has no answer.
func (l *ladder) besideDue() time.Duration {
	if !l.forced() || l.dialing >= maxDialing {
		return l.dialedAt + longest
	}
	return l.dialedAt + l.c.s.path.AtLeast(helloAlone, 4)
}

// urge tries a WebSocket at once, because exchanges get no answer.
func (l *ladder) urge(now time.Duration) { l.nextDial = min(l.nextDial, now) }

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
	l.alarms = 0
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
	l.prefer, so.proven, l.why = so.x, true, nil
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
	if l.forced() && !c.welcomed() {
		return l.doubt(so, now, so.opened, helloAlone, "the WebSocket opened, but no Welcome came")
	}
	if so.pinged == 0 {
		so.doubted = 0
		return l.pingIfQuiet(so, now)
	}
	if !so.proven {
		limit := so.begun + c.s.path.AtLeast(probeLimit, 4)
		if now >= limit {
			so.fail(errors.New("the WebSocket opened, but its probe was not answered"))
		}
		return limit
	}
	return l.doubt(so, now, so.pinged, l.patience(), "the WebSocket was mute")
}

// pingIfQuiet asks for a sign of life when one is missing: frames are unacked,
// or nothing came for a while, a short one when a stream is open. The WebSocket
// keeps order, so that a pong clears all that was sent before its ping.
func (l *ladder) pingIfQuiet(so *clientSocket, now time.Duration) time.Duration {
	s := l.c.s
	due := so.heard + l.quiet
	if len(s.streams) > 0 {
		due = so.heard + l.patience()
	}
	oldest, waits := s.out.oldestSent()
	if waits && l.carries() {
		due = min(due, max(oldest, so.clear)+l.patience())
	}
	if now < due {
		return due
	}
	so.ask(0)
	if waits {
		so.behind = s.out.lastSeq()
	}
	return now + l.patience()
}

// doubt handles a WebSocket that owes an answer: after a while another link
// opens beside it, after a while more it is given up. Where one doubt follows
// another, the network may only be slow: it gets more time.
func (l *ladder) doubt(so *clientSocket, now, since, patience time.Duration, what string) time.Duration {
	allowed := tune.UploadTime(so.flying, l.c.s.path.Rate())
	limit := since + muteLimit + allowed
	if now >= limit {
		so.fail(fmt.Errorf("%s for %v", what, (now - since).Round(time.Millisecond)))
		return now
	}
	if so.doubted > 0 {
		return limit
	}
	if due := since + patience<<min(l.alarms, maxAlarms) + allowed; now < due {
		return min(due, limit)
	}
	so.doubted = now
	l.alarms++
	l.beside(now)
	return limit
}

// beside opens another link beside a WebSocket in doubt.
func (l *ladder) beside(now time.Duration) {
	switch {
	case l.forced():
		if l.dialing == 0 {
			l.dial(now)
		}
	case l.carries():
		l.c.exchanges.asked = true
		l.c.s.wake()
	}
}

// answered is called when an exchange was answered: frames leave a WebSocket
// that was in doubt when it began, but for one on which frames come, and got
// through too, as the answer says: its pong only waits in a queue.
func (l *ladder) answered(x *exchange) {
	so := l.c.socket
	if so == nil || so.doubted == 0 || x.sent < so.doubted || !l.carries() {
		return
	}
	if so.behind > 0 && l.c.s.out.acked >= so.behind && so.heard > so.pinged {
		so.clear, so.pinged, so.ping, so.doubted = so.pinged, 0, 0, 0
		return
	}
	l.why = errMute
	l.leave()
}

var errMute = errors.New("the WebSocket is mute")

// ended learns from the end of a WebSocket how long another one may be quiet:
// not as long as this one was. One that was quiet for longer than until the
// bridge's ping may have been dead since any time before it.
func (l *ladder) ended(so *clientSocket, now time.Duration) {
	if so.pinged > 0 {
		now = so.pinged
	}
	if quiet := min(now-so.heard, pingAfter); so.proven && quiet >= tune.MinHold {
		l.quiet = min(l.quiet, max(tune.MinHold, quiet*7/10))
	}
}

// lost is called when the WebSocket, or the attempt at one, is gone.
func (l *ladder) lost(so *clientSocket, err error, now time.Duration) {
	c := l.c
	if !so.open {
		l.dialing--
	}
	l.ended(so, now)
	c.weather(err)
	l.why = err
	proven := l.carries() && so.x == l.prefer && so.doubted == 0
	if so.flying > 0 {
		c.s.batch.Failed()
	}
	if c.socket == so {
		l.leave()
		c.socket = nil
	}
	c.s.out.markLost(func(f *sentFrame) bool { return f.on == carriage{x: so.x, ws: true} })
	switch {
	case !c.welcomed() && !l.forced():
		l.nextDial = now + helloAlone
	case proven && so.useful && l.forced():
		l.retry.Reset()
		l.nextDial = now
	case proven && so.heard > so.opened:
		l.retry.Reset()
		l.nextDial = now + tune.Jitter(soonAfter)
	case l.forced():
		l.nextDial = c.retryAt(now, max(l.retry.Next(), l.retry.First/2))
	default:
		l.nextDial = now + max(l.retry.Next(), l.retry.First/2)
	}
	c.s.wake()
}
