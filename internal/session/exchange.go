package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// exchange is one exchange of the client that is in flight.
type exchange struct {
	x      uint64
	sent   time.Duration
	limit  time.Duration // when it has failed
	hold   time.Duration // what was asked for
	size   int           // bytes of the request
	frames bool          // it carries frames
	token  string        // what it carries; empty: none
	hello  bool          // it asks for the Welcome and nothing else
	proof  bool          // frames wait for it to get through
	up     tune.Passage  // what had got through each way when it was sent
	down   tune.Passage
	cancel context.CancelCauseFunc
}

// exchanges schedules the client's exchanges. Guarded by Session.mu.
type exchanges struct {
	c        *clientSide
	workers  workers[request]
	flying   []*exchange // at most two, in order of x
	nextTry  time.Duration
	retry    tune.Backoff
	empties  tune.Backoff
	empty    int // empty answers in a row (L7)
	refused  int // exchanges refused at once, in a row
	overdue  int // exchanges that had no answer in time, in a row
	hold     tune.Hold
	calm     time.Duration // longest hold worth asking for: grows while nothing comes
	uplink   tune.Uplink
	downlink tune.Batch
	up, down tune.Pace
	more     bool // one short answer after another is to come
	upload   tune.Upload
	asked    bool // an exchange is wanted whose answer comes at once: something is mute
}

const (
	maxFlying    = 2
	ackAlone     = 64 << 10 // what is owed before an ack goes alone
	retryFirst   = 100 * time.Millisecond
	retryMost    = 5 * time.Second
	refusedMost  = 30 * time.Second
	refusedTimes = 3
	refusedAge   = 200 * time.Millisecond
	soonAfter    = 250 * time.Millisecond
	livedLong    = time.Second
)

func (e *exchanges) init(c *clientSide) {
	e.c = c
	e.workers.work, e.workers.wait = e.carry, 2
	e.retry = tune.Backoff{First: retryFirst, Max: retryMost, Factor: 1.6}
	e.empties = tune.Backoff{First: retryFirst, Max: retryMost, Factor: 2}
	e.hold = tune.Hold{Hold: c.cfg.Hold, Max: c.cfg.Hold}
	e.uplink = tune.Uplink{Size: tune.FirstBatch, Max: tune.MaxBatch}
	e.downlink = tune.Batch{Size: tune.MaxBatch, Max: tune.MaxBatch}
}

// awaiting is the lowest exchange that the client waits for (L2).
func (e *exchanges) awaiting() uint64 {
	if len(e.flying) > 0 {
		return e.flying[0].x
	}
	return e.c.nextX
}

// step abandons what is overdue, begins what is due and tells when to look
// again.
func (e *exchanges) step(now time.Duration) time.Duration {
	e.expire(now)
	for e.due(now) {
		e.begin(now)
	}
	next := now + longest
	if len(e.flying) < maxFlying {
		if !e.c.welcomed() && len(e.flying) > 0 {
			next = e.helloDue()
		}
		if e.wanted() && now < e.nextTry {
			next = e.nextTry
		}
	}
	for _, x := range e.flying {
		next = min(next, x.limit, e.pressing(x))
	}
	return max(next, now+time.Millisecond)
}

// expire abandons exchanges that have failed, and older ones with them (L5).
func (e *exchanges) expire(now time.Duration) {
	for i := len(e.flying) - 1; i >= 0; i-- {
		x := e.flying[i]
		if now < x.limit {
			continue
		}
		err := fmt.Errorf("exchange %d had no answer for %v", x.x, (now - x.sent).Round(time.Millisecond))
		for _, old := range e.flying[:i+1] {
			old.cancel(err)
			e.lose(old)
		}
		e.flying = e.flying[i+1:]
		e.overdue++
		e.asked = e.asked || e.c.welcomed() && (x.frames || len(e.c.s.streams) > 0)
		e.failed(x, err, now)
		e.c.ladder.urge(now)
		return
	}
	e.makeRoom(now)
}

