package dialer

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// lastingLink is the client's end of a lasting link. Guarded by the endpoint's
// lock.
type lastingLink struct {
	engine.Lasting
	s         *Session
	sid       string // the session's ID when it was dialled
	conn      Conn
	dialedAt  time.Duration
	openedAt  time.Duration // when its handshake was done
	open      bool          // the handshake is done
	gone      bool
	clearTo   time.Duration // when the latest ping was sent that was answered
	behind    uint64        // frames up to this one were sent before the ping; 0: none was unacked
	ping      uint64        // the latest ping; 0: it was answered
	pingDue   bool          // it is still to be sent
	pingToken string        // what its batch carried; empty: none
	padding   []byte        // goes with the ping, and must come back
	probes    int           // pings of the probe that were sent
	proven    bool          // it was preferred once
	useful    bool          // frames or acks came on it
	restate   bool          // the header says something new: send it
	// suspectedAt is when another link was opened beside it, since its pong was
	// late; 0: none was.
	suspectedAt time.Duration
}

func (s *Session) newLastingLink(now time.Duration) *lastingLink {
	l := &lastingLink{s: s, sid: s.ID(), dialedAt: now}
	l.Init(&s.ep, l, nil)
	l.ID = engine.LinkID{Number: s.nextNumber, Kind: s.ladder.kind}
	l.Heard = now
	s.nextNumber++
	return l
}

// restate has the lasting link carry a header as soon as it can.
func (s *Session) restate() {
	if s.link != nil && s.link.open {
		s.link.restate = true
		s.ep.Wake()
	}
}

// run dials the link and writes to it until it is gone.
func (l *lastingLink) run() {
	s := l.s
	ctx, cancel := context.WithTimeoutCause(s.ctx, probeLimit+engine.PongLimit, errors.New("the WebSocket did not open in time"))
	conn, err := s.cfg.Carrier.Dial(ctx, l.sid)
	cancel()
	if err != nil {
		l.over(err)
		return
	}
	var reader sync.WaitGroup
	if l.attach(conn) {
		reader.Go(l.read)
		l.write()
	}
	conn.Close()
	reader.Wait()
	s.ep.Lock()
	defer s.ep.Unlock()
	l.Stop()
}

// attach makes the open link the session's. It reports false if the session is
// over, or has a better one.
func (l *lastingLink) attach(conn Conn) bool {
	s := l.s
	s.ep.Lock()
	defer s.ep.Unlock()
	if s.ep.Ended() != nil {
		return false
	}
	now := s.ep.Now()
	l.conn, l.open, l.openedAt, l.Heard = conn, true, now, now
	s.ladder.dialing--
	if old := s.link; old != nil {
		if old.ID.Number > l.ID.Number || old.suspectedAt == 0 {
			return false
		}
		old.fail(errors.New("another WebSocket took its place"))
	}
	s.link = l
	s.ep.Attach(&l.Lasting)
	s.ladder.opened(l)
	s.ep.Wake()
	return true
}

// probe sends one ping of the probe.
func (l *lastingLink) probe(padding int) {
	l.probes++
	l.ask(padding)
}

// ask sends a ping.
func (l *lastingLink) ask(padding int) {
	now := l.s.ep.Now()
	l.Pinged = now
	l.ping = uint64(now.Microseconds()) + 1
	l.pingDue = true
	l.padding, l.behind = nil, 0
	if padding > 0 {
		l.padding = bytes.Repeat([]byte("\x00\xff\x0d\x0a<>%\x80"), padding/8)
	}
	l.Notify()
}

// read takes in what comes. Its end frees the writer from a write.
func (l *lastingLink) read() {
	defer l.conn.Close()
	for {
		batch, err := l.conn.Read(context.Background())
		if err == nil {
			err = l.take(batch)
		}
		if err != nil {
			l.over(err)
			return
		}
	}
}

