package session

import (
	"time"

	"github.com/pollbridge/pollbridge/transport"
)

// restAfter is how long Next waits in its caller's goroutine before the link
// rests.
const restAfter = time.Second

// rest is the wait of a link that nobody waits for: Next has returned, and
// ready has it called again. Guarded by Session.mu.
type rest struct {
	ready func() // static; nil: the link does not rest
	on    bool
	bell  *time.Timer // for what is to be done by the clock
}

// rester is a link that may rest. Its look is called when the time is over for
// which it rests.
type rester interface{ look() }

// patience is how long Next may wait that would wait for the given time: not at
// all, and ErrIdle, when it has waited long enough. since is when it began,
// negative at first.
func (r *rest) patience(s *Session, l rester, since *time.Duration, wait time.Duration) (time.Duration, error) {
	if r.ready == nil {
		return wait, nil
	}
	now := s.now()
	if *since < 0 {
		*since = now
	}
	if left := *since + restAfter - now; left > 0 {
		return min(wait, left), nil
	}
	r.on = true
	r.bell = time.AfterFunc(wait, func() {
		s.mu.Lock()
		defer s.unlock()
		if r.on {
			l.look()
		}
	})
	return 0, transport.ErrIdle
}

// rouse has Next called again, if the link rests.
func (r *rest) rouse(s *Session) {
	if r.on {
		r.end()
		s.later(r.ready)
	}
}

// end forgets ready.
func (r *rest) end() {
	if r.on {
		r.on = false
		r.bell.Stop()
		r.bell = nil
	}
}
