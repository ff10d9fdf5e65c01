package registry

import (
	"context"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	pingAfter = engine.PingAfter
	pongLimit = engine.PongLimit
	// pingGrid is what the times of pings are multiples of, so that a bridge with
	// many quiet links wakes up for several at once.
	pingGrid = 50 * time.Millisecond
)

// lastingLink is the bridge's end of a lasting link: the transport's Link.
// Guarded by the endpoint's lock.
type lastingLink struct {
	engine.Lasting
	s        *Session
	hello    *transport.Hello // for Authenticate; nil: it is not asked
	counts   bool             // it keeps the session alive
	welcome  bool             // Hello came
	replaced bool
	refusal  *wire.Close // of what came; nil: nothing is refused
	ended    bool        // nothing more is said: the last batch was built, or the client is elsewhere
}

// attachLasting takes a lasting link in. Only a higher one replaces another (L1).
func (s *Session) attachLasting(hello *transport.Hello, b *wire.Batch) transport.Link {
	l := &lastingLink{s: s}
	l.Init(&s.ep, l, hello.Wake)
	l.ID = engine.LinkID{Number: b.X, Kind: hello.Kind}
	if s.reg.cfg.Authenticate != nil {
		kept := *hello
		kept.Batch, kept.Wake = nil, nil
		l.hello = &kept
	}
	if b.X <= s.highestLasting {
		l.replaced = true
	} else {
		l.replace(b)
	}
	l.take(b)
	return l
}

// replace attaches the link in place of a lower one.
func (l *lastingLink) replace(b *wire.Batch) {
	s := l.s
	s.highestLasting = b.X
	if old := s.lasting; old != nil {
		old.replaced = true
		old.Notify()
	}
	s.lasting = l
	s.ep.Attach(&l.Lasting)
	s.loseLasting(b.X)
	if b.X > s.highest {
		s.renew(b)
	}
	l.counts = true
	s.linked()
}

// take takes one batch in.
func (l *lastingLink) take(b *wire.Batch) {
	l.Received(b, l.s.ep.Now())
	l.Pinged = 0
	l.welcome = l.welcome || b.Hello != nil
	if b.Ping != 0 {
		l.s.ep.Wake()
	}
	l.s.takeHeader(b)
	l.s.takeIn(b)
}

// Deliver takes a further batch in.
func (l *lastingLink) Deliver(ctx context.Context, batch []byte) error {
	b := engine.NewBatch()
	defer engine.FreeBatch(b)
	err := wire.ParseBatch(batch, b)
	if err == nil && l.isElsewhere(b) {
		return transport.ErrLinkDone
	}
	refusal := l.check(ctx, b, err)
	if ctx.Err() != nil {
		return context.Cause(ctx) // not taken: its peer sends it again
	}
	s := l.s
	s.ep.Lock()
	defer s.unlock()
	if refusal != nil {
		l.refusal = refusal
		l.Notify()
		return transport.ErrLinkDone
	}
	if s.ep.Ended() != nil {
		return nil
	}
	pinged := l.Pinged > 0
	s.took(l.ID.Kind, len(batch))
	l.take(b)
	if pinged {
		l.Notify() // the pong arrived: the timer can move to the next ping
	}
	return nil
}

// isElsewhere reports whether the client has its Welcome from another bridge: the
// session here is the copy that its Hello left (O2). The link ends, and nothing is
// said about the session.
func (l *lastingLink) isElsewhere(b *wire.Batch) bool {
	if b.Incarnation == 0 || uint32(b.Incarnation>>32) == l.s.reg.Instance() {
		return false
	}
	l.s.ep.Lock()
	defer l.s.unlock()
	l.ended = true
	l.Notify()
	return true
}

// check returns the refusal of a further batch, nil if it may be taken.
func (l *lastingLink) check(ctx context.Context, b *wire.Batch, err error) *wire.Close {
	switch {
	case err != nil:
		return refusalOf(err)
	case b.X != l.ID.Number:
		return garbled("batch of link %d on link %d", b.X, l.ID.Number)
	case b.Incarnation != 0 && b.Incarnation != l.s.incarnation, b.Incarnation == 0 && b.Hello == nil:
		return unknown()
	case b.Hello != nil || l.hello == nil:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	return l.s.refresh(ctx, l.hello, b)
}

// Close takes the link out.
func (l *lastingLink) Close() {
	s := l.s
	s.ep.Lock()
	defer s.unlock()
	l.Stop()
	s.reg.links[l.ID.Kind].Add(-1)
	if s.lasting == l {
		s.lasting = nil
		s.ep.Detach(&l.Lasting)
		s.loseLasting(0)
		s.ep.Wake()
	}
	if l.counts {
		s.unlinked()
	}
}

// Due implements engine.Sender.
func (l *lastingLink) Due(now time.Duration) engine.Due {
	s := l.s
	d := l.Lasting.Due(now)
	switch {
	case s.ep.Ended() != nil, l.refusal != nil, l.replaced, l.ended, s.notTaken, s.goAwayDue():
		d.At = now
	case l.Pinged > 0:
		d.At, d.Quiet = min(d.At, l.Pinged+pongLimit), true
	default:
		d.At = min(d.At, (l.Heard + pingAfter + pingGrid - 1).Truncate(pingGrid))
		d.Ping = now >= l.Heard+pingAfter
	}
	return d
}

// Build implements engine.Sender.
func (l *lastingLink) Build(out *engine.Outgoing, limit int, now time.Duration, due engine.Due) error {
	s := l.s
	switch {
	case l.ended && s.ep.Ended() != nil:
		return transport.ErrSessionOver
	case l.ended:
		return transport.ErrLinkDone
	case s.ep.Ended() != nil:
		l.ended = true
	case l.refusal != nil:
		l.ended = true
		out.Begin(&wire.Batch{X: l.ID.Number, Incarnation: s.incarnation, Close: l.refusal})
		out.Finish()
		return nil
	case l.replaced:
		return transport.ErrReplaced
	case l.Pinged > 0 && now >= l.Pinged+pongLimit:
		return transport.ErrMute
	}
	h := s.header(l.welcome)
	l.welcome = false
	if due.Ping {
		l.Pinged = now
		h.Ping = uint64(now.Microseconds()) + 1
	}
	before := s.ep.Resent()
	l.Lasting.Build(out, limit, &h, due)
	s.reg.resent.Add(s.ep.Resent() - before)
	s.gave(l.ID.Kind, out.Len())
	if due.Frames && s.parked != nil {
		s.parked.notify() // its answer counts from the oldest unacked frame (L3)
	}
	return nil
}
