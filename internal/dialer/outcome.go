package dialer

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// done takes an exchange's outcome.
func (e *exchanges) done(x *exchange, body []byte, err error) {
	s := e.s
	s.ep.Lock()
	defer s.ep.Unlock()
	if !e.remove(x) || s.ep.Ended() != nil {
		return // abandoned before
	}
	now := s.ep.Now()
	defer s.ep.Wake()
	b := engine.NewBatch()
	defer engine.FreeBatch(b)
	if err == nil {
		err = wire.ParseBatch(body, b)
	}
	if err == nil && !e.isFor(x, b) {
		err = fmt.Errorf("an answer for another session or exchange")
	}
	if err != nil {
		e.lose(x)
		e.failed(x, err, now)
		return
	}
	if b.Close != nil {
		e.refusal(x, b, now)
		return
	}
	e.answered(x, b, len(body), now)
}

// isFor reports whether an answer is this exchange's (L4). A bridge that could not
// read the request cannot name it.
func (e *exchanges) isFor(x *exchange, b *wire.Batch) bool {
	if c := b.Close; c != nil && (c.Code == wire.CodeGarbled || c.Code == wire.CodeTooLarge) {
		return true
	}
	return string(b.Session) == string(e.s.id[:]) && b.X == x.id.Number
}

func (e *exchanges) remove(x *exchange) bool {
	for i, f := range e.inFlight {
		if f == x {
			e.inFlight = append(e.inFlight[:i:i], e.inFlight[i+1:]...)
			return true
		}
	}
	return false
}

// refusal handles an answer that says no.
func (e *exchanges) refusal(x *exchange, b *wire.Batch, now time.Duration) {
	e.lose(x)
	e.s.take(b, x.sent)
	switch b.Close.Code {
	case wire.CodeTooLarge:
		e.nextTry = now + tune.Jitter(firstRetry)
		e.uplink.OverLimit(x.size, int(b.Close.Limit))
		e.tooLong(x, b.Close.Message)
	case wire.CodeBusy:
		if s := e.s; !s.welcomed() && s.moves <= maxMoves {
			e.nextTry = now
			if s.moves > 1 {
				e.nextTry += tune.Jitter(firstRetry)
			}
			break
		}
		e.nextTry = now + max(time.Duration(b.Close.RetryAfterMillis)*time.Millisecond, e.retry.Next())
	default:
		e.nextTry = now + e.retry.Next()
	}
}

// answered takes a good answer of n bytes in.
func (e *exchanges) answered(x *exchange, b *wire.Batch, n int, now time.Duration) {
	s := e.s
	took := now - x.sent
	held := min(time.Duration(b.HeldMicros)*time.Microsecond, took)
	s.ep.Path.RTT(now, took-held)
	s.ep.Path.BodyPassed(now, max(x.size, n))
	e.up.Passed(now, x.size, x.up)
	e.down.Passed(now, n, x.down)
	e.pipelineNext = b.WaitingBytes > tune.MinPacedBody/2
	e.quickFailures, e.timeouts = 0, 0
	if b.Resend {
		s.ep.MarkLost(func(on engine.LinkID, _ time.Duration) bool { return !on.Kind.Lasting() && on.Number <= x.id.Number })
	}
	progress := len(b.Frames) > 0 || b.Ack > s.ep.AckedTo() || b.Ping != 0
	if x.proof {
		e.uplink.Proof(true)
	}
	if x.frames {
		e.upload.Passed(x.size, took-held)
		e.uplink.Passed(x.size, took-held)
	}
	for _, old := range e.inFlight {
		if old.id.Number < x.id.Number { // the bridge answers it at once (L1, L4)
			old.limit = min(old.limit, x.sent+s.ep.Path.AtLeast(3*time.Second, 4))
		}
	}
	s.tokenTaken(x.token)
	s.take(b, x.sent)
	s.reached(x.sent + held) // the bridge had this link for that long
	s.ladder.answered(x)
	if b.Ping != 0 {
		e.pong = b.Ping
		e.downlink.Proof()
	} else {
		e.downlink.Passed(n, took-held, len(b.Frames) > 0 || b.WaitingBytes > 0)
	}
	full := x.hold > 0 && held >= x.hold/2
	switch {
	case len(b.Frames) > 0:
		e.adaptiveHold = 0
	case full:
		e.adaptiveHold = max(e.adaptiveHold, 2*x.hold)
	}
	if full && x.hold >= e.hold.Hold {
		e.hold.Kept()
	}
	switch {
	case progress:
		e.retry.Reset()
		e.emptyBackoff.Reset()
		e.empty = 0
	case full:
		e.empty = 0
	case x.hold > 0 && !e.followed(x):
		if e.empty++; e.empty > 1 {
			e.nextTry = now + e.emptyBackoff.Next()
		}
	}
}

