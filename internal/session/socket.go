package session

import (
	"context"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// Times of a WebSocket.
const (
	pingAfter = 15 * time.Second // without an inbound byte
	pongLimit = 10 * time.Second
	// pingGrid is what the times of pings are multiples of, so that a bridge with
	// many quiet WebSockets wakes up for several at once.
	pingGrid = 50 * time.Millisecond
	ackDelay = 20 * time.Millisecond
	ackBytes = 16 << 10

	// socketBatch is the longest batch. It is halved when a WebSocket breaks with
	// frames on it, so that networks which break them by size let some pass.
	socketBatch = 64 << 10
)

// socketLink is the bridge's end of a WebSocket: the transport's Link.
// Guarded by Session.mu.
type socketLink struct {
	flight
	br       *bridgeSide
	hello    *transport.Hello // for Authenticate; nil: it is not asked
	alarm    alarm            // of Next
	looks    time.Duration    // when the alarm rings; 0: it is not set
	wake     chan struct{}    // capacity 1: Next has something to say; nil: none waits
	rest     rest
	counts   bool // it keeps the session alive
	named    bool // its first batch was sent
	welcome  bool // Hello came
	pong     uint64
	padding  []byte
	heard    time.Duration // when the last batch came
	pinged   time.Duration // when the last ping went; 0: none is out
	owedAt   time.Duration // since when an ack is owed; 0: none is
	replaced bool
	ended    bool // the last words were said
	broken   *wire.Close
}

// attachSocket takes a WebSocket in. Only a higher one replaces another (L1).
func (br *bridgeSide) attachSocket(hello *transport.Hello, b *wire.Batch) transport.Link {
	l := &socketLink{br: br, rest: rest{ready: hello.Wake}, heard: br.s.now()}
	if br.reg.cfg.Authenticate != nil {
		kept := *hello
		kept.Batch, kept.Wake = nil, nil
		l.hello = &kept
	}
	l.x = b.X
	br.reg.sockets.Add(1)
	switch {
	case b.X <= br.highSocket:
		l.replaced = true
	default:
		br.highSocket = b.X
		if old := br.socket; old != nil {
			old.replaced = true
			old.look()
		}
		br.socket = l
		br.loseSockets(l.x)
		if b.X > br.highX {
			br.renew(b)
		}
		l.counts = true
		br.linked()
	}
	l.take(b)
	return l
}

// take takes one batch of the WebSocket in.
func (l *socketLink) take(b *wire.Batch) {
	l.heard, l.pinged = l.br.s.now(), 0
	l.welcome = l.welcome || b.Hello != nil
	if b.Ping != 0 {
		l.pong, l.padding = b.Ping, b.Padding
		l.br.s.wake()
	}
	l.br.state(b)
	l.br.takeIn(b)
	if l.br.s.in.owed > 0 && l.owedAt == 0 {
		l.owedAt = l.heard
	}
}

// Deliver takes a further batch in.
func (l *socketLink) Deliver(ctx context.Context, batch []byte) error {
	b := newBatch()
	defer freeBatch(b)
	broken := l.check(ctx, b, wire.ParseBatch(batch, b))
	s := l.br.s
	if ctx.Err() != nil {
		return context.Cause(ctx) // not taken: its peer sends it again
	}
	s.mu.Lock()
	defer s.unlock()
	if broken != nil {
		l.broken = broken
		l.look()
		return transport.ErrLinkDone
	}
	if s.err != nil {
		return nil
	}
	answered := l.pinged > 0
	l.take(b)
	if answered && l.rest.on {
		l.look() // the bell need not ring for a pong that came
	}
	return nil
}

// check gives the refusal of a further batch, nil if it may be taken.
func (l *socketLink) check(ctx context.Context, b *wire.Batch, err error) *wire.Close {
	switch {
	case err != nil:
		return refusalOf(err)
	case b.X != l.x:
		return &wire.Close{Code: wire.CodeGarbled, Message: "a batch of another link"}
	case b.Incarnation != 0 && b.Incarnation != l.br.incarnation, b.Incarnation == 0 && b.Hello == nil:
		return unknown()
	case b.Hello != nil || l.hello == nil:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	return l.br.refresh(ctx, l.hello, b)
}

// look has Next called, or look again, if there is something to say; else it
// sees to it that this happens in time.
func (l *socketLink) look() {
	if len(l.wake) > 0 {
		return // Next will look
	}
	now := l.br.s.now()
	wait := l.idleFor(now)
	switch {
	case l.rest.on && wait == 0:
		l.rest.rouse(l.br.s)
	case l.rest.on:
		l.rest.bell.Reset(wait)
	case wait == 0:
		signal(l.wake)
	case now+wait < l.looks:
		l.looks = now + wait
		l.alarm.in(wait)
	}
}

// Close takes the WebSocket out.
func (l *socketLink) Close() {
	br := l.br
	br.s.mu.Lock()
	defer br.s.unlock()
	l.rest.end()
	br.reg.sockets.Add(-1)
	if br.socket == l {
		if l.flying > 0 {
			br.s.batch.Failed()
		}
		br.socket = nil
		br.loseSockets(0)
		br.s.wake()
	}
	if l.counts {
		br.unlinked()
	}
}

// Next waits for something to say on the WebSocket.
func (l *socketLink) Next(ctx context.Context, dst []byte, limit int) ([]byte, error) {
	s := l.br.s
	since := time.Duration(-1)
	for woken := false; ; {
		s.mu.Lock()
		if woken || s.out.ready > 0 && s.out.ready < wire.MaxFragment { // not for the rest of a message alone
			s.letQueue()
		}
		batch, wait, err := l.try(dst, limit)
		var ring <-chan time.Time
		if wait > 0 {
			ring, err = l.wait(&since, wait)
		}
		wake := l.wake
		s.unlock()
		if err != nil || ring == nil {
			return batch, err
		}
		select {
		case <-wake:
			woken = true
		case <-ring:
			woken = false
		case <-ctx.Done():
			return dst, context.Cause(ctx)
		}
	}
}

// wait prepares Next's wait, or lets the link rest instead: then nothing is
// kept for it. Behind a ping it rests at once, since it was quiet before.
func (l *socketLink) wait(since *time.Duration, wait time.Duration) (<-chan time.Time, error) {
	s := l.br.s
	if l.pinged > 0 {
		*since = l.pinged - restAfter
	}
	wait, err := l.rest.patience(s, l, since, wait)
	if err != nil {
		l.alarm.stop()
		l.alarm, l.looks, l.wake = alarm{}, 0, nil
		return nil, err
	}
	if l.wake == nil {
		l.wake = make(chan struct{}, 1)
	}
	l.looks = s.now() + wait
	return l.alarm.in(wait), nil
}

// try gives a batch, or how long to wait for one.
func (l *socketLink) try(dst []byte, limit int) ([]byte, time.Duration, error) {
	s := l.br.s
	now := s.now()
	switch {
	case l.ended && s.err != nil:
		return dst, 0, transport.ErrSessionOver
	case l.ended:
		return dst, 0, transport.ErrLinkDone
	case s.err != nil:
		l.ended = true
		return l.build(dst, limit, now), 0, nil
	case l.broken != nil:
		l.ended = true
		return l.complain(dst), 0, nil
	case l.replaced:
		return dst, 0, transport.ErrReplaced
	case l.pinged > 0 && now >= l.pinged+pongLimit:
		return dst, 0, transport.ErrMute
	}
	if wait := l.idleFor(now); wait > 0 {
		return dst, wait, nil
	}
	return l.build(dst, limit, now), 0, nil
}

// idleFor is how long there is nothing to say; 0: something is to be said now.
func (l *socketLink) idleFor(now time.Duration) time.Duration {
	br := l.br
	s := br.s
	if s.err != nil || l.broken != nil || l.replaced || !l.named || l.pong != 0 || s.asksNow() || br.stopped || br.tellGoAway() {
		return 0
	}
	if br.socketPreferred() && s.out.sendable() && s.fits(&l.flight) {
		return 0
	}
	wait := (l.heard + pingAfter + pingGrid - 1).Truncate(pingGrid) - now
	if l.pinged > 0 {
		wait = l.pinged + pongLimit - now
	}
	if s.in.owed == 0 {
		l.owedAt = 0
		return max(wait, 0)
	}
	if s.in.owed >= ackBytes {
		return 0
	}
	return max(min(wait, l.owedAt+ackDelay-now), 0)
}

// build encodes one batch.
func (l *socketLink) build(dst []byte, limit int, now time.Duration) []byte {
	br := l.br
	s := br.s
	h := br.header(l.x, l.welcome)
	if !l.named {
		h.Session = s.id[:]
	}
	h.Pong, h.Padding = l.pong, l.padding
	if now >= l.heard+pingAfter && l.pinged == 0 {
		l.pinged = now
		h.Ping = uint64(now.Microseconds()) + 1
	}
	l.named, l.welcome, l.pong, l.padding, l.owedAt = true, false, 0, nil, 0
	b := &s.building
	b.Begin(s.out.grow(dst, limit), &h)
	if s.err == nil && br.socketPreferred() && s.fits(&l.flight) {
		before := s.out.resent
		s.filler(b, carriage{x: l.x, ws: true}, min(limit, s.batchBound()), s.bound()-l.flying).fill()
		br.reg.resent.Add(s.out.resent - before)
		if br.poll != nil {
			br.poll.wake() // a backup counts from the oldest unacked frame (L3)
		}
	}
	return b.Finish()
}

// complain encodes the last words of a link that was sent what is no batch.
func (l *socketLink) complain(dst []byte) []byte {
	return wire.AppendBatch(dst, &wire.Batch{X: l.x, Incarnation: l.br.incarnation, Close: l.broken})
}
