package registry

import (
	"context"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
)

const (
	// flushInterval is how often Drain looks whether the last frames were acked.
	flushInterval = 20 * time.Millisecond
	// flushLimit bounds the wait for acks of the last frames.
	flushLimit = 2 * time.Second
)

func (r *Registry) isDraining() bool { return r.drain.Load() }

// Drain asks every client to open its next RPCs elsewhere, refuses new
// sessions, waits for the open RPCs until ctx ends, and then closes every
// session with the reason "drained". It returns the cause of ctx if RPCs had
// to be cut off.
func (r *Registry) Drain(ctx context.Context) error {
	r.mu.Lock()
	r.drain.Store(true)
	idle := make(chan struct{})
	if r.streams.Load() == 0 {
		close(idle)
	} else {
		r.idle = idle
	}
	r.mu.Unlock()
	r.each(func(s *Session) { s.ep.Wake() })
	var err error
	select {
	case <-idle:
		r.flush(ctx)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.close(&engine.Error{Reason: engine.ReasonDrained, Message: "the bridge is shutting down"})
	return err
}

// flush waits until clients have the last frames. One that polls has no link
// between an answer and its next request, so frames that were never sent count
// without a link too.
func (r *Registry) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		pending := false
		r.each(func(s *Session) { pending = pending || !s.ep.Flushed(s.links > 0) })
		if !pending {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
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
