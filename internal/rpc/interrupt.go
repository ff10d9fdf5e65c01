package rpc

import (
	"context"
	"time"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

// net/http's reads and writes know no context: a deadline that has passed
// interrupts them.
var passed = time.Unix(1, 0)

// half is one direction of a call. httpCall.mu guards it.
type half struct {
	ctx  context.Context // whose end interrupts it; nil: none yet
	stop func() bool
	busy bool // something waits
}

// start says that the call reads, or writes, until done: should ctx end, it is
// interrupted.
func (c *httpCall) start(ctx context.Context, h *half) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if h.ctx != ctx {
		if h.stop != nil {
			h.stop()
		}
		h.ctx, h.stop = ctx, context.AfterFunc(ctx, func() { c.interrupt(h, ctx) })
	}
	h.busy = true
	return nil
}

func (c *httpCall) done(h *half) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.busy = false
}

// interrupt ends what waits because ctx has ended. A deadline is set for what
// waits only: it breaks the connection. An error says that there is none to set,
// and then nothing can wait either.
func (c *httpCall) interrupt(h *half, ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over || !h.busy || h.ctx != ctx:
	case h == &c.writes:
		c.cutOnce()
	default:
		c.interrupted = true
		_ = c.control.SetReadDeadline(passed)
	}
}

// extendWrites bounds the writes that follow: a client that does not read must
// not hold the call for ever. A timer does it, since net/http takes its time for
// a deadline, in HTTP/2.
func (c *httpCall) extendWrites() {
	if c.stall == nil {
		c.stall = time.AfterFunc(httpwrite.Timeout, c.cutWrites)
		return
	}
	c.stall.Reset(httpwrite.Timeout)
}

// liftWrites takes the bound back.
func (c *httpCall) liftWrites() {
	if c.stall != nil {
		c.stall.Stop()
	}
}

func (c *httpCall) cutWrites() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.cutOnce()
	}
}

// cutOnce has what is being written fail. In HTTP/2 each deadline that has
// passed resets the stream. c.mu is held.
func (c *httpCall) cutOnce() {
	if !c.cut {
		c.cut = true
		_ = c.control.SetWriteDeadline(passed)
	}
}

// endWrites leaves what net/http still has to write to a deadline of its own.
func (c *httpCall) endWrites() {
	c.liftWrites()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if !c.cut {
		_ = c.control.SetWriteDeadline(time.Now().Add(httpwrite.Timeout))
	}
}

func (c *httpCall) setWriteDeadline(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cut {
		_ = c.control.SetWriteDeadline(at) // where there is none, the client's end is all
	}
}

// unwatch has nothing interrupt the call from now on.
func (c *httpCall) unwatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, h := range []*half{&c.reads, &c.writes} {
		if h.stop != nil {
			h.stop()
		}
	}
}

func (c *httpCall) wasInterrupted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.interrupted
}

// setReadTimer bounds the reads that follow, or lifts the bound.
func (c *httpCall) setReadTimer(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupted {
		return
	}
	var deadline time.Time
	if on {
		deadline = time.Now().Add(c.handler.cfg.StallTimeout)
	}
	_ = c.control.SetReadDeadline(deadline) // where there is none, the client's end is all
}
