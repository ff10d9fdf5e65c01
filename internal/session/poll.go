package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// heldWithFrames bounds the hold of an exchange that brought frames, so that
// their ack is never late.
const heldWithFrames = 2 * time.Second

// maxCopies is how many copies of one exchange are parked at once (L1).
const maxCopies = 4

// poll is one exchange: one request, or several copies of it. Guarded by
// Session.mu.
type poll struct {
	br       *bridgeSide
	x        uint64
	arrived  time.Duration
	until    time.Duration // end of its hold
	max      int           // longest answer that the client wants; 0: no wish
	welcome  bool          // Hello came: the answer carries Welcome
	frames   bool          // it brought frames
	pong     uint64
	padding  []byte
	counts   bool // it keeps the session alive: its x was the highest
	replaced bool // a higher one came, or was there before
	again    bool // a copy of one that was answered before
	copies   int
	answer   []byte        // what all copies get
	changed  chan struct{} // closed to make every copy look again; nil: none waits
	resting  []*visit      // copies that rest
}

// visit is one copy of an exchange: the transport's Link.
type visit struct {
	poll  *poll
	rest  rest
	spent bool
}

// attachPoll takes an exchange in, by the rules L1 to L3.
func (br *bridgeSide) attachPoll(hello *transport.Hello, b *wire.Batch) transport.Link {
	s := br.s
	br.reg.polls.Add(1)
	if p := br.poll; p != nil && b.X == p.x && p.copies < maxCopies {
		if p.copies == 0 && p.counts {
			br.linked()
		}
		p.copies++
		br.takeIn(b)
		return &visit{poll: p, rest: rest{ready: hello.Wake}}
	}
	now := s.now()
	p := &poll{
		br: br, x: b.X, arrived: now, until: now + br.holdOf(b), max: int(b.MaxBytes), copies: 1,
		welcome: b.Hello != nil, frames: len(b.Frames) > 0, pong: b.Ping, padding: b.Padding,
	}
	switch {
	case b.X > br.highX:
		p.counts = true
		br.renew(b)
		br.replacePoll(p)
		br.linked()
	case b.X == br.highX:
		p.again = true
	default:
		p.replaced = true
	}
	br.state(b)
	br.takeIn(b)
	return &visit{poll: p, rest: rest{ready: hello.Wake}}
}

// replacePoll parks p; what was parked before is answered at once.
func (br *bridgeSide) replacePoll(p *poll) {
	if old := br.poll; old != nil {
		old.replaced = true
		old.wake()
	}
	br.poll = p
}

// holdOf is how long an exchange may be held.
func (br *bridgeSide) holdOf(b *wire.Batch) time.Duration {
	hold := min(br.reg.cfg.Hold, time.Duration(b.HoldMillis)*time.Millisecond)
	if len(b.Frames) > 0 {
		hold = min(hold, heldWithFrames)
	}
	return hold
}

func (p *poll) wake() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
	for _, v := range p.resting {
		v.look()
	}
	p.resting = nil
}

// Deliver is not for exchanges: one batch is all that they bring.
func (v *visit) Deliver(context.Context, []byte) error { return transport.ErrLinkDone }

// Next waits for the exchange's answer.
func (v *visit) Next(ctx context.Context, dst []byte, limit int) ([]byte, error) {
	if v.spent {
		return dst, transport.ErrLinkDone
	}
	s := v.poll.br.s
	since := time.Duration(-1)
	for woken := false; ; {
		s.mu.Lock()
		if woken {
			s.letQueue()
		}
		answer, changed, wait := v.poll.try(dst, limit)
		var err error
		if changed != nil && wait > restAfter { // else it is not worth it
			wait, err = v.patience(&since, wait)
		}
		s.unlock()
		if err != nil {
			return dst, err
		}
		if changed == nil {
			v.spent = true
			return answer, nil
		}
		timer := time.NewTimer(wait)
		woken = false
		select {
		case <-changed:
			woken = true
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			cause := context.Cause(ctx)
			if !errors.Is(cause, transport.ErrAnswerNow) {
				return dst, cause
			}
			s.mu.Lock()
			v.poll.until = 0
			s.unlock()
		}
		timer.Stop()
	}
}

// patience is how long Next may wait, or lets the copy rest.
func (v *visit) patience(since *time.Duration, wait time.Duration) (time.Duration, error) {
	wait, err := v.rest.patience(v.poll.br.s, v, since, wait)
	if err != nil && !slices.Contains(v.poll.resting, v) {
		v.poll.resting = append(v.poll.resting, v)
	}
	return wait, err
}

// look has Next called again if the copy rests.
func (v *visit) look() { v.rest.rouse(v.poll.br.s) }

// Close takes the copy out; the session is without a link when the last goes.
// An exchange that is not answered then waits for another copy, within its
// hold, or for a higher one.
func (v *visit) Close() {
	p := v.poll
	s := p.br.s
	s.mu.Lock()
	defer s.unlock()
	v.rest.end()
	p.resting = slices.DeleteFunc(p.resting, func(o *visit) bool { return o == v })
	p.br.reg.polls.Add(-1)
	p.copies--
	if p.copies == 0 && p.counts {
		p.br.unlinked()
	}
}

