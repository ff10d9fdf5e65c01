package session

import (
	"time"

	"github.com/pollbridge/pollbridge/transport"
)

// restAfter is how long Next waits in its caller's goroutine before the link
// rests.
const restAfter = time.Second

// writeAgain is how long after a call of write none follows: what comes in quick
// succession gets a writer that waits for it.
const writeAgain = 5 * time.Millisecond

// rest is the wait of a link that nobody waits for: Next has returned, and
// ready or write has it called again. Guarded by Session.mu.
type rest struct {
	ready func() // static; nil: the link does not rest
	write func() // static; nil: only ready is called
	on    bool
	bell  *time.Timer   // for what is to be done by the clock
	wrote time.Duration // when write was last called
	brief bool          // it is write that calls Next
	said  bool          // it was given a batch
}

// rester is a link that may rest. Its look is called when the time is over for
// which it rests.
type rester interface{ look() }

// patience is how long Next may wait that would wait for the given time: not at
// all, and ErrResting, when it has waited long enough. since is when it began,
// negative at first.
func (r *rest) patience(s *Session, l rester, since *time.Duration, wait time.Duration) (time.Duration, error) {
	if r.ready == nil {
		return wait, nil
	}
	now := s.now()
	if *since < 0 {
		*since = now
	}
	if left := *since + restAfter - now; left > 0 && !r.brief {
		return min(wait, left), nil
	}
	r.on, r.brief, r.said = true, false, false
	r.bell = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.unlock()
		if r.on {
			l.look()
		}
	})
	return 0, transport.ErrResting
}

// rouse has Next called again, if the link rests: by who ends the only RPC, so
// that no writer need be started for its answer, else by ready.
func (r *rest) rouse(s *Session) {
	if !r.on {
		return
	}
	r.end()
	now := s.now()
	if !s.answers || r.write == nil || now-r.wrote < writeAgain {
		s.later(r.ready)
		return
	}
	r.brief, r.wrote = true, now
	s.later(r.write)
}

// handOver has ready called for what is left to say after a call of write.
func (r *rest) handOver(s *Session) error {
	r.brief, r.said = false, false
	s.later(r.ready)
	return transport.ErrResting
}

// end forgets ready.
func (r *rest) end() {
	if r.on {
		r.on = false
		r.bell.Stop()
		r.bell = nil
	}
}
