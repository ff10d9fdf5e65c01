package engine

import (
	"slices"
	"time"
)

// reassembly is a session's part of rule D4. Guarded by the endpoint's lock.
type reassembly struct {
	used    int       // bytes, of twice the longest message
	waiting []*Stream // first come, first served
}

// reserveTimeout bounds the wait for the reassembly budget (D4).
const reserveTimeout = 10 * time.Second

// globalRetry is how often a session looks again for room in the budget that
// other sessions use up.
const globalRetry = 50 * time.Millisecond

// reserve asks for room for the message that st puts together.
func (e *Endpoint) reserve(st *Stream) {
	st.recv.reserve = time.AfterFunc(reserveTimeout, func() { e.reserveTimedOut(st) })
	e.large.waiting = append(e.large.waiting, st)
	e.serveReserve()
}

func (e *Endpoint) serveReserve() {
	l := &e.large
	for len(l.waiting) > 0 {
		st := l.waiting[0]
		n := st.recv.part.length
		if l.used > 0 && l.used+n > 2*e.maxMessage {
			return
		}
		if !e.share.reserve(n) {
			e.lookAgain()
			return
		}
		l.waiting = l.waiting[1:]
		l.used += n
		st.reserved()
		e.Wake()
	}
	l.waiting = nil
}

// lookAgain tries once more when other sessions may have given room back.
func (e *Endpoint) lookAgain() {
	if e.looking {
		return
	}
	e.looking = true
	time.AfterFunc(globalRetry, func() {
		e.mu.Lock()
		defer e.Unlock()
		e.looking = false
		e.serveReserve()
	})
}

func (e *Endpoint) unreserve(n int) {
	e.large.used -= n
	e.share.unreserve(n)
	e.serveReserve()
}

func (e *Endpoint) unqueueReserve(st *Stream) {
	if st.recv.reserve == nil {
		return
	}
	st.recv.reserve.Stop()
	st.recv.reserve = nil
	e.large.waiting = slices.DeleteFunc(e.large.waiting, func(w *Stream) bool { return w == st })
	e.serveReserve()
}

func (e *Endpoint) reserveTimedOut(st *Stream) {
	e.mu.Lock()
	defer e.Unlock()
	if st.recv.reserve == nil || st.done {
		return
	}
	st.owner.Fail(BridgeEnd(StatusResourceExhausted, ReasonLimit,
		"no room to receive a message of %d bytes within %v", st.recv.part.length, reserveTimeout))
}
