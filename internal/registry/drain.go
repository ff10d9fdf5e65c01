package registry

import (
	"context"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
)

const (
	// flushInterval is how often Drain looks whether it has to wait any longer.
	flushInterval = 20 * time.Millisecond
	// flushLimit bounds the wait for acks of the last frames.
	flushLimit = 2 * time.Second
	// moveTime is how long clients have at least to hear that they should move: RPCs
	// that they send before are served.
	moveTime = 2 * time.Second
)

func (r *Registry) isDraining() bool { return r.drain.Load() }

// Drain asks every client to open its next RPCs elsewhere, refuses new
// sessions, waits for the open RPCs until ctx ends, and for a moment for those that
// are on their way, and then closes every session with the reason "drained". It
// returns the cause of ctx if RPCs had to be cut off.
func (r *Registry) Drain(ctx context.Context) error {
	r.drain.Store(true)
	r.each(func(s *Session) { s.ep.Wake() })
	moving, cancel := context.WithTimeout(ctx, moveTime)
	defer cancel()
	var err error
	for done := false; !done && err == nil; done = r.closeIdle() {
		err = r.awaitIdle(ctx)
		r.awaitMoves(moving)
		r.flush(ctx)
	}
	r.flush(ctx) // of an RPC that ended since, hardly ever
	r.close(&engine.Error{Reason: engine.ReasonDrained, Message: "the bridge is shutting down"})
	return err
}

// closeIdle closes the registry for RPCs if none is open. It reports whether none
// is.
func (r *Registry) closeIdle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	idle := r.streams.Load() == 0
	r.closed = r.closed || idle
	return idle
}

// awaitIdle waits until no RPC is open. It returns the cause of ctx when that ends
// first.
func (r *Registry) awaitIdle(ctx context.Context) error {
	r.mu.Lock()
	if r.streams.Load() == 0 {
		r.mu.Unlock()
		return nil
	}
	idle := make(chan struct{})
	r.idle = idle
	r.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// awaitMoves waits until ctx ends, or no session is left.
func (r *Registry) awaitMoves(ctx context.Context) {
	await(ctx, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.sessions) == 0
	})
}

// await waits until ctx ends, or done is true.
func await(ctx context.Context, done func() bool) {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// flush waits until clients have the last frames. One that polls has no link
// between an answer and its next request, so frames that were never sent count
// without a link too.
func (r *Registry) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	await(ctx, func() bool {
		pending := false
		r.each(func(s *Session) { pending = pending || !s.ep.Flushed(s.links > 0) })
		return !pending
	})
}

// Close ends every session at once, and waits for every Handle to return.
func (r *Registry) Close() {
	r.close(&engine.Error{Reason: engine.ReasonDrained, Message: "the bridge was closed"})
}

func (r *Registry) close(why *engine.Error) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.each(func(s *Session) { s.ep.Over(why) })
	r.serving.Wait()
	r.workers.Close()
}
