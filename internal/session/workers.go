package session

import "sync"

// maxIdleWorkers is how many goroutines wait for the next RPC.
const maxIdleWorkers = 64

// workers run Handles in goroutines that serve one RPC after another, so that
// not each RPC has to grow a stack of its own. There are as many as RPCs that
// run, and a few that wait.
type workers struct {
	handle func(*Stream) // static

	mu      sync.Mutex
	idle    []chan *Stream
	closed  bool
	running sync.WaitGroup
}

// run has handle called for st, in a goroutine.
func (w *workers) run(st *Stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.idle); n > 0 {
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		next <- st
		return
	}
	w.running.Go(func() { w.work(st) })
}

func (w *workers) work(st *Stream) {
	next := make(chan *Stream, 1)
	for st != nil {
		w.handle(st)
		if !w.wait(next) {
			return
		}
		st = <-next
	}
}

// wait puts a worker among the idle ones. It reports false if there are enough.
func (w *workers) wait(next chan *Stream) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= maxIdleWorkers {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// close waits until no worker is left.
func (w *workers) close() {
	w.mu.Lock()
	w.closed = true
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
	w.mu.Unlock()
	w.running.Wait()
}
