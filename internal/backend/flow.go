package backend

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// receiving bounds the bytes of long messages that gRPC receives at a time. One,
// however long, is always received.
type receiving struct {
	limit  int64
	window int           // of a stream
	stall  time.Duration // after which a message that makes no progress ends its connection; 0: never

	mu      sync.Mutex
	held    int64
	waiting []*longMessage // first come, first served
}

// FromClients bounds the bytes of long messages that gRPC receives at a time of
// clients, which, other than backends, may want to hold all of them up.
type FromClients struct{ receiving }

// NewFromClients returns a FromClients for connections with streams of the given
// window, which it closes when a long message makes no progress for the time of
// stall: it holds room that others wait for.
func NewFromClients(limit int64, window int, stall time.Duration) *FromClients {
	return &FromClients{receiving{limit: limit, window: window, stall: stall}}
}

// Conn returns a client's connection, behind TLS, of which nothing was read or
// written yet. It is to be closed.
func (f *FromClients) Conn(conn net.Conn) net.Conn {
	c := newFlowConn(conn, &f.receiving)
	c.left, c.in.left = 0, prefaceSize // it is the client that sends one
	return c
}

// longMessage is one that does not fit its stream's window.
type longMessage struct {
	conn    *flowConn
	stream  uint32
	size    int  // the window that gRPC gives for it
	left    int  // bytes to come before what is missing fits an ordinary window
	granted bool // it is received
	stalled *time.Timer
}

// grant counts a message that is received from now on. r.mu is held.
func (r *receiving) grant(m *longMessage) {
	m.granted = true
	r.held += int64(m.size)
	if r.stall > 0 {
		m.stalled = time.AfterFunc(r.stall, func() { _ = m.conn.Conn.Close() }) // gRPC learns of it by itself
	}
}

// fits reports whether one more message of n bytes may be received. r.mu is held.
func (r *receiving) fits(n int) bool { return r.held == 0 || r.held+int64(n) <= r.limit }

// begin reports whether a message may be received now. Else its conn learns when.
func (r *receiving) begin(m *longMessage) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.conn.closed {
		return true
	}
	if before := m.conn.long[m.stream]; before != nil {
		r.end(before) // the last of it came, and gRPC has gone on to the next
	}
	m.conn.long[m.stream] = m
	m.conn.numLong.Add(1)
	if len(r.waiting) > 0 || !r.fits(m.size) {
		r.waiting = append(r.waiting, m)
		return false
	}
	r.grant(m)
	return true
}

// end forgets a message and lets others begin. r.mu is held.
func (r *receiving) end(m *longMessage) {
	delete(m.conn.long, m.stream)
	m.conn.numLong.Add(-1)
	if m.stalled != nil {
		m.stalled.Stop()
	}
	if m.granted {
		r.held -= int64(m.size)
	} else {
		r.drop(m)
	}
	for len(r.waiting) > 0 && r.fits(r.waiting[0].size) {
		next := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.grant(next)
		next.conn.grants.Go(func() { next.conn.grant(next) })
	}
}

func (r *receiving) drop(m *longMessage) {
	for i, other := range r.waiting {
		if other == m {
			r.waiting = append(r.waiting[:i:i], r.waiting[i+1:]...)
			return
		}
	}
}

// flowConn is a connection between gRPC and its TLS. gRPC asks for
// the whole of a message as soon as it has read its length, with a WINDOW_UPDATE as
// large as the message where the stream's window is too small for it. Those wait
// here until there is room.
type flowConn struct {
	net.Conn
	receiving *receiving
	numLong   atomic.Int32 // of long
	grants    sync.WaitGroup

	// Guarded by receiving.mu.
	long   map[uint32]*longMessage // by stream
	closed bool

	in frames // only touched by Read

	mu      sync.Mutex
	left    int    // bytes to come of the frame that is being written
	open    bool   // a CONTINUATION must follow
	head    []byte // of a frame, not written before more of it comes
	granted []byte // frames to be written between two others
}

func newFlowConn(conn net.Conn, r *receiving) *flowConn {
	return &flowConn{Conn: conn, receiving: r, long: make(map[uint32]*longMessage), left: prefaceSize}
}

