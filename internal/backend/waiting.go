package backend

import (
	"sync"
	"time"
)

// waiting is the queue of RPCs that wait for a channel to take them. All have the
// same limit, so they become overdue in order, and one timer serves them all.
type waiting struct {
	limit time.Duration // static

	mu          sync.Mutex
	first, last *turn
	timer       *time.Timer // fires when the first is overdue; nil: not set
}

// add begins a turn's wait.
func (w *waiting) add(t *turn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.waits, t.due = true, time.Now().Add(w.limit)
	if t.before = w.last; t.before == nil {
		w.first = t
	} else {
		t.before.behind = t
	}
	w.last = t
	if w.timer == nil {
		w.timer = time.AfterFunc(w.limit, w.expire)
	}
}

// remove ends a turn's wait. It reports whether that was in time.
func (w *waiting) remove(t *turn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !t.waits {
		return false
	}
	w.unlink(t)
	return true
}

func (w *waiting) unlink(t *turn) {
	if t.before == nil {
		w.first = t.behind
	} else {
		t.before.behind = t.behind
	}
	if t.behind == nil {
		w.last = t.before
	} else {
		t.behind.before = t.before
	}
	t.waits, t.before, t.behind = false, nil, nil
}

// expire ends the overdue waits, and sets the timer for the next one.
func (w *waiting) expire() {
	w.mu.Lock()
	var overdue []*turn
	now := time.Now()
	for w.first != nil && !w.first.due.After(now) {
		overdue = append(overdue, w.first)
		w.unlink(w.first)
	}
	if w.timer = nil; w.first != nil {
		w.timer = time.AfterFunc(w.first.due.Sub(now), w.expire)
	}
	w.mu.Unlock()
	for _, t := range overdue {
		t.cancel(errNotReady)
	}
}
