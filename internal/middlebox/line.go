package middlebox

import (
	"io"
	"net"
	"sync"
	"time"
)

const (
	pieceSize = 16 << 10
	queueSize = 64
	// mergePause is how long Rechunk waits for more bytes to mix with.
	mergePause = time.Millisecond
)

// line is a client's connection, below TLS: it delays bytes, cuts them into
// pieces, and falls mute. Bytes wait in queues both ways, so that a delay does
// not cost throughput.
type line struct {
	net.Conn
	p        *Proxy
	accepted time.Time
	in, out  chan piece
	done     chan struct{} // closed when the connection is
	gone     chan struct{} // closed when the client is
	rest     []byte        // of the piece that Read is at

	mu      sync.Mutex
	touched time.Time // when bytes last went either way
	mute    bool
}

// piece is some bytes and when they came. One without bytes is the end.
type piece struct {
	data  []byte
	at    time.Time
	reset bool
	err   error
}

func newLine(p *Proxy, raw net.Conn) *line {
	now := time.Now()
	l := &line{
		Conn: raw, p: p, accepted: now, touched: now,
		in: make(chan piece, queueSize), out: make(chan piece, queueSize),
		done: make(chan struct{}), gone: make(chan struct{}),
	}
	p.tasks.Go(l.readAll)
	p.tasks.Go(l.writeAll)
	return l
}

// passes reports whether bytes get through now, and notes that there are some.
func (l *line) passes() bool {
	f := l.p.profile.Load()
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.mute:
		return false
	case f.BlackHole > 0 && now.Sub(l.accepted) >= f.BlackHole-1: // 1 ns: from the start
		l.p.strike("blackhole")
		l.mute = true
	case f.IdleDrop > 0 && now.Sub(l.touched) >= f.IdleDrop:
		l.p.strike("idledrop")
		l.mute = true
	}
	l.touched = now
	return !l.mute
}

func (l *line) isMute() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mute
}

// readAll takes in what the client sends, as it comes.
func (l *line) readAll() {
	defer close(l.gone)
	buf := make([]byte, pieceSize)
	for {
		n, err := l.Conn.Read(buf)
		if n > 0 && l.passes() {
			l.p.add(func(c *Counts) { c.BytesUp += int64(n) })
			l.push(l.in, piece{data: append([]byte(nil), buf[:n]...), at: time.Now()})
		}
		if err != nil {
			l.push(l.in, piece{err: err})
			return
		}
	}
}

func (l *line) push(queue chan piece, one piece) error {
	select {
	case queue <- one:
		return nil
	case <-l.done:
		return net.ErrClosed
	}
}

// due waits until a piece that came at some time may go on.
func (l *line) due(at time.Time, size int) {
	f := l.p.profile.Load()
	if f.Delay > 0 {
		l.p.strike("delay")
	}
	wait := time.Until(at.Add(f.Delay))
	if f.Jitter > 0 {
		l.p.strike("jitter")
		wait += time.Duration(l.p.upTo(int(f.Jitter)))
	}
	if f.Rate > 0 {
		l.p.strike("rate")
		wait = max(wait, 0) + time.Duration(size)*time.Second/time.Duration(f.Rate)
	}
	sleep(l.p.ctx, wait)
}

// Read implements net.Conn. One goroutine calls it at a time.
func (l *line) Read(b []byte) (int, error) {
	if len(l.rest) == 0 {
		var next piece
		select {
		case next = <-l.in:
		case <-l.done:
			return 0, net.ErrClosed
		}
		if next.err != nil {
			return 0, next.err
		}
		// The client sent it when its connection was open: a round trip after
		// it asked for one.
		opened := l.accepted.Add(2 * l.p.profile.Load().Delay)
		if next.at.Before(opened) {
			next.at = opened
		}
		l.due(next.at, len(next.data))
		l.rest = next.data
	}
	n := min(len(b), len(l.rest))
	if f := l.p.profile.Load(); f.Rechunk > 0 {
		l.p.strike("rechunk")
		n = min(n, l.p.upTo(f.Rechunk))
	}
	copy(b, l.rest[:n])
	l.rest = l.rest[n:]
	return n, nil
}

// Write implements net.Conn. It queues the bytes.
func (l *line) Write(b []byte) (int, error) {
	for n := 0; n < len(b); n += pieceSize {
		data := append([]byte(nil), b[n:min(n+pieceSize, len(b))]...)
		if err := l.push(l.out, piece{data: data, at: time.Now()}); err != nil {
			return n, err
		}
	}
	return len(b), nil
}

// Deadlines would be those of the queues' far side. Nobody here needs them,
// but TLS sets one when it closes.

// SetDeadline implements net.Conn. It does nothing.
func (l *line) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn. It does nothing.
func (l *line) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn. It does nothing.
func (l *line) SetWriteDeadline(time.Time) error { return nil }

// Close closes the connection when what was written has gone out. A mute one
// stays open until the client closes it.
func (l *line) Close() error { return l.push(l.out, piece{err: io.EOF}) }

// reset is Close with an RST, where there is such a thing.
func (l *line) reset() { _ = l.push(l.out, piece{err: io.EOF, reset: true}) }

// writeAll sends on what was queued.
func (l *line) writeAll() {
	defer l.p.forget(l.Conn)
	defer l.Conn.Close()
	defer close(l.done)
	for {
		select {
		case next := <-l.out:
			if !l.send(next) {
				return
			}
		case <-l.p.ctx.Done():
			return
		}
	}
}

// send reports false when the connection is over.
func (l *line) send(next piece) bool {
	if next.err != nil {
		l.end(next.reset)
		return false
	}
	l.due(next.at, len(next.data))
	f := l.p.profile.Load()
	if f.Rechunk == 0 {
		return l.write(next.data)
	}
	l.p.strike("rechunk")
	data, over := l.merged(next.data)
	for len(data) > 0 {
		n := min(len(data), l.p.upTo(f.Rechunk))
		if !l.write(data[:n]) {
			return false
		}
		data = data[n:]
	}
	if over != nil {
		l.end(over.reset)
	}
	return over == nil
}

// merged adds to data what comes right after it, and tells if that is the end.
func (l *line) merged(data []byte) ([]byte, *piece) {
	sleep(l.p.ctx, mergePause)
	for {
		select {
		case next := <-l.out:
			if next.err != nil {
				return data, &next
			}
			data = append(data, next.data...)
		default:
			return data, nil
		}
	}
}

func (l *line) write(data []byte) bool {
	if !l.passes() {
		return true // swallowed
	}
	n, err := l.Conn.Write(data)
	l.p.add(func(c *Counts) { c.BytesDown += int64(n) })
	return err == nil
}

// end waits with the closing of a mute connection for the client to do it.
func (l *line) end(reset bool) {
	l.passes() // closing it is a sign of life, too
	if l.isMute() {
		select {
		case <-l.gone:
		case <-l.p.ctx.Done():
		}
		return
	}
	if tcp, ok := l.Conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0) // fails on what is closed already
	}
}