// pressing is when an exchange with frames counts as held up: a parked poll of
// ours may be what it waits for (L5).
func (e *exchanges) pressing(x *exchange) time.Duration {
	if !x.frames || len(e.flying) < 2 || e.flying[0].frames {
		return x.limit
	}
	return x.sent + e.c.s.path.AtLeast(500*time.Millisecond, 2)
}

// makeRoom aborts the parked poll that may hold up an exchange with frames.
func (e *exchanges) makeRoom(now time.Duration) {
	if len(e.flying) < 2 {
		return
	}
	if last := e.flying[len(e.flying)-1]; now >= e.pressing(last) && last.frames && !e.flying[0].frames {
		e.flying[0].cancel(errMadeRoom)
		e.lose(e.flying[0])
		e.flying = e.flying[1:]
	}
}

var errMadeRoom = errors.New("aborted to make room")

// lose makes the frames of an exchange be sent again.
func (e *exchanges) lose(x *exchange) {
	on := carriage{x: x.x}
	e.c.s.out.markLost(func(f *sentFrame) bool { return f.on == on })
	e.c.restate()
}

// wanted tells that there is a reason for one more exchange.
func (e *exchanges) wanted() bool {
	c, s := e.c, e.c.s
	if !c.longpoll {
		return false
	}
	if !c.welcomed() {
		return e.wantsWelcome()
	}
	if e.asked {
		return true
	}
	if c.ladder.carries() {
		return false
	}
	if s.out.sendable() || s.asksNow() {
		return true
	}
	return e.more || len(e.flying) == 0 && (len(s.streams) > 0 || s.in.owed > ackAlone)
}

// wantsWelcome tells whether to ask for the Welcome, or send early RPCs (O4).
// What has had no answer for a while is left to it: a way that is only slow
// must not be cut off again and again.
func (e *exchanges) wantsWelcome() bool {
	if len(e.flying) == 0 || e.c.s.out.sendable() || e.c.s.now() >= e.helloDue() {
		return true
	}
	for _, x := range e.flying {
		if x.hello {
			return false
		}
	}
	return len(e.c.unsent) > 0
}

// helloDue is when another Hello goes beside one that has no answer.
func (e *exchanges) helloDue() time.Duration { return e.flying[len(e.flying)-1].sent + helloAlone }

func (e *exchanges) due(now time.Duration) bool {
	return len(e.flying) < maxFlying && now >= e.nextTry && e.c.s.err == nil && !e.proving() && e.wanted()
}

// proving tells that frames wait for an exchange without any to get through.
func (e *exchanges) proving() bool {
	return slices.ContainsFunc(e.flying, func(x *exchange) bool { return x.proof })
}

// begin sends one exchange.
func (e *exchanges) begin(now time.Duration) {
	c, s := e.c, e.c.s
	x := &exchange{x: c.nextX, sent: now, up: e.up.Passage, down: e.down.Passage}
	if len(e.flying) == 0 { // what passed before took no time of this
		x.up.At, x.down.At = now, now
	}
	c.nextX++
	e.flying = append(e.flying, x)
	frames := s.out.sendable() && !c.ladder.carries()
	if frames {
		e.calm = 0
		x.proof = e.uplink.WantsProof()
		frames = !x.proof
	}
	most := e.up.MaxBody(e.uplink.Size, &s.path)
	paced := frames && most < e.uplink.Size && s.out.ready > most // its ack is waited for
	if (frames || c.welcomed() && !x.proof) && !paced {
		x.hold = e.holdFor()
	}
	x.hello = !c.welcomed() && !frames
	e.asked = false
	h := c.header(x.x)
	x.token = h.Token
	h.Session, h.Key = s.id[:], s.key[:]
	h.HoldMillis, h.MaxBytes = millis(x.hold), uint32(e.down.MaxBody(e.downlink.Size, &s.path))
	b := &s.building
	b.Begin(nil, &h)
	if frames {
		s.filler(b, carriage{x: x.x}, most, unlimited).fill()
	}
	x.frames = b.Frames() > 0
	batch := b.Finish()
	x.size = len(batch)
	x.limit = now + e.patience(x)
	ctx, cancel := context.WithCancelCause(c.ctx)
	x.cancel = cancel
	e.workers.run(request{x: x, ctx: ctx, batch: batch})
}

