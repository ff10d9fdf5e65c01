package session

import (
	"slices"
	"sync"
	"time"
)

// budget bounds the bytes of messages larger than a stream's window that are
// being put together (D4). One for each session, and one over all of them.
type budget struct {
	mu   sync.Mutex
	left int
}

// take reserves n bytes if there is room. Nothing reserved yet means room for
// any one message.
func (b *budget) take(n, size int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left && b.left < size {
		return false
	}
	b.left -= n
	return true
}

func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
}

// reassembly is a session's part of rule D4. Guarded by Session.mu.
type reassembly struct {
	size    int // bytes; twice the longest message
	used    int
	waiting []*Stream // first come, first served
	global  *budget   // nil: none
	total   int       // size of global
	looking bool      // a look for room in global is due
}

// reserveTimeout bounds the wait for the reassembly budget (D4).
const reserveTimeout = 10 * time.Second

// globalRetry is how often a session looks again for room in the budget that
// other sessions use up.
const globalRetry = 50 * time.Millisecond

// reserve asks for room for the message that st puts together.
func (s *Session) reserve(st *Stream) {
	st.recv.reserve = time.AfterFunc(reserveTimeout, func() { s.reserveTimedOut(st) })
	s.large.waiting = append(s.large.waiting, st)
	s.serveReserve()
}

func (s *Session) serveReserve() {
	l := &s.large
	for len(l.waiting) > 0 {
		st := l.waiting[0]
		n := st.recv.part.length
		if l.used > 0 && l.used+n > l.size {
			return
		}
		if l.global != nil && !l.global.take(n, l.total) {
			s.lookAgain()
			return
		}
		l.waiting = l.waiting[1:]
		l.used += n
		st.reserved()
		s.wake()
	}
	l.waiting = nil
}

// lookAgain tries once more when other sessions may have given room back.
func (s *Session) lookAgain() {
	if s.large.looking {
		return
	}
	s.large.looking = true
	time.AfterFunc(globalRetry, func() {
		s.mu.Lock()
		defer s.unlock()
		s.large.looking = false
		s.serveReserve()
	})
}

func (s *Session) unreserve(n int) {
	s.large.used -= n
	if s.large.global != nil {
		s.large.global.give(n)
	}
	s.serveReserve()
}

func (s *Session) unqueueReserve(st *Stream) {
	if st.recv.reserve == nil {
		return
	}
	st.recv.reserve.Stop()
	st.recv.reserve = nil
	s.large.waiting = slices.DeleteFunc(s.large.waiting, func(w *Stream) bool { return w == st })
	s.serveReserve()
}

func (s *Session) reserveTimedOut(st *Stream) {
	s.mu.Lock()
	defer s.unlock()
	if st.recv.reserve == nil || st.done {
		return
	}
	st.fail(bridgeEnd(statusResourceExhausted, ReasonLimit,
		"no room for a message of %d bytes within %v", st.recv.part.length, reserveTimeout))
}
