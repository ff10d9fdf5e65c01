package registry

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	// backupDelay is how long frames may be unacked on the preferred link before
	// an exchange carries them (L3).
	backupDelay = 300 * time.Millisecond
	// maxCopies is how many copies of one exchange are parked at once (L1).
	maxCopies = 4
	// overtakenWait is how long after its arrival an exchange has for frames that
	// another has followed.
	overtakenWait = time.Millisecond
	// minAnswer is the least that a client can ask an answer to be limited to.
	minAnswer = 4 << 10
)

// exchange is one link of the one-shot shape: one request, or several copies of
// it, and one answer. Guarded by the endpoint's lock.
type exchange struct {
	s        *Session
	id       engine.LinkID
	arrived  time.Duration
	until    time.Duration // end of its hold
	max      int           // longest answer that the client wants; 0: no wish
	welcome  bool          // Hello came: the answer carries Welcome
	frames   bool          // it brought frames
	pong     uint64
	padding  []byte
	counts   bool         // it keeps the session alive: its number was the highest
	replaced bool         // a higher one came, or was there before
	again    bool         // a copy of one that was answered before
	copies   []*copyLink  // those that were not closed
	first    [1]*copyLink // the room for copies, mostly
	answer   []byte       // what all copies get
}

// copyLink is one copy of an exchange: the transport's Link.
type copyLink struct {
	engine.Waiter
	x     *exchange
	group string // of the bundle that carries it; empty: none does
	left  bool   // a later bundle of the group carries another copy
	spent bool
}

// attachExchange takes an exchange in, by the rules L1 to L3.
func (s *Session) attachExchange(hello *transport.Hello, b *wire.Batch) transport.Link {
	if x := s.parked; x != nil && b.X == x.id.Number && len(x.copies) < maxCopies {
		if len(x.copies) == 0 && x.counts {
			s.linked()
		}
		s.takeIn(b)
		return x.newCopy(hello)
	}
	now := s.ep.Now()
	x := &exchange{
		s: s, id: engine.LinkID{Number: b.X, Kind: hello.Kind}, arrived: now, until: now + s.holdOf(b), max: int(b.MaxBytes),
		welcome: b.Hello != nil, frames: len(b.Frames) > 0, pong: b.Ping, padding: b.Padding,
	}
	x.copies = x.first[:0]
	link := x.newCopy(hello)
	switch {
	case b.X > s.highest:
		x.counts = true
		s.renew(b)
		s.park(x)
		s.linked()
	case b.X == s.highest:
		x.again = true
	default:
		x.replaced = !s.isFirst(b.X) || !s.overtake(x)
	}
	s.takeHeader(b)
	s.ep.OneShots(int(s.highest - s.awaiting + 1))
	s.ep.Ponged(b.Pong, s.awaiting)
	s.takeIn(b)
	return link
}

// park parks x; what was parked before is answered at once, or overtaken.
func (s *Session) park(x *exchange) {
	if old := s.parked; old != nil {
		old.replaced = !s.overtake(old)
		old.notify()
	}
	s.parked = x
}

// overtake has x, which a higher one has followed, take frames before that: those that
// are there, or, if it has only just come, will be in a moment. It reports false if
// there are none, or no room for x.
func (s *Session) overtake(x *exchange) bool {
	left := x.arrived + overtakenWait - s.ep.Now()
	if len(x.copies) == 0 || s.ep.Carries() || left < 0 && !s.ep.Sendable() || len(s.overtaken) >= engine.MaxExchanges {
		return false
	}
	x.until = min(x.until, s.ep.Now()+max(left, 0))
	s.overtaken = append(s.overtaken, x)
	return true
}

// waitOn gives those that are overtaken another moment, since there were frames.
func (s *Session) waitOn(now time.Duration) {
	for _, x := range s.overtaken {
		if x.until > now {
			x.until = max(x.until, now+overtakenWait)
		}
	}
}

// holdOf is how long an exchange may be held.
func (s *Session) holdOf(b *wire.Batch) time.Duration {
	hold := min(s.reg.cfg.Hold, time.Duration(b.HoldMillis)*time.Millisecond)
	if len(b.Frames) > 0 {
		hold = min(hold, engine.HeldWithFrames)
	}
	return hold
}

func (x *exchange) newCopy(hello *transport.Hello) *copyLink {
	c := &copyLink{x: x, group: hello.Group}
	c.Init(&x.s.ep, c, hello.Wake)
	for _, before := range x.copies {
		if c.group != "" && before.group == c.group {
			before.left = true
			before.Notify()
		}
	}
	x.copies = append(x.copies, c)
	return c
}

// notify wakes the copies if the answer is due.
func (x *exchange) notify() {
	for _, c := range x.copies {
		c.Notify()
	}
}

// Deliver is not for exchanges: they bring one batch.
func (c *copyLink) Deliver(context.Context, []byte) error { return transport.ErrLinkDone }