// shortHold is how long an exchange is held while something is expected, but a
// round trip's part of it is enough to find a dead direction in time (L4).
const shortHold = 1500 * time.Millisecond

// holdFor is how long the next exchange may be held: not at all when a sign of
// life is wanted, as long as it was quiet before else.
func (e *exchanges) holdFor() time.Duration {
	if e.asked {
		return 0
	}
	hold := min(max(e.calm, e.c.s.path.AtLeast(shortHold, 2)), e.hold.Hold)
	if w := e.c.welcome; w != nil {
		hold = min(hold, time.Duration(w.HoldMillis)*time.Millisecond)
	}
	return hold
}

// patience is how long an exchange may take. One after another without an
// answer gets more.
func (e *exchanges) patience(x *exchange) time.Duration {
	path := &e.c.s.path
	most := path.AtLeast(10*time.Second, 4)
	least := most
	if e.c.welcomed() {
		least = min(path.AtLeast(3*time.Second, 4)<<min(e.overdue, 2), most)
	}
	hold := x.hold
	if x.frames {
		hold = min(hold, heldWithFrames)
	}
	return max(least, hold+min(hold, most)) + e.upload.Time(x.size)
}

// done takes an exchange's outcome.
func (e *exchanges) done(x *exchange, body []byte, err error) {
	s := e.c.s
	s.mu.Lock()
	defer s.unlock()
	if !e.remove(x) || s.err != nil {
		return // abandoned before
	}
	now := s.now()
	defer s.wake()
	b := newBatch()
	defer freeBatch(b)
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

// isFor tells whether an answer is this exchange's (L4). A bridge that could not
// read the request cannot name it.
func (e *exchanges) isFor(x *exchange, b *wire.Batch) bool {
	if c := b.Close; c != nil && (c.Code == wire.CodeGarbled || c.Code == wire.CodeTooLarge) {
		return true
	}
	return string(b.Session) == string(e.c.s.id[:]) && b.X == x.x
}

func (e *exchanges) remove(x *exchange) bool {
	for i, f := range e.flying {
		if f == x {
			e.flying = append(e.flying[:i:i], e.flying[i+1:]...)
			return true
		}
	}
	return false
}

// refusal handles an answer that says no.
func (e *exchanges) refusal(x *exchange, b *wire.Batch, now time.Duration) {
	e.lose(x)
	e.c.take(b, x.sent)
	switch b.Close.Code {
	case wire.CodeTooLarge:
		e.nextTry = now + tune.Jitter(soonAfter)
		e.uplink.OverLimit(x.size, int(b.Close.Limit))
	case wire.CodeBusy:
		e.nextTry = now + max(time.Duration(b.Close.RetryAfterMillis)*time.Millisecond, e.retry.Next())
	default:
		e.nextTry = now + e.retry.Next()
	}
}

// answered takes a good answer of n bytes in.
func (e *exchanges) answered(x *exchange, b *wire.Batch, n int, now time.Duration) {
	c, s := e.c, e.c.s
	took := now - x.sent
	held := min(time.Duration(b.HeldMicros)*time.Microsecond, took)
	s.path.RTT(now, took-held)
	s.path.BodyPassed(now, max(x.size, n))
	e.up.Passed(now, x.size, x.up)
	e.down.Passed(now, n, x.down)
	e.more = b.WaitingBytes > tune.MinPacedBody/2 && e.down.MaxBody(e.downlink.Size, &s.path) < e.downlink.Size
	e.refused, e.overdue = 0, 0
	if b.Resend {
		s.out.markLost(func(f *sentFrame) bool { return !f.on.ws && f.on.x <= x.x })
	}
	progress := len(b.Frames) > 0 || b.Ack > s.out.acked
	if x.proof {
		e.uplink.Proof(true)
	}
	if x.frames {
		e.upload.Passed(x.size, took-held)
		e.uplink.Passed(x.size, took-held)
	}
	for _, old := range e.flying {
		if old.x < x.x { // the bridge answers it at once (L1, L4)
			old.limit = min(old.limit, x.sent+s.path.AtLeast(3*time.Second, 4))
		}
	}
	c.tokenTaken(x.token)
	c.take(b, x.sent)
	c.good(x.sent + held) // the bridge had this link for that long
	c.ladder.answered(x)
	e.downlink.Passed(len(b.Frames)*wire.MaxFragment, took-held)
	full := x.hold > 0 && held >= x.hold/2
	switch {
	case len(b.Frames) > 0:
		e.calm = 0
	case full:
		e.calm = max(e.calm, 2*x.hold)
	}
	if full && x.hold >= e.hold.Hold {
		e.hold.Kept()
	}
	switch {
	case progress:
		e.retry.Reset()
		e.empties.Reset()
		e.empty = 0
	case full:
		e.empty = 0
	case x.hold > 0 && !e.followed(x):
		if e.empty++; e.empty > 1 {
			e.nextTry = now + e.empties.Next()
		}
	}
}

// followed tells that a later exchange is in flight: the bridge answers the
// earlier one because of it (L1).
func (e *exchanges) followed(x *exchange) bool {
	return len(e.flying) > 0 && e.flying[len(e.flying)-1].x > x.x
}

// failed decides when to try again after weather.
func (e *exchanges) failed(x *exchange, err error, now time.Duration) {
	c := e.c
	c.weather(err)
	age := now - x.sent
	if x.hold > 0 && !x.frames && age >= tune.MinHold {
		e.hold.Cut(age)
	}
	e.learn(x, err)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, wire.ErrGarbled) {
		e.downlink.Failed()
	}
	if age < refusedAge {
		e.refused++
	} else {
		e.refused = 0
	}
	e.retry.Max = retryMost
	if e.refused >= refusedTimes {
		e.retry.Max = refusedMost
	}
	if wait := e.wait(age, err); wait > 0 {
		e.nextTry = c.retryAt(now, wait)
	}
	c.s.wake()
}

