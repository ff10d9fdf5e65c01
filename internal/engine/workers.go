package engine

import "sync"

// Workers do work in goroutines that take one piece after another, so that not
// each piece has to grow a stack of its own. There are as many as pieces that
// are worked on, and a few that wait.
type Workers[T any] struct {
	Work func(T) // static
	Wait int     // static: how many goroutines wait for the next piece

	mu      sync.Mutex
	idle    []chan T
	closed  bool
	running sync.WaitGroup
}

// Run calls Work for v in a goroutine.
func (w *Workers[T]) Run(v T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.idle); n > 0 {
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		next <- v
		return
	}
	w.running.Go(func() { w.loop(v) })
}

func (w *Workers[T]) loop(v T) {
	next := make(chan T, 1)
	for more := true; more; {
		w.Work(v)
		if !w.idleWith(next) {
			return
		}
		v, more = <-next
	}
}

// idleWith puts a worker among the idle ones. It reports false if there are enough.
func (w *Workers[T]) idleWith(next chan T) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= w.Wait {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// Close waits until no worker is left. Run must not be called any more.
func (w *Workers[T]) Close() {
	w.mu.Lock()
	w.closed = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
	w.mu.Unlock()
	w.running.Wait()
}