// Next waits for the exchange's answer.
func (c *copyLink) Next(ctx context.Context, limit int) (transport.Batch, error) {
	answer, err := c.Waiter.Next(ctx, limit)
	if !errors.Is(err, transport.ErrAnswerNow) {
		return answer, err
	}
	c.x.s.ep.Lock()
	c.x.until = 0
	c.x.s.unlock()
	return c.Waiter.Next(ctx, limit)
}

// Close takes the copy out; the session is without a link when the last goes.
// An exchange that is not answered then waits for another copy, within its
// hold, or for a higher one.
func (c *copyLink) Close() {
	x := c.x
	s := x.s
	s.ep.Lock()
	defer s.unlock()
	c.Stop()
	s.reg.links[x.id.Kind].Add(-1)
	x.copies = slices.DeleteFunc(x.copies, func(o *copyLink) bool { return o == c })
	if len(x.copies) > 0 {
		return
	}
	x.settle()
	if x.counts {
		s.unlinked()
	}
}

// Due implements engine.Sender.
func (c *copyLink) Due(now time.Duration) engine.Due {
	if c.spent || c.left {
		return engine.Due{}
	}
	return c.x.due(now)
}

// Build implements engine.Sender.
func (c *copyLink) Build(out *engine.Outgoing, limit int, now time.Duration, due engine.Due) error {
	if c.spent {
		return transport.ErrLinkDone
	}
	c.spent = true
	if c.left && c.x.answer == nil {
		return transport.ErrReplaced
	}
	c.x.build(out, limit, now, due)
	return nil
}

// due returns when the exchange is to be answered.
func (x *exchange) due(now time.Duration) engine.Due {
	s := x.s
	d := engine.Due{At: x.until, Frames: s.ep.Ended() == nil && x.takesFrames()}
	if x.frames && d.Frames { // credit for them is worth a moment
		d.At = max(d.At, s.ep.CreditDue(now))
	}
	switch {
	case x.answer != nil, s.ep.Ended() != nil, x.replaced, x.again:
		d.At = now
	case x.welcome && !x.frames, x.pong != 0, s.ep.AsksNow(), s.notTaken, s.goAwayDue():
		d.At = now
	case !s.ep.Carries():
		if d.Frames {
			d.At = min(d.At, s.ep.SendDue(now))
		}
	default:
		if oldest, ok := s.ep.OldestUnacked(); ok {
			d.At = min(d.At, oldest+s.backupDelay())
		}
	}
	return d
}

// takesFrames reports whether frames may go with the answer: not where the client
// has given the exchange up or has another, but for an overtaken one, which goes first (L1).
func (x *exchange) takesFrames() bool {
	if len(x.s.overtaken) > 0 {
		return x.s.overtaken[0] == x && x.id.Number >= x.s.awaiting
	}
	return !x.replaced
}

// settle notes that an overtaken x was answered, or can be no more.
func (x *exchange) settle() {
	s := x.s
	if i := slices.Index(s.overtaken, x); i >= 0 {
		s.overtaken = slices.Delete(s.overtaken, i, i+1)
		s.ep.Wake()
	}
}

// backupDelay is how long frames may be unacked on the preferred link (L3).
func (s *Session) backupDelay() time.Duration { return s.ep.Path.AtLeast(backupDelay, 2) }

// build encodes the answer. All copies get the same.
func (x *exchange) build(out *engine.Outgoing, limit int, now time.Duration, due engine.Due) {
	if x.answer != nil {
		out.Repeat(x.answer)
		return
	}
	s := x.s
	if s.parked == x {
		s.parked = nil
	}
	h := s.header(x.welcome)
	h.Session = s.ep.SessionID()
	h.HeldMicros = uint64((now - x.arrived).Microseconds())
	h.Pong, h.Padding = x.pong, x.padding
	if s.parked != nil && len(s.parked.copies) > 0 {
		h.Parked = s.parked.id.Number
	}
	if x.max > 0 {
		limit = min(limit, max(x.max, minAnswer))
	}
	if due.Frames {
		x.markLost(now)
	}
	before := s.ep.Resent()
	n := s.ep.BuildOneShot(out, &h, x.id, limit, due.Frames)
	s.reg.resent.Add(s.ep.Resent() - before)
	s.lastAnswer = out.Len()
	s.gave(x.id.Kind, s.lastAnswer)
	x.settle()
	if n > 0 {
		s.waitOn(now)
	}
	if due.Frames && s.ep.Sendable() {
		s.ep.Wake()
	}
	if len(x.copies) > 1 {
		x.answer = out.Batch().AppendTo(nil)
		x.notify()
	}
}

// markLost has frames sent with the answer that were sent before: in a copy of one
// that was answered, those that went with that answer; beside the preferred link,
// those that are overdue there.
func (x *exchange) markLost(now time.Duration) {
	s := x.s
	switch {
	case x.again:
		s.ep.MarkLost(func(on engine.LinkID, _ time.Duration) bool { return on == x.id })
	case s.ep.Carries():
		overdue := now - s.backupDelay()
		s.ep.MarkLost(func(_ engine.LinkID, at time.Duration) bool { return at <= overdue })
	}
}
