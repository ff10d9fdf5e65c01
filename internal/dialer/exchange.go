package dialer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/transport"
)

// exchange is one exchange of the client that is in flight.
type exchange struct {
	id     engine.LinkID
	sent   time.Duration
	limit  time.Duration // when it has failed
	hold   time.Duration // what was asked for
	size   int           // bytes of the request
	frames bool          // it carries frames
	only   uint64        // the one that it carries, which no smaller batch can; 0: none or several
	token  string        // what it carries; empty: none
	hello  bool          // it asks for the Welcome and nothing else
	proof  bool          // frames wait for it to get through
	up     tune.Passage  // what had got through each way when it was sent
	down   tune.Passage
	cancel context.CancelCauseFunc
}

// exchanges schedules the client's exchanges. Guarded by the endpoint's lock.
type exchanges struct {
	s             *Session
	kind          transport.Kind // of exchanges; 0: there are none
	workers       engine.Workers[request]
	inFlight      []*exchange // in order of their numbers
	nextTry       time.Duration
	retry         tune.Backoff
	emptyBackoff  tune.Backoff
	empty         int // empty answers in a row (L7)
	quickFailures int // exchanges that failed at once, in a row
	timeouts      int // exchanges that had no answer in time, in a row
	hold          tune.Hold
	adaptiveHold  time.Duration // longest hold worth asking for: grows while nothing comes
	uplink        tune.Uplink
	downlink      tune.Downlink
	up, down      tune.Pace
	pipelineNext  bool // one short answer after another is to come: the next exchange begins beside
	upload        tune.Upload
	pong          uint64 // to the last ping of an answer; 0: none came
	probeNow      bool   // an exchange is wanted whose answer comes at once: something is mute
}

const (
	ackAlone         = 64 << 10 // what is pending before an ack goes alone
	minRetry         = 100 * time.Millisecond
	maxRetry         = 5 * time.Second
	maxRefusedRetry  = 30 * time.Second
	maxQuickFailures = 3
	quickFailure     = 200 * time.Millisecond
	firstRetry       = 250 * time.Millisecond
	livedLong        = time.Second
)

func (e *exchanges) init(s *Session) {
	e.s, e.kind = s, kindOf(s.cfg.Transports, false)
	e.workers.Work, e.workers.Wait = e.carry, 2
	e.retry = tune.Backoff{First: minRetry, Max: maxRetry, Factor: 1.6}
	e.emptyBackoff = tune.Backoff{First: minRetry, Max: maxRetry, Factor: 2}
	e.hold = tune.Hold{Hold: s.cfg.Hold, Max: s.cfg.Hold}
	e.uplink = tune.Uplink{Size: tune.FirstBatch, Max: tune.LongBatch}
	e.downlink = tune.Downlink{Size: tune.MaxBatch / 2, Max: tune.LongBatch}
}

// bound has bodies be no longer than the bridge takes and gives; 0: it did not say.
func (e *exchanges) bound(most int) {
	if most > 0 {
		e.uplink.Bound(most)
		e.downlink.Bound(most)
	}
}

// awaiting is the lowest exchange that the client waits for (L2).
func (e *exchanges) awaiting() uint64 {
	if len(e.inFlight) > 0 {
		return e.inFlight[0].id.Number
	}
	return e.s.nextNumber
}

// step abandons what timed out, begins what is due and returns when to look again.
func (e *exchanges) step(now time.Duration) time.Duration {
	e.expire(now)
	due := e.due(now)
	if due <= now {
		e.s.ep.LetOthersConsume()
		due = e.due(now)
	}
	for ; due <= now; due = e.due(now) {
		e.begin(now)
	}
	for _, x := range e.inFlight {
		due = min(due, x.limit, e.makesRoomAt(x))
	}
	return max(due, now+time.Millisecond)
}

// due returns when the next exchange is to begin.
func (e *exchanges) due(now time.Duration) time.Duration {
	switch {
	case !e.hasRoom(), e.proving(), e.alone(), e.s.ep.Ended() != nil:
		return now + longest
	case e.wanted(now):
		return max(e.nextTry, now)
	case e.pipelines():
		return max(e.nextTry, e.s.ep.CreditDue(now))
	case e.kind != 0 && !e.s.welcomed():
		return max(e.helloDue(), e.nextTry)
	case e.kind != 0 && !e.s.ep.Carries():
		return max(e.s.ep.SendDue(now), e.nextTry)
	}
	return now + longest
}

