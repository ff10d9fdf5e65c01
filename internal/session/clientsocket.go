package session

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// clientSocket is the client's end of a WebSocket.
type clientSocket struct {
	flight
	c     *clientSide
	wake  chan struct{} // capacity 1: the writer may look again
	alarm alarm         // of the writer
	looks time.Duration // when it rings

	// Guarded by Session.mu.
	conn    Socket
	begun   time.Duration // when it was dialled
	opened  time.Duration // when its handshake was done
	open    bool          // the handshake is done
	named   bool          // its first batch was built
	gone    bool
	heard   time.Duration // when the last batch came
	pinged  time.Duration // since when a pong is owed; 0: none is
	clear   time.Duration // when the latest ping went that was answered
	behind  uint64        // frames up to this one were sent before it; 0: none was unacked
	ping    uint64        // the ping that is out
	send    bool          // the ping is still to be sent
	token   string        // what the ping's batch carried; empty: none
	padding []byte        // goes with the ping, and must come back
	probes  int           // pings of the probe that were sent
	pong    uint64        // to be answered
	echo    []byte
	owedAt  time.Duration
	proven  bool          // it was preferred once
	useful  bool          // frames or acks came on it
	doubted time.Duration // when another link was opened beside it; 0: it was not
	restate bool          // the header says something new: send it
}

func newClientSocket(c *clientSide, now time.Duration) *clientSocket {
	so := &clientSocket{c: c, wake: make(chan struct{}, 1), begun: now, heard: now}
	so.x = c.nextX
	c.nextX++
	return so
}

// restate makes the WebSocket carry a header as soon as it can.
func (c *clientSide) restate() {
	if c.socket != nil && c.socket.open {
		c.socket.restate = true
		c.s.wake()
	}
}

// run dials the WebSocket and writes to it until it is gone.
func (so *clientSocket) run() {
	c := so.c
	ctx, cancel := context.WithTimeoutCause(c.ctx, probeLimit+pongLimit, errors.New("the WebSocket did not open in time"))
	conn, err := c.cfg.Carrier.Dial(ctx, c.s.sid)
	cancel()
	if err != nil {
		so.over(err)
		return
	}
	var reader sync.WaitGroup
	if so.attach(conn) {
		reader.Go(so.read)
		so.write()
	}
	conn.Close()
	reader.Wait()
}

// attach makes the open WebSocket the session's. It reports false if the
// session is over.
func (so *clientSocket) attach(conn Socket) bool {
	c := so.c
	c.s.mu.Lock()
	defer c.s.unlock()
	if c.s.err != nil {
		return false
	}
	now := c.s.now()
	so.conn, so.open, so.opened, so.heard = conn, true, now, now
	c.ladder.dialing--
	if old := c.socket; old != nil {
		if old.x > so.x || old.doubted == 0 {
			return false
		}
		old.fail(errors.New("another WebSocket took its place"))
	}
	c.socket = so
	c.ladder.opened(so)
	c.s.wake()
	return true
}

// probe sends one ping of the probe.
func (so *clientSocket) probe(padding int) {
	so.probes++
	so.ask(padding)
}

// ask sends a ping.
func (so *clientSocket) ask(padding int) {
	now := so.c.s.now()
	so.pinged = now
	so.ping = uint64(now.Microseconds()) + 1
	so.send = true
	so.padding, so.behind = nil, 0
	if padding > 0 {
		so.padding = bytes.Repeat([]byte("\x00\xff\x0d\x0a<>%\x80"), padding/8)
	}
	signal(so.wake)
}

// read takes in what comes. Its end frees the writer from a write.
func (so *clientSocket) read() {
	defer so.conn.Close()
	for {
		batch, err := so.conn.Read(context.Background())
		if err != nil {
			so.over(err)
			return
		}
		if err := so.take(batch); err != nil {
			so.over(err)
			return
		}
	}
}

func (so *clientSocket) take(batch []byte) error {
	b := newBatch()
	defer freeBatch(b)
	if err := wire.ParseBatch(batch, b); err != nil {
		return err
	}
	c := so.c
	c.s.mu.Lock()
	defer c.s.unlock()
	if c.s.err != nil || so.gone {
		return nil
	}
	if b.X != so.x && b.Close == nil {
		return errors.New("a batch of another link on the WebSocket")
	}
	now := c.s.now()
	so.heard = now
	if b.Ping != 0 {
		so.pong, so.echo = b.Ping, b.Padding
	}
	so.useful = so.useful || len(b.Frames) > 0 || b.Ack > c.s.out.acked
	c.take(b, now)
	if b.Resend {
		before := now - c.s.path.SmoothedRTT()
		c.s.out.markLost(func(f *sentFrame) bool { return f.at <= before })
	}
	if c.s.in.owed > 0 && so.owedAt == 0 {
		so.owedAt = now
	}
	if b.Pong != 0 && b.Pong == so.ping {
		return so.answered(b, now)
	}
	c.s.wake()
	return nil
}

