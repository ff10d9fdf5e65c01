package front

import (
	"net"
	"sync"
)

// accepted is what a listener's Accept returns.
type accepted struct {
	conn net.Conn
	err  error
}

// queue is a listener that is given its connections.
type queue struct {
	addr  net.Addr
	conns chan accepted
	over  chan struct{}
	close func() error
}

// newQueue returns a queue that calls onClose with its first Close.
func newQueue(addr net.Addr, onClose func() error) *queue {
	q := &queue{addr: addr, conns: make(chan accepted), over: make(chan struct{})}
	q.close = sync.OnceValue(func() error {
		close(q.over)
		return onClose()
	})
	return q
}

// put waits until a is taken. It reports whether it was: not if the queue is
// closed.
func (q *queue) put(a accepted) bool {
	if q.isClosed() {
		return false
	}
	select {
	case q.conns <- a:
		return true
	case <-q.over:
		return false
	}
}

func (q *queue) isClosed() bool {
	select {
	case <-q.over:
		return true
	default:
		return false
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case a := <-q.conns:
		return a.conn, a.err
	case <-q.over:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *queue) Close() error { return q.close() }

// Addr implements net.Listener.
func (q *queue) Addr() net.Addr { return q.addr }