// hasRoom reports whether one more exchange may be in flight: more than two where the
// path needs them to carry the bodies of either direction.
func (e *exchanges) hasRoom() bool {
	if len(e.inFlight) < engine.MinExchanges {
		return true
	}
	_, up := e.upBody()
	_, down := e.downBody()
	return len(e.inFlight) < max(up, down)
}

// upBody and downBody return how long the next body may be, and how many to have in
// flight.
func (e *exchanges) upBody() (length, n int) {
	return e.bodies(&e.up, e.uplink.Size)
}

func (e *exchanges) downBody() (length, n int) {
	return e.bodies(&e.down, e.downlink.Ask())
}

func (e *exchanges) bodies(p *tune.Pace, size int) (length, n int) {
	most := e.most()
	if most > engine.MinExchanges { // rather more bodies than long ones
		size = min(size, tune.MaxBatch)
	}
	return p.Bodies(size, most, &e.s.ep.Path)
}

// most is how many exchanges may be in flight: more than two where they share a
// connection, since others are few, and the bridge takes them.
func (e *exchanges) most() int {
	w := e.s.welcome
	if w == nil || !e.s.cfg.Multiplexed() {
		return engine.MinExchanges
	}
	return int(min(max(w.MaxExchanges, engine.MinExchanges), engine.MaxExchanges))
}

// expire abandons exchanges that have failed, and older ones with them (L5).
func (e *exchanges) expire(now time.Duration) {
	for i := len(e.inFlight) - 1; i >= 0; i-- {
		x := e.inFlight[i]
		if now < x.limit {
			continue
		}
		err := fmt.Errorf("exchange %d was not answered for %v", x.id.Number, (now - x.sent).Round(time.Millisecond))
		for _, old := range e.inFlight[:i+1] {
			old.cancel(err)
			e.lose(old)
		}
		e.inFlight = e.inFlight[i+1:]
		e.timeouts++
		e.probeNow = e.probeNow || e.s.welcomed() && (x.frames || e.s.ep.NumStreams() > 0)
		e.failed(x, err, now)
		e.s.ladder.dialSoon(now)
		return
	}
	e.makeRoom(now)
}

// makesRoomAt is when an exchange with frames counts as held up: a parked poll of
// ours may be what it waits for (L5). Where there are more than two, none is.
func (e *exchanges) makesRoomAt(x *exchange) time.Duration {
	if !x.frames || len(e.inFlight) != engine.MinExchanges || e.inFlight[0].frames {
		return x.limit
	}
	return x.sent + e.s.ep.Path.AtLeast(500*time.Millisecond, 2)
}

// makeRoom aborts the parked poll that may hold up an exchange with frames.
func (e *exchanges) makeRoom(now time.Duration) {
	if len(e.inFlight) != engine.MinExchanges {
		return
	}
	if last := e.inFlight[len(e.inFlight)-1]; now >= e.makesRoomAt(last) && last.frames && !e.inFlight[0].frames {
		e.inFlight[0].cancel(errMadeRoom)
		e.lose(e.inFlight[0])
		e.inFlight = e.inFlight[1:]
	}
}

var errMadeRoom = errors.New("aborted to make room")

// lose makes the frames of an exchange be sent again.
func (e *exchanges) lose(x *exchange) {
	e.s.ep.MarkLost(func(on engine.LinkID, _ time.Duration) bool { return on == x.id })
	e.s.restate()
}

// askNow wants an exchange at once that is answered at once, in the place of the
// oldest if there are as many as may be.
func (e *exchanges) askNow(now time.Duration) {
	if e.kind == 0 || e.s.ep.Carries() {
		return
	}
	if !e.hasRoom() {
		e.inFlight[0].cancel(errMadeRoom)
		e.lose(e.inFlight[0])
		e.inFlight = e.inFlight[1:]
	}
	e.probeNow, e.nextTry = true, now
	e.retry.Reset()
}

// wanted reports whether there is a reason for one more exchange.
func (e *exchanges) wanted(now time.Duration) bool {
	s := e.s
	if e.kind == 0 {
		return false
	}
	if !s.welcomed() {
		return e.wantsWelcome()
	}
	if e.probeNow {
		return true
	}
	if s.ep.Carries() {
		return false
	}
	if s.ep.SendDue(now) <= now || s.ep.AsksNow() {
		return true
	}
	return len(e.inFlight) == 0 && (s.asking || s.ep.NumStreams() > 0 || s.ep.AckPending() > ackAlone)
}

// pipelines reports whether one more exchange is to bring what waits at the bridge.
func (e *exchanges) pipelines() bool {
	return e.pipelineNext && e.s.welcomed() && !e.s.ep.Carries()
}

