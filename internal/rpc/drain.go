package rpc

import (
	"context"
	"sync"
)

// calls are the RPCs under way.
type calls struct {
	mu     sync.Mutex
	open   map[Call]struct{}
	closed bool
	idle   chan struct{} // closed when none is open; nil: nobody waits for that
}

// add reports whether another call may begin.
func (s *calls) add(c Call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = make(map[Call]struct{})
	}
	s.open[c] = struct{}{}
	return true
}

func (s *calls) remove(c Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	if len(s.open) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// none returns a channel that is closed when no call is open.
func (s *calls) none() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	idle := s.idle
	if idle == nil {
		idle = make(chan struct{})
		if len(s.open) == 0 {
			close(idle)
		} else {
			s.idle = idle
		}
	}
	return idle
}

// close has no call begin any more, and cancels those that are open.
func (s *calls) close(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		c.Cancel()(cause)
	}
}

// Drain waits until no call is open, or ctx ends: then those that are get
// cause. Calls that begin meanwhile are served; those that begin later get
// UNAVAILABLE. It is called once, and returns ctx's cause when calls were cut.
func (h *Handler) Drain(ctx context.Context, cause error) error {
	endConnections := h.grpc.drain()
	var err error
	select {
	case <-h.calls.none():
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	h.calls.close(cause)
	endConnections()
	<-h.calls.none()
	h.readers.Wait()
	return err
}

// Active counts the calls under way, by protocol.
func (h *Handler) Active() map[string]int {
	h.calls.mu.Lock()
	defer h.calls.mu.Unlock()
	n := make(map[string]int)
	for _, p := range Protocols {
		n[p] = 0
	}
	for c := range h.calls.open {
		n[c.Protocol()]++
	}
	return n
}
