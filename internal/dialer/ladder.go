package dialer

import (
	"errors"
	"fmt"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/transport"
)

// ladder chooses what carries new frames: it opens a lasting link beside the
// exchanges, prefers it once it has proved itself, watches it, and goes back to
// exchanges when it falls silent. Guarded by the endpoint's lock.
type ladder struct {
	s          *Session
	kind       transport.Kind // of lasting links; 0: none is used
	dialing    int            // attempts under way
	dialedAt   time.Duration  // when the latest began
	nextDial   time.Duration
	retry      tune.Backoff
	lastError  error         // how the latest failed; nil: one carries frames
	suspicions int           // links suspected since the last pong
	quiet      time.Duration // how long a lasting link may be, until a ping: learnt
}

const (
	probeLimit    = 3 * time.Second  // from the dial to the last echo
	probePadding  = 4 << 10          // of the second probe
	muteLimit     = 10 * time.Second // after a ping: give the link up
	helloLimit    = 3 * time.Second  // for a Hello to be answered before another goes beside it
	maxDialing    = 2
	maxSuspicions = 3 // that double what a link has for its pong
	minDemotion   = 30 * time.Second
	maxDemotion   = 10 * time.Minute
	maxQuiet      = engine.PingAfter + 5*time.Second // by then the bridge's ping has come
)

func (l *ladder) init(s *Session) {
	l.s, l.kind, l.quiet = s, kindOf(s.cfg.Transports, true), maxQuiet
	l.retry = tune.Backoff{First: minDemotion, Max: maxDemotion, Factor: 2}
	if l.alone() {
		l.retry = tune.Backoff{First: minRetry, Max: maxRetry, Factor: 1.6}
	}
}

// alone reports whether there are no exchanges to fall back on.
func (l *ladder) alone() bool { return l.s.exchanges.kind == 0 }

// pingLimit is the time until a ping, and the time for its pong. Both, and half
// a round trip in which a frame of the bridge can follow the last that came, are
// what a direction has until another link opens: max(2 s, 3 × RTT), counted from
// the first frame that needs it (L4).
func (l *ladder) pingLimit() time.Duration {
	return (l.s.ep.Path.AtLeast(2*time.Second, 3) - l.s.ep.Path.SmoothedRTT()/2) / 2
}

// step dials and watches; it returns when to look again.
func (l *ladder) step(now time.Duration) time.Duration {
	if l.kind == 0 {
		return now + longest
	}
	if l.s.link != nil {
		return l.watch(now)
	}
	due := max(l.nextDial, l.helloDue())
	if l.dialing > 0 {
		due = l.secondDue()
	}
	if now < due {
		return due
	}
	l.dial(now)
	return now + longest
}

// dial opens a lasting link.
func (l *ladder) dial(now time.Duration) {
	l.dialing++
	l.dialedAt = now
	link := l.s.newLastingLink(now)
	l.s.tasks.Go(link.run)
	l.s.ep.Wake()
}

// secondDue returns when another attempt goes beside one that has no answer.
func (l *ladder) secondDue() time.Duration {
	if !l.alone() || l.dialing >= maxDialing {
		return l.dialedAt + longest
	}
	return l.dialedAt + l.s.ep.Path.AtLeast(helloLimit, 4)
}

// dialSoon tries a lasting link at once, because exchanges get no answer.
func (l *ladder) dialSoon(now time.Duration) { l.nextDial = min(l.nextDial, now) }

// helloDue is when a lasting link may be opened as far as the Welcome goes: at once
// when it came, when there are no exchanges to bring it or something else answers
// those; else when they had their time.
func (l *ladder) helloDue() time.Duration {
	if l.alone() || l.s.welcomed() || l.s.strangers > 0 {
		return 0
	}
	return l.s.reachedAt + helloLimit
}

// opened is called when the link's handshake is done.
func (l *ladder) opened(link *lastingLink) {
	if !l.alone() {
		link.probe(0)
		return
	}
	l.choose(link)
	if l.s.asking {
		link.ask(0)
	}
}

// proved is called for each pong; the second one ends the probe.
func (l *ladder) proved(link *lastingLink) {
	l.suspicions = 0
	if l.s.ep.Carries() {
		return
	}
	if link.probes == 1 {
		link.probe(probePadding)
		return
	}
	l.choose(link)
}

// choose moves new frames to the link (L3).
func (l *ladder) choose(link *lastingLink) {
	l.s.ep.Prefer(link.ID.Number)
	link.proven, l.lastError = true, nil
	l.s.state.Transport = l.kind
	l.s.restate()
	l.s.ep.Wake()
}

// leave moves new frames to exchanges.
func (l *ladder) leave() {
	if l.s.ep.Preferred() == 0 || l.alone() {
		return
	}
	l.s.ep.MarkLost(func(on engine.LinkID, _ time.Duration) bool { return on.Kind.Lasting() })
	l.s.ep.Prefer(0)
	l.s.state.Transport = l.s.exchanges.kind
	l.s.ep.Wake()
}