// wantsWelcome reports whether to ask for the Welcome, or send early RPCs (O4).
// What has had no answer for a while is left to it: a way that is only slow
// must not be cut off again and again.
func (e *exchanges) wantsWelcome() bool {
	if len(e.inFlight) == 0 || e.s.ep.Sendable() || e.s.ep.Now() >= e.helloDue() {
		return true
	}
	for _, x := range e.inFlight {
		if x.hello {
			return false
		}
	}
	return e.s.ep.NumUnsent() > 0
}

// helloDue is when another Hello goes beside one that has no answer.
func (e *exchanges) helloDue() time.Duration { return e.inFlight[len(e.inFlight)-1].sent + helloLimit }

// proving reports whether frames wait for an exchange without any to get through.
func (e *exchanges) proving() bool {
	return slices.ContainsFunc(e.inFlight, func(x *exchange) bool { return x.proof })
}

// begin sends one exchange.
func (e *exchanges) begin(now time.Duration) {
	s := e.s
	x := &exchange{id: engine.LinkID{Number: s.nextNumber, Kind: e.kind}, sent: now, up: e.up.Passage, down: e.down.Passage}
	if len(e.inFlight) == 0 { // what passed before took no time of this
		x.up.At, x.down.At = now, now
	}
	s.nextNumber++
	e.inFlight = append(e.inFlight, x)
	frames := s.ep.Sendable() && !s.ep.Carries()
	if frames {
		e.adaptiveHold = 0
		x.proof = e.uplink.WantsProof()
		frames = !x.proof
	}
	most, _ := e.upBody()
	maxBytes, _ := e.downBody()
	s.ep.OneShots(len(e.inFlight))
	paced := frames && s.ep.QueuedBytes() > most // its ack is waited for
	if (frames || s.welcomed() && !x.proof) && !paced {
		x.hold = e.holdFor()
	}
	x.hello = !s.welcomed() && !frames
	e.probeNow = false
	h := s.header()
	x.token = h.Token
	h.Session, h.Key = s.id[:], s.key[:]
	h.HoldMillis, h.MaxBytes = millis(x.hold), uint32(maxBytes)
	h.Pong = e.pong
	out := engine.NewOutgoing()
	n := s.ep.BuildOneShot(out, &h, x.id, most, frames)
	batch := out.Batch().AppendTo(nil) // net/http may read a request after it was answered
	out.Release()
	x.frames = n > 0
	if n == 1 {
		x.only = s.ep.SeqOn(x.id)
	}
	x.size = len(batch)
	x.limit = now + e.timeout(x)
	ctx, cancel := context.WithCancelCause(s.ctx)
	x.cancel = cancel
	e.workers.Run(request{x: x, ctx: ctx, sid: s.ID(), batch: batch})
}

// alone reports whether another body is to wait for the one in flight.
func (e *exchanges) alone() bool {
	return e.uplink.Alone() && slices.ContainsFunc(e.inFlight, func(x *exchange) bool { return x.frames })
}

// shortHold is how long an exchange is held while something is expected, but a
// round trip's part of it is enough to find a dead direction in time (L4).
const shortHold = 1500 * time.Millisecond

// holdFor is how long the next exchange may be held: not at all when a sign of
// life is wanted, as long as it was quiet before else.
func (e *exchanges) holdFor() time.Duration {
	if e.probeNow || e.s.asking {
		return 0
	}
	hold := min(max(e.adaptiveHold, e.s.ep.Path.AtLeast(shortHold, 2)), e.hold.Hold)
	if w := e.s.welcome; w != nil {
		hold = min(hold, time.Duration(w.HoldMillis)*time.Millisecond)
	}
	return hold
}

// timeout is how long an exchange may take. One after another without an
// answer gets more.
func (e *exchanges) timeout(x *exchange) time.Duration {
	path := &e.s.ep.Path
	most := path.AtLeast(10*time.Second, 4)
	least := most
	if e.s.welcomed() {
		least = min(path.AtLeast(3*time.Second, 4)<<min(e.timeouts, 2), most)
	}
	hold := x.hold
	if x.frames {
		hold = min(hold, engine.HeldWithFrames)
	}
	return max(least, hold+min(hold, most)) + e.upload.Time(x.size)
}

// request is what an exchange sends.
type request struct {
	x     *exchange
	ctx   context.Context
	sid   string
	batch []byte
}

// carry carries an exchange out.
func (e *exchanges) carry(r request) {
	defer r.x.cancel(nil)
	body, err := e.s.cfg.Carrier.Exchange(r.ctx, r.sid, r.batch)
	e.done(r.x, body, err)
}
