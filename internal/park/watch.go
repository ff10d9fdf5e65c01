package park

import (
	"net"
	"net/http"
)

// Watch tells who has taken a connection from its http.Server when there is
// something to read, so that no goroutine needs to wait for it. A zero Watch tells
// nothing.
type Watch struct {
	parker *Parker // nil: the connection cannot be watched
	socket *net.TCPConn
	ready  func()
	id     uint64 // 0: it was never armed
}

// Init prepares the Watch of a hijacked connection. Some goroutine calls ready
// when Arm's wait is over, perhaps for nothing; it must not wait.
func (w *Watch) Init(r *http.Request, conn net.Conn, ready func()) {
	if from, _ := r.Context().Value(connKey{}).(*origin); from != nil && socketOf(conn) == from.socket {
		w.parker, w.socket, w.ready = from.server.parker, from.socket, ready
	}
}

// Works reports whether the connection can be watched: its server is attached to
// a Parker, and it is TCP, or TLS on it.
func (w *Watch) Works() bool { return w.parker != nil }

// Arm has ready called when something can be read, the peer is gone or the Parker is
// closed. It reports whether it does. The caller has just found nothing to read, by
// a deadline in the past, and holds the lock that ready takes.
func (w *Watch) Arm() bool {
	if !w.Works() {
		return false
	}
	p := w.parker
	if w.id == 0 {
		id, ok := p.enter(w)
		if !ok {
			return false
		}
		p.running.Done()
		w.id = id
	}
	return p.open.Err() == nil && p.poller.watch(w.socket, w.id, true) == nil
}

// Close ends the watch. It is called before the connection is closed.
func (w *Watch) Close() {
	if w.id != 0 {
		w.parker.leave(w.id)
		w.parker.poller.forget(w.socket)
	}
}

func (w *Watch) event(bool) { w.ready() }
func (w *Watch) closing()   { w.ready() }