// try gives the answer, or a channel that tells when to look again and how
// long to wait at most.
func (p *poll) try(dst []byte, limit int) ([]byte, <-chan struct{}, time.Duration) {
	if p.answer != nil {
		return append(dst, p.answer...), nil, 0
	}
	now := p.br.s.now()
	ready, look := p.ready(now)
	if !ready {
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		return dst, p.changed, look - now
	}
	if p.br.poll == p {
		p.br.poll = nil
	}
	start := len(dst)
	dst = p.build(dst, limit, now)
	if p.copies > 1 {
		p.answer = append([]byte(nil), dst[start:]...)
		p.wake()
	}
	return dst, nil, 0
}

// ready tells whether the exchange is to be answered now, or else when to look
// again.
func (p *poll) ready(now time.Duration) (bool, time.Duration) {
	br := p.br
	s := br.s
	switch {
	case s.err != nil, p.replaced, p.again, now >= p.until:
		return true, 0
	case p.welcome && !p.frames, p.pong != 0, s.asksNow(), br.stopped, br.tellGoAway():
		return true, 0
	case !br.socketPreferred():
		return s.out.sendable(), p.until
	}
	oldest, waits := s.out.oldestSent()
	if !waits {
		return false, p.until
	}
	late := oldest + s.path.AtLeast(backupDelay, 2)
	return now >= late, min(late, p.until)
}

// backupDelay is how long frames may be unacked on the preferred link before
// a backup carries them (L3).
const backupDelay = 300 * time.Millisecond

// socketPreferred tells that new frames go on the attached WebSocket (L3).
func (br *bridgeSide) socketPreferred() bool {
	return br.socket != nil && br.prefer == br.socket.x
}

func (br *bridgeSide) tellGoAway() bool {
	return !br.told && br.reg.isDraining()
}

// build encodes the answer.
func (p *poll) build(dst []byte, limit int, now time.Duration) []byte {
	br := p.br
	s := br.s
	h := br.header(p.x, p.welcome)
	h.Session = s.id[:]
	h.HeldMicros = uint64((now - p.arrived).Microseconds())
	h.Pong, h.Padding = p.pong, p.padding
	if br.poll != nil && br.poll.copies > 0 {
		h.Parked = br.poll.x
	}
	if p.max > 0 {
		limit = min(limit, max(p.max, minAnswer))
	}
	b := &s.building
	b.Begin(s.out.grow(dst, limit), &h)
	if s.err == nil && !p.replaced {
		p.fill(b, limit, now)
	}
	br.took = b.Len()
	return b.Finish()
}

// minAnswer is the least that a client can ask an answer to be limited to.
const minAnswer = 4 << 10

// fill puts the frames in. A copy of an exchange that was answered gets those
// that went with that answer.
func (p *poll) fill(b *wire.Builder, limit int, now time.Duration) {
	s := p.br.s
	on := carriage{x: p.x}
	switch {
	case p.again:
		s.out.markLost(func(f *sentFrame) bool { return f.on == on })
	case p.br.socketPreferred():
		late := now - s.path.AtLeast(backupDelay, 2)
		s.out.markLost(func(f *sentFrame) bool { return f.at <= late })
	}
	before := s.out.resent
	s.filler(b, on, limit, unlimited).fill()
	p.br.reg.resent.Add(s.out.resent - before)
	if s.out.sendable() {
		s.wake()
	}
}

// unlimited is the room of a link whose flight is not bounded.
const unlimited = 1 << 40

// header fills in what every batch of the bridge carries.
func (br *bridgeSide) header(x uint64, welcome bool) wire.Batch {
	s := br.s
	h := wire.Batch{
		X: x, Incarnation: br.incarnation, Ack: s.in.taken,
		Resend: s.askIfDue(), Stopped: br.stopped,
		WaitingBytes: uint64(s.out.ready),
	}
	s.in.owed, br.stopped = 0, false
	if welcome {
		h.Welcome = br.welcome()
	}
	if br.reg.isDraining() {
		br.told = true
		h.GoAway = &wire.GoAway{SpreadMillis: goAwaySpread}
	}
	if s.err != nil {
		h.Close = &wire.Close{Code: codeOf(s.err), Message: s.err.Message}
	}
	return h
}

// goAwaySpread is over how many milliseconds clients spread their move (E3).
const goAwaySpread = 1000

func (br *bridgeSide) welcome() *wire.Welcome {
	cfg := &br.reg.cfg
	return &wire.Welcome{
		Version:          wire.HighestVersion,
		Release:          cfg.Release,
		HoldMillis:       millis(cfg.Hold),
		ResumeMillis:     millis(cfg.ResumeWindow),
		PauseMaxMillis:   millis(cfg.PauseMax),
		StreamWindow:     uint32(cfg.StreamWindow),
		SessionWindow:    uint32(cfg.SessionWindow),
		MaxMessageBytes:  uint64(cfg.MaxMessage),
		MaxBatchBytes:    uint32(cfg.MaxBatch),
		MaxMetadataBytes: uint32(cfg.MaxMetadata),
		MaxStreams:       uint32(cfg.MaxStreams),
	}
}

func millis(d time.Duration) uint32 { return uint32(d.Milliseconds()) }