// watch looks for silence on the attached link.
func (l *ladder) watch(now time.Duration) time.Duration {
	link := l.s.link
	if l.alone() && !l.s.welcomed() {
		return l.suspect(link, now, link.openedAt, helloLimit, "the WebSocket opened, but no Welcome came")
	}
	if link.Pinged == 0 {
		link.suspectedAt = 0
		return l.pingIfQuiet(link, now)
	}
	if !link.proven {
		limit := link.dialedAt + l.s.ep.Path.AtLeast(probeLimit, 4)
		if now >= limit {
			link.fail(errors.New("the WebSocket opened, but its probe was not answered"))
		}
		return limit
	}
	return l.suspect(link, now, link.Pinged, l.pingLimit(), "the WebSocket was mute")
}

// pingIfQuiet asks for a sign of life when one is missing: frames are unacked,
// or nothing came for a while, a short one when a stream is open. The link keeps
// order, so that a pong clears all that was sent before its ping.
func (l *ladder) pingIfQuiet(link *lastingLink, now time.Duration) time.Duration {
	due := link.Heard + l.quiet
	if l.s.ep.NumStreams() > 0 {
		due = link.Heard + l.pingLimit()
	}
	oldest, waits := l.s.ep.OldestUnacked()
	if waits && l.s.ep.Carries() {
		due = min(due, max(oldest, link.clearTo)+l.pingLimit())
	}
	if now < due {
		return due
	}
	link.ask(0)
	if waits {
		link.behind = l.s.ep.SentTo()
	}
	return now + l.pingLimit()
}

// suspect handles a lasting link whose answer is late: after a while another link
// opens beside it, after a while more it is given up. Where one suspicion
// follows another, the network may only be slow: it gets more time.
func (l *ladder) suspect(link *lastingLink, now, since, timeout time.Duration, what string) time.Duration {
	allowed := tune.UploadTime(link.BytesInFlight(), l.s.ep.Path.Rate())
	limit := since + muteLimit + allowed
	if now >= limit {
		link.fail(fmt.Errorf("%s for %v", what, (now - since).Round(time.Millisecond)))
		return now
	}
	if link.suspectedAt > 0 {
		return limit
	}
	if due := since + timeout<<min(l.suspicions, maxSuspicions) + allowed; now < due {
		return min(due, limit)
	}
	link.suspectedAt = now
	l.suspicions++
	l.openSecondLink(now)
	return limit
}

// openSecondLink opens another link beside a suspected one.
func (l *ladder) openSecondLink(now time.Duration) {
	switch {
	case l.alone():
		if l.dialing == 0 {
			l.dial(now)
		}
	case l.s.ep.Carries():
		l.s.exchanges.probeNow = true
		l.s.ep.Wake()
	}
}

// answered is called when an exchange was answered: frames leave a link that was
// suspected when the exchange began. One on which frames come, and got through
// too, as the answer says, is cleared: its pong only waits in a queue.
func (l *ladder) answered(x *exchange) {
	link := l.s.link
	if link == nil || link.suspectedAt == 0 || x.sent < link.suspectedAt || !l.s.ep.Carries() {
		return
	}
	if link.behind > 0 && l.s.ep.AckedTo() >= link.behind && link.Heard > link.Pinged {
		link.clear()
		return
	}
	l.lastError = errMute
	l.leave()
}

var errMute = errors.New("the WebSocket is mute")

// ended learns from the end of a link how long another one may be quiet: not as
// long as this one was. One that was quiet for longer than until the
// bridge's ping may have been dead since any time before it.
func (l *ladder) ended(link *lastingLink, now time.Duration) {
	if link.Pinged > 0 {
		now = link.Pinged
	}
	if quiet := min(now-link.Heard, engine.PingAfter); link.proven && quiet >= tune.MinHold {
		l.quiet = min(l.quiet, max(tune.MinHold, quiet*7/10))
	}
}

// lost is called when a lasting link, or the attempt at one, is gone.
func (l *ladder) lost(link *lastingLink, err error, now time.Duration) {
	if !link.open {
		l.dialing--
	}
	l.ended(link, now)
	l.s.linkFailed(err)
	l.lastError = err
	proven := l.s.ep.Carries() && link == l.s.link && link.suspectedAt == 0
	if l.s.link == link {
		l.s.ep.Detach(&link.Lasting)
		l.leave()
		l.s.link = nil
	}
	l.s.ep.MarkLost(func(on engine.LinkID, _ time.Duration) bool { return on == link.ID })
	l.s.lookElsewhere(err)
	switch {
	case !l.s.welcomed() && !l.alone():
		l.nextDial = now + helloLimit
	case proven && link.useful && l.alone():
		l.retry.Reset()
		l.nextDial = now
	case proven && link.Heard > link.openedAt:
		l.retry.Reset()
		l.nextDial = now + tune.Jitter(firstRetry)
	case l.alone():
		l.nextDial = l.s.retryAt(now, max(l.retry.Next(), l.retry.First/2))
	default:
		l.nextDial = now + max(l.retry.Next(), l.retry.First/2)
	}
	l.s.ep.Wake()
}