// followed reports whether a later exchange is in flight: the bridge answers the
// earlier one because of it (L1).
func (e *exchanges) followed(x *exchange) bool {
	return len(e.inFlight) > 0 && e.inFlight[len(e.inFlight)-1].id.Number > x.id.Number
}

// failed decides when to try again after a link error.
func (e *exchanges) failed(x *exchange, err error, now time.Duration) {
	s := e.s
	s.linkFailed(err)
	s.lookElsewhere(err)
	age := now - x.sent
	if x.hold > 0 && !x.frames && age >= tune.MinHold {
		e.hold.Cut(age)
	}
	if e.learn(x, err) {
		e.tooLong(x, err.Error())
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, wire.ErrGarbled) {
		e.downlink.Cut()
	} else {
		e.downlink.Failed(x.sent, now)
	}
	if age < quickFailure {
		e.quickFailures++
	} else {
		e.quickFailures = 0
	}
	e.retry.Max = maxRetry
	if e.quickFailures >= maxQuickFailures {
		e.retry.Max = maxRefusedRetry
	}
	if wait := e.wait(age, err); wait > 0 {
		e.nextTry = s.retryAt(now, wait)
	}
	s.ep.Wake()
}

// wait is how long to wait after a failure of an exchange of that age.
func (e *exchanges) wait(age time.Duration, err error) time.Duration {
	var wait time.Duration
	switch {
	case e.retry.Failures == 0 && age >= livedLong:
		e.retry.Failures++
	case e.retry.Failures == 0:
		e.retry.Failures++
		wait = tune.Jitter(firstRetry)
	default:
		wait = e.retry.Next()
	}
	if asked, ok := errors.AsType[retryAfter](err); ok {
		wait = max(wait, min(asked.RetryAfter(), mostRetryAfter))
	}
	return wait
}

// learn takes from a failure what it says of the request's length, and reports
// whether that was the cause. A break says too little to end the RPC of one frame.
func (e *exchanges) learn(x *exchange, err error) bool {
	switch {
	case x.proof:
		e.uplink.Proof(false)
	case !x.frames:
	case errors.Is(err, ErrTooLong):
		e.uplink.Refused(x.size)
		return true
	case x.only == 0 && errors.Is(err, ErrBroken):
		e.uplink.Broke(x.size)
	default:
		return e.uplink.Failed(x.size)
	}
	return false
}

// tooLong ends the RPC whose one frame is too long to get through.
func (e *exchanges) tooLong(x *exchange, why string) {
	if x.only > 0 {
		e.s.ep.FrameRefused(x.only, x.size, why)
	}
}

// retryAfter is an error of a Carrier that knows how long it was asked to wait.
type retryAfter interface {
	error
	RetryAfter() time.Duration
}

// mostRetryAfter is how long an intermediary is obeyed.
const mostRetryAfter = 10 * time.Second

// maxMoves is how often a session that a bridge has no room for looks for another
// at once.
const maxMoves = 8

// abandon drops every exchange in flight, as a failed link.
func (e *exchanges) abandon(why error) {
	e.cancelAll(why)
	e.s.linkFailed(why)
}

// cancelAll drops every exchange in flight.
func (e *exchanges) cancelAll(why error) {
	for _, x := range e.inFlight {
		x.cancel(why)
		e.lose(x)
	}
	e.inFlight = nil
}
