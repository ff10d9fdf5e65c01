package engine

import (
	"context"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// LinkID names a link of a session. Links are numbered 1, 2, … across all
// transports (L1); the kind tells their shape.
type LinkID struct {
	Number uint64
	Kind   transport.Kind
}

// Due is what a link has to send, and when. It is worked out by Sender.Due
// alone, for who wakes the link and for who writes to it.
type Due struct {
	At     time.Duration // on the endpoint's clock; not after now: at once
	Frames bool          // frames may go with it
	Ping   bool          // a ping goes with it
	Quiet  bool          // nothing was sent for long: the link may go idle at once
}

// Sender is the sending half of a link. Its methods are called with the
// endpoint's lock held.
type Sender interface {
	// Due returns what the link has to send, and when. It changes nothing.
	Due(now time.Duration) Due
	// Build builds a batch of at most limit bytes in out. It is called when Due
	// is now, and returns an error when the link has nothing more to send.
	Build(out *Outgoing, limit int, now time.Duration, due Due) error
}

// HeldWithFrames bounds the hold of an exchange that brings frames, so that their
// ack is never late.
const HeldWithFrames = 2 * time.Second

// idleAfter is how long Next waits in its caller's goroutine before the link
// goes idle.
const idleAfter = time.Second

// LongestWait is how far ahead a link looks that has nothing to send.
const LongestWait = time.Hour

// Waiter waits until a link has something to send: in Next, or, once that took a
// second, without a goroutine. Guarded by the endpoint's lock.
type Waiter struct {
	// Static after Init.
	ep     *Endpoint
	sender Sender
	wake   func() // has Next called again after ErrIdle; nil: the link never goes idle

	ready   chan struct{} // capacity 1: Next may look again; nil: it does not wait
	timer   *time.Timer   // of Next, or of the idle link
	looksAt time.Duration // when timer fires; 0: it is not set
	idle    bool          // Next has returned ErrIdle, and wake was not called
	out     *Outgoing     // what Next returned last; nil: nothing, or it is released
}

// Init prepares the Waiter. wake, if not nil, lets the link go idle: Next returns
// transport.ErrIdle after a quiet second, and wake is called, without the lock, when
// Next is to be called again.
func (w *Waiter) Init(ep *Endpoint, sender Sender, wake func()) {
	w.ep, w.sender, w.wake = ep, sender, wake
}

// Next waits until the link has something to send, and builds it. The batch is
// valid until Next is called again, or Stop. Next returns Build's error, or ctx's
// cause, or transport.ErrIdle. It may be called although the link is idle and was
// not woken; then it is not idle any more.
func (w *Waiter) Next(ctx context.Context, limit int) (transport.Batch, error) {
	e := w.ep
	since := time.Duration(-1)
	for woken := false; ; {
		e.mu.Lock()
		w.release()
		if w.idle {
			w.Stop()
		}
		if woken || e.out.ready > 0 && e.out.ready < wire.MaxFragment { // not for the rest of a message alone
			e.letOthersQueue()
		}
		now := e.Now()
		due := w.sender.Due(now)
		if due.At <= now {
			batch, err := w.build(limit, now, due)
			e.Unlock()
			return batch, err
		}
		switch {
		case due.Quiet:
			since = now - idleAfter
		case since < 0:
			since = now
		}
		ready, fires := w.wait(now, due.At, since)
		e.Unlock()
		if ready == nil {
			return nil, transport.ErrIdle
		}
		select {
		case <-ready:
			woken = true
		case <-fires:
			woken = false
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (w *Waiter) build(limit int, now time.Duration, due Due) (transport.Batch, error) {
	w.out = NewOutgoing()
	if err := w.sender.Build(w.out, limit, now, due); err != nil {
		w.release()
		return nil, err
	}
	return w.out.Batch(), nil
}

// release lets go of the batch that Next returned last.
func (w *Waiter) release() {
	if w.out != nil {
		w.out.Release()
		w.out = nil
	}
}

// wait prepares a wait that began at since. It returns nil after the link went
// idle instead: then nothing is kept for Next.
func (w *Waiter) wait(now, at, since time.Duration) (<-chan struct{}, <-chan time.Time) {
	if w.wake != nil && at > now+idleAfter {
		if now >= since+idleAfter {
			w.goIdle(at - now)
			return nil, nil
		}
		at = since + idleAfter
	}
	if w.ready == nil {
		w.ready = make(chan struct{}, 1)
	}
	w.looksAt = at
	if w.timer == nil {
		w.timer = time.NewTimer(at - now)
	} else {
		w.timer.Reset(at - now)
	}
	return w.ready, w.timer.C
}

func (w *Waiter) goIdle(wait time.Duration) {
	w.Stop()
	w.idle = true
	w.timer = time.AfterFunc(wait, func() {
		w.ep.mu.Lock()
		defer w.ep.Unlock()
		if w.idle {
			w.Notify()
		}
	})
}

// Notify has Next look again, or called again, if there is something to send;
// else it sees to it that this happens in time.
func (w *Waiter) Notify() {
	if len(w.ready) > 0 || w.ready == nil && !w.idle {
		return // Next will look
	}
	now := w.ep.Now()
	at := w.sender.Due(now).At
	switch {
	case w.idle && at <= now:
		w.Stop()
		w.ep.Later(w.wake)
	case w.idle:
		w.timer.Reset(at - now)
	case at <= now:
		signal(w.ready)
	case at < w.looksAt:
		w.looksAt = at
		w.timer.Reset(at - now)
	}
}

// Stop ends a wait, and what is kept for it.
func (w *Waiter) Stop() {
	w.release()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.ready, w.timer, w.looksAt, w.idle = nil, nil, 0, false
}
