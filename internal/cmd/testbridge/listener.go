package main

import (
	"net"
	"sync"
)

// listener counts and cuts the connections that it accepted.
type listener struct {
	net.Listener

	mu      sync.Mutex
	open    map[net.Conn]struct{}
	peak    int
	total   int
	refused bool
}

// stats tells of the connections since the last reset.
type stats struct {
	Open  int `json:"open"`
	Peak  int `json:"peak"`
	Total int `json:"total"`
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if counted := l.add(c); counted != nil {
			return counted, nil
		}
		_ = c.Close() // refused
	}
}

func (l *listener) add(c net.Conn) net.Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refused {
		return nil
	}
	counted := &conn{Conn: c, l: l}
	l.open[counted] = struct{}{}
	l.total++
	l.peak = max(l.peak, len(l.open))
	return counted
}

// cut closes every connection and tells how many there were.
func (l *listener) cut() int {
	l.mu.Lock()
	conns := l.open
	l.open = make(map[net.Conn]struct{})
	l.mu.Unlock()
	for c := range conns {
		_ = c.Close() // however it ends, it is cut
	}
	return len(conns)
}

// refuse cuts every connection and closes new ones at once, until it is told
// to stop.
func (l *listener) refuse(on bool) {
	l.mu.Lock()
	l.refused = on
	l.mu.Unlock()
	if on {
		l.cut()
	}
}

func (l *listener) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peak, l.total = len(l.open), 0
}

func (l *listener) stats() stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return stats{Open: len(l.open), Peak: l.peak, Total: l.total}
}

// conn tells its listener when it is closed.
type conn struct {
	net.Conn
	l *listener
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.l.mu.Lock()
	delete(c.l.open, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}