func (l *lastingLink) take(batch []byte) error {
	b := engine.NewBatch()
	defer engine.FreeBatch(b)
	if err := wire.ParseBatch(batch, b); err != nil {
		return err
	}
	s := l.s
	s.ep.Lock()
	defer s.ep.Unlock()
	if s.ep.Ended() != nil || l.gone {
		return nil
	}
	if l.sid != s.ID() {
		return errMoved
	}
	if b.X != l.ID.Number && b.Close == nil {
		return errors.New("a batch of another link on the WebSocket")
	}
	if s.isForeign(b) {
		return errForeign
	}
	now := s.ep.Now()
	l.Received(b, now)
	l.useful = l.useful || len(b.Frames) > 0 || b.Ack > s.ep.AckedTo()
	s.take(b, now)
	if b.Close != nil && s.ep.Ended() == nil {
		return refused(b.Close) // what the bridge says, not how it then closes
	}
	if b.Resend {
		before := now - s.ep.Path.SmoothedRTT()
		s.ep.MarkLost(func(_ engine.LinkID, at time.Duration) bool { return at <= before })
	}
	if b.Pong != 0 && b.Pong == l.ping {
		return l.answered(b, now)
	}
	s.ep.Wake()
	return nil
}

// answered takes a pong.
func (l *lastingLink) answered(b *wire.Batch, now time.Duration) error {
	if !bytes.Equal(b.Padding, l.padding) {
		return errors.New("the WebSocket changed the bytes of a probe")
	}
	l.s.ep.Path.RTT(now, now-l.Pinged)
	l.s.tokenTaken(l.pingToken)
	l.padding = nil
	l.clear()
	l.s.ladder.proved(l)
	l.s.ep.Wake()
	return nil
}

// clear notes that the ping was answered.
func (l *lastingLink) clear() {
	l.clearTo, l.Pinged, l.ping, l.suspectedAt = l.Pinged, 0, 0, 0
}

// write sends what there is to send until the link is gone.
func (l *lastingLink) write() {
	for {
		batch, err := l.Next(l.s.ctx, engine.Unlimited)
		if err != nil {
			return
		}
		if err := l.conn.Write(context.Background(), batch); err != nil {
			l.over(err)
			return
		}
	}
}

// Due implements engine.Sender.
func (l *lastingLink) Due(now time.Duration) engine.Due {
	d := l.Lasting.Due(now)
	if l.gone || l.s.ep.Ended() != nil || l.pingDue || l.restate {
		d.At = now
	}
	return d
}

var errGone = errors.New("the link is gone")

// Build implements engine.Sender.
func (l *lastingLink) Build(out *engine.Outgoing, limit int, now time.Duration, due engine.Due) error {
	s := l.s
	if l.gone || s.ep.Ended() != nil {
		return errGone
	}
	h := s.header()
	if !l.Built() {
		h.Key = s.key[:]
	}
	if s.welcomed() && s.welcome.MaxBatchBytes > 0 {
		limit = min(limit, int(s.welcome.MaxBatchBytes))
	}
	if l.pingDue {
		h.Ping, h.Padding = l.ping, l.padding
		l.pingToken = h.Token
	}
	l.pingDue, l.restate = false, false
	if frames := l.Lasting.Build(out, limit, &h, due); frames > 0 && s.nextStep > now+soon {
		signal(s.wakeup) // what is unacked is watched
	}
	return nil
}

// fail gives the link up. Called under the lock.
func (l *lastingLink) fail(err error) {
	l.lose(err)
	l.drop()
}

// drop closes the carriage; the reader then finds it gone.
func (l *lastingLink) drop() { l.s.ep.Later(l.conn.Close) }

// over is called when the carriage has failed.
func (l *lastingLink) over(err error) {
	l.s.ep.Lock()
	defer l.s.ep.Unlock()
	l.lose(err)
}

// lose takes the link out of the session, once.
func (l *lastingLink) lose(err error) {
	if l.gone {
		return
	}
	l.gone = true
	l.Notify()
	if l.s.ep.Ended() == nil {
		l.s.ladder.lost(l, err, l.s.ep.Now())
	}
}