// wait is how long to wait after a failure of an exchange of that age.
func (e *exchanges) wait(age time.Duration, err error) time.Duration {
	var wait time.Duration
	switch {
	case e.retry.Failures == 0 && age >= livedLong:
		e.retry.Failures++
	case e.retry.Failures == 0:
		e.retry.Failures++
		wait = tune.Jitter(soonAfter)
	default:
		wait = e.retry.Next()
	}
	if asked, ok := errors.AsType[retryAfter](err); ok {
		wait = max(wait, min(asked.RetryAfter(), mostRetryAfter))
	}
	return wait
}

// learn takes from a failure what it says of the request's length.
func (e *exchanges) learn(x *exchange, err error) {
	switch {
	case x.proof:
		e.uplink.Proof(false)
	case !x.frames:
	case errors.Is(err, ErrTooLong):
		e.uplink.Refused(x.size)
	case errors.Is(err, ErrBroken):
		e.uplink.Broke(x.size)
	default:
		e.uplink.Failed(x.size)
	}
}

// retryAfter is an error of a Carrier that knows how long it was asked to wait.
type retryAfter interface {
	error
	RetryAfter() time.Duration
}

// mostRetryAfter is how long an intermediary is obeyed.
const mostRetryAfter = 10 * time.Second

// abandon drops every exchange in flight.
func (e *exchanges) abandon(why error) {
	for _, x := range e.flying {
		x.cancel(why)
		e.lose(x)
	}
	e.flying = nil
	e.c.weather(why)
}