// Write implements net.Conn.
func (c *flowConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	if len(c.head) > 0 {
		p, c.head = append(c.head, p...), nil
	}
	if p = c.filter(p); len(p) > 0 {
		if _, err := c.Conn.Write(p); err != nil {
			return 0, err
		}
	}
	return n, c.writeGranted()
}

// filter returns p without the frames that wait. It is p itself where none does.
func (c *flowConn) filter(p []byte) []byte {
	var passed []byte
	from, at := 0, min(c.left, len(p))
	c.left -= at
	for at < len(p) {
		rest := p[at:]
		if len(rest) < frameHeaderSize || frameHeader(rest).kind() == typeWindowUpdate && len(rest) < updateSize {
			c.head = bytes.Clone(rest)
			p = p[:at]
			break
		}
		size := frameHeaderSize + frameHeader(rest).length()
		c.open = frameHeader(rest).opens()
		if c.waits(rest) {
			passed = append(passed, p[from:at]...)
			from = at + size
		}
		at += size
	}
	c.left += max(0, at-len(p))
	if from == 0 {
		return p
	}
	return append(passed, p[from:]...)
}

// waits reports whether a frame is not to be sent yet.
func (c *flowConn) waits(frame frameHeader) bool {
	switch frame.kind() {
	case typeResetStream:
		c.ended(frame.stream())
	case typeWindowUpdate:
		n := int(binary.BigEndian.Uint32(frame[frameHeaderSize:]))
		if frame.stream() == 0 || n <= c.receiving.window {
			return false
		}
		return !c.receiving.begin(&longMessage{conn: c, stream: frame.stream(), size: n, left: n - c.receiving.window})
	}
	return false
}

// grant sends the window of a message that waited.
func (c *flowConn) grant(m *longMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted = append(c.granted, 0, 0, updateSize-frameHeaderSize, typeWindowUpdate, 0)
	c.granted = binary.BigEndian.AppendUint32(c.granted, m.stream)
	c.granted = binary.BigEndian.AppendUint32(c.granted, uint32(m.size))
	_ = c.writeGranted() // gRPC learns of a broken connection by itself
}

// writeGranted writes what was granted, unless a frame is being written: then what
// writes its rest does.
func (c *flowConn) writeGranted() error {
	if c.left > 0 || c.open || len(c.head) > 0 || len(c.granted) == 0 {
		return nil
	}
	_, err := c.Conn.Write(c.granted)
	c.granted = nil
	return err
}

// Read implements net.Conn.
func (c *flowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.in.follow(p[:n], c.received)
	return n, err
}

// received learns of the frames that come.
func (c *flowConn) received(frame frameHeader) {
	if c.numLong.Load() == 0 {
		return
	}
	switch frame.kind() {
	case typeResetStream:
		c.ended(frame.stream())
	case typeHeaders, typeData:
		if frame.ends() {
			c.ended(frame.stream())
		} else if frame.kind() == typeData {
			c.progress(frame.stream(), frame.length())
		}
	}
}

// progress counts n bytes of a stream.
func (c *flowConn) progress(stream uint32, n int) {
	c.receiving.mu.Lock()
	defer c.receiving.mu.Unlock()
	m := c.long[stream]
	if m == nil || !m.granted {
		return
	}
	if m.stalled != nil {
		m.stalled.Reset(c.receiving.stall)
	}
	if m.left -= n; m.left <= 0 {
		c.receiving.end(m)
	}
}

// ended forgets a stream.
func (c *flowConn) ended(stream uint32) {
	c.receiving.mu.Lock()
	defer c.receiving.mu.Unlock()
	if m := c.long[stream]; m != nil {
		c.receiving.end(m)
	}
}

// Close implements net.Conn.
func (c *flowConn) Close() error {
	err := c.Conn.Close()
	c.receiving.mu.Lock()
	c.closed = true
	for _, m := range c.long {
		c.receiving.end(m)
	}
	c.receiving.mu.Unlock()
	c.grants.Wait()
	return err
}
