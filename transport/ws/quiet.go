package ws

import (
	"bufio"
	"net"
	"sync"
	"syscall"
	"time"
)

// quiet is how a WebSocket's reader waits for the next message: below few
// frames of its stack, and outside the library, so that another goroutine can
// take its place in the middle of the wait. A nil *quiet does not wait.
type quiet struct {
	conn   net.Conn
	reader *bufio.Reader // the library's
	raw    syscall.RawConn
	ready  func(fd uintptr) bool // isReady, made once
	asked  bool                  // in this wait, whether something is there

	mu       sync.Mutex
	stale    bool // one waits that is worth renewing
	renewing bool // the wait was ended by renew
	ended    bool // the library reads in other goroutines too
}

// newQuiet gives nil where waiting outside the library is not possible: below
// TLS, bytes may have been read that were not asked for yet.
func newQuiet(conn net.Conn, reader *bufio.Reader) *quiet {
	tcp, ok := conn.(*net.TCPConn)
	if !ok || !canPoll {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	q := &quiet{conn: conn, reader: reader, raw: raw}
	q.ready = q.isReady
	return q
}

// wait waits until there is something to read, be it the connection's end. It
// reports true if renew ended the wait instead, which it does if the reader has
// delivered something since it began: its stack has grown.
func (q *quiet) wait(delivered bool) bool {
	if q == nil || !q.begin(delivered) {
		return false
	}
	q.asked = false
	err := q.raw.Read(q.ready)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stale = false
	if !q.renewing {
		return false // the library meets an error too
	}
	q.renewing = false
	if q.ended {
		return false
	}
	_ = q.conn.SetReadDeadline(time.Time{})
	return err != nil
}

// begin tells whether there is anything to wait for.
func (q *quiet) begin(delivered bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended || q.reader.Buffered() > 0 {
		return false
	}
	q.stale = delivered
	return true
}

// isReady is asked before the wait, whose end says it then.
func (q *quiet) isReady(fd uintptr) bool {
	if q.asked {
		return true
	}
	q.asked = true
	return readable(fd)
}

// renew has another goroutine wait, if one does that has delivered something.
func (q *quiet) renew() {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stale && !q.ended && !q.renewing {
		q.renewing = true
		_ = q.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// end leaves waiting, and read deadlines, to others.
func (q *quiet) end() {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended = true
}
