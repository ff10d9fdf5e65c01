package session

import "sync"

// workers do work in goroutines that take one piece after another, so that not
// each piece has to grow a stack of its own. There are as many as pieces that
// are worked on, and a few that wait.
type workers[T any] struct {
	work func(T) // static
	wait int     // static: how many goroutines wait for the next piece

	mu      sync.Mutex
	idle    []chan T
	closed  bool
	running sync.WaitGroup
}

// run has work called for v, in a goroutine.
func (w *workers[T]) run(v T) {
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

func (w *workers[T]) loop(v T) {
	next := make(chan T, 1)
	for more := true; more; {
		w.work(v)
		if !w.rest(next) {
			return
		}
		v, more = <-next
	}
}

// rest puts a worker among the idle ones. It reports false if there are enough.
func (w *workers[T]) rest(next chan T) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= w.wait {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// close waits until no worker is left. Nothing may be run any more.
func (w *workers[T]) close() {
	w.mu.Lock()
	w.closed = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
	w.mu.Unlock()
	w.running.Wait()
}