// answered takes a pong.
func (so *clientSocket) answered(b *wire.Batch, now time.Duration) error {
	if !bytes.Equal(b.Padding, so.padding) {
		return errors.New("the WebSocket changed the bytes of a probe")
	}
	so.c.s.path.RTT(now, now-so.pinged)
	so.c.tokenTaken(so.token)
	so.clear, so.pinged, so.ping, so.padding, so.doubted = so.pinged, 0, 0, nil, 0
	so.c.ladder.proved(so)
	so.c.s.wake()
	return nil
}

// write sends what there is to say until the WebSocket is gone.
func (so *clientSocket) write() {
	s := so.c.s
	var buf []byte
	for woken := false; ; {
		s.mu.Lock()
		if woken {
			s.letQueue()
		}
		batch, wait, ok := so.try(buf[:0])
		var ring <-chan time.Time
		if wait > 0 {
			so.looks = s.now() + wait
			ring = so.alarm.in(wait)
		}
		s.unlock()
		if !ok {
			return
		}
		if wait > 0 {
			woken = so.pause(ring)
			continue
		}
		woken = false
		if err := so.conn.Write(context.Background(), batch); err != nil {
			so.over(err)
			return
		}
		buf = batch
	}
}

// pause waits until there may be something to say, and reports whether somebody
// says so.
func (so *clientSocket) pause(ring <-chan time.Time) bool {
	select {
	case <-so.wake:
		return true
	case <-ring:
	case <-so.c.ctx.Done():
	}
	return false
}

// due tells whether the writer has something to say. If it has not, but would
// look again too late, its alarm is set.
func (so *clientSocket) due() bool {
	s := so.c.s
	if so.gone || s.err != nil {
		return true
	}
	now := s.now()
	wait := so.idleFor(now, so.carries() && s.out.sendable())
	if wait > 0 && now+wait < so.looks {
		so.looks = now + wait
		so.alarm.in(wait)
	}
	return wait == 0
}

// carries tells whether frames may go on the WebSocket.
func (so *clientSocket) carries() bool { return so.c.ladder.carries() && so.c.s.fits(&so.flight) }

// try gives the next batch, or how long to wait for one. It reports false when
// the WebSocket is gone.
func (so *clientSocket) try(dst []byte) ([]byte, time.Duration, bool) {
	c := so.c
	s := c.s
	if so.gone || s.err != nil {
		return dst, 0, false
	}
	now := s.now()
	carries := so.carries()
	if wait := so.idleFor(now, carries && s.out.sendable()); wait > 0 {
		return dst, wait, true
	}
	h := c.header(so.x)
	if !so.named {
		h.Session, h.Key = s.id[:], s.key[:]
	}
	if so.send {
		h.Ping, h.Padding = so.ping, so.padding
		so.token = h.Token
	}
	if so.pong != 0 {
		h.Pong = so.pong
		if h.Padding == nil {
			h.Padding = so.echo
		}
	}
	so.named, so.send, so.pong, so.echo, so.owedAt, so.restate = true, false, 0, nil, 0, false
	b := &s.building
	b.Begin(dst, &h)
	if carries {
		s.filler(b, carriage{x: so.x, ws: true}, s.batchBound(), s.bound()-so.flying).fill()
	}
	if b.Frames() > 0 && c.nextStep > now+soon {
		signal(c.wakeup) // what is unacked is watched
	}
	return b.Finish(), 0, true
}

// idleFor is how long there is nothing to say; 0: something is to be said now.
func (so *clientSocket) idleFor(now time.Duration, frames bool) time.Duration {
	s := so.c.s
	if frames || !so.named || so.send || so.pong != 0 || so.restate || s.asksNow() || s.in.owed >= ackBytes {
		return 0
	}
	if s.in.owed == 0 {
		so.owedAt = 0
		return longest
	}
	return max(so.owedAt+ackDelay-now, 0)
}

// fail gives the WebSocket up. Called under the lock.
func (so *clientSocket) fail(err error) {
	so.lose(err)
	so.drop()
}

// drop closes the carriage; the reader then finds it gone.
func (so *clientSocket) drop() {
	conn := so.conn
	so.c.s.later(func() { conn.Close() })
}

// over is called when the carriage has failed.
func (so *clientSocket) over(err error) {
	so.c.s.mu.Lock()
	defer so.c.s.unlock()
	so.lose(err)
}

// lose takes the WebSocket out of the session, once.
func (so *clientSocket) lose(err error) {
	if so.gone {
		return
	}
	so.gone = true
	signal(so.wake)
	if so.c.s.err != nil {
		return
	}
	so.c.ladder.lost(so, err, so.c.s.now())
}
