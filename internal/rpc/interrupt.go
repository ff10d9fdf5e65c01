package rpc

import (
	"context"
	"time"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
)

// net/http's reads and writes know no context: a deadline that has passed
// interrupts them.
var passed = time.Unix(1, 0)

// watch interrupts the call when ctx ends. Recv and Send are given the same
// one, or one that derives from it, each time.
func (c *Call) watch(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.watched {
		switch w := &c.watched[i]; {
		case w.ctx == ctx:
			return
		case w.ctx == nil:
			*w = watch{ctx, context.AfterFunc(ctx, c.interrupt)}
			return
		}
	}
}

// interrupt ends the Recv and Send that wait. The deadlines are set for what
// waits only: they break the connection. Errors say that it has none to set,
// and then nothing can wait on it either.
func (c *Call) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if c.reading {
		c.interrupted = true
		_ = c.control.SetReadDeadline(passed)
	}
	if c.writing {
		c.cutOnce()
	}
}

// extendWrites bounds the writes that follow: a client that does not read must
// not hold the call for ever. A timer does it, since net/http takes its time for
// a deadline, in HTTP/2.
func (c *Call) extendWrites() {
	if c.stall == nil {
		c.stall = time.AfterFunc(httpwrite.Timeout, c.cutWrites)
		return
	}
	c.stall.Reset(httpwrite.Timeout)
}

// liftWrites takes the bound back.
func (c *Call) liftWrites() {
	if c.stall != nil {
		c.stall.Stop()
	}
}

func (c *Call) cutWrites() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.cutOnce()
	}
}

// cutOnce has what is being written fail. In HTTP/2 each deadline that has
// passed resets the stream. c.mu is held.
func (c *Call) cutOnce() {
	if !c.cut {
		c.cut = true
		_ = c.control.SetWriteDeadline(passed)
	}
}

// endWrites leaves what net/http still has to write to a deadline of its own.
func (c *Call) endWrites() {
	c.liftWrites()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if !c.cut {
		_ = c.control.SetWriteDeadline(time.Now().Add(httpwrite.Timeout))
	}
}

func (c *Call) setWriteDeadline(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cut {
		_ = c.control.SetWriteDeadline(at) // where there is none, the client's end is all
	}
}

// unwatch ends watch. Nothing interrupts the call from now on.
func (c *Call) unwatch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for i := range c.watched {
		if w := &c.watched[i]; w.stop != nil {
			w.stop()
		}
	}
}

func (c *Call) wasInterrupted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.interrupted
}

// setReadTimer bounds the reads that follow, or lifts the bound.
func (c *Call) setReadTimer(on bool) {
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
