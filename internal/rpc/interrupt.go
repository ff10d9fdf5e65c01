package rpc

import (
	"context"
	"time"
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
		_ = c.control.SetWriteDeadline(passed)
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
