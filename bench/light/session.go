package light

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// holdMillis is the hold that exchanges ask for: the bridge's is shorter.
const holdMillis = 600_000

// Kind is the kind of an RPC.
type Kind int

// Kinds of RPCs.
const (
	Unary Kind = iota
	ServerStream
	Bidi
)

// session is what both transports' sessions have in common: numbers, and the
// encoding of a call.
type session struct {
	id, key     [16]byte
	incarnation uint64
	x           uint64
	now         uint64
	seq, ack    uint64
	stream      uint64
	began       map[uint64]time.Time // by stream
	open        wire.Open
	request     []byte // a message: a BytesValue
	batch       wire.Batch
	buf         []byte

	consumed, granted uint64 // of the stream that Receive reads
}

// streamWindow is what a receiver grants at the most.
const streamWindow = 256 << 10

func newSession() *session {
	s := &session{began: make(map[uint64]time.Time)}
	_, _ = rand.Read(s.id[:]) // never fails
	_, _ = rand.Read(s.key[:])
	return s
}

func (s *session) path(end string) string {
	return "/bridge/v1/" + wire.EncodeSession(s.id[:]) + "/" + end
}

// prepare makes the call that will be made: of a method, with a BytesValue.
func (s *session) prepare(method string, value []byte, kind Kind) {
	s.open = wire.Open{Method: method, SingleRequest: kind != Bidi, SingleResponse: kind == Unary}
	s.request = BytesValue(value)
}

// BytesValue is the encoding of a google.protobuf.BytesValue.
func BytesValue(value []byte) []byte {
	return append(binary.AppendUvarint([]byte{0x0a}, uint64(len(value))), value...)
}

func (s *session) header() wire.Batch {
	s.now++
	h := wire.Batch{X: s.x, Incarnation: s.incarnation, Ack: s.ack, NowMicros: s.now, Awaiting: s.x}
	if s.incarnation == 0 {
		h.Hello = &wire.Hello{Release: "bench", StreamWindow: streamWindow, MaxMessageBytes: 16 << 20}
		h.Versions = &wire.Versions{Lowest: wire.LowestVersion, Highest: wire.HighestVersion}
	}
	return h
}

// call adds one RPC to a batch.
func (s *session) call(b *wire.Builder, now time.Time) {
	s.stream++
	s.began[s.stream] = now
	s.frame(b, wire.Frame{Type: wire.TypeOpen, Open: &s.open})
	s.message(b)
	if s.open.SingleRequest {
		s.frame(b, wire.Frame{Type: wire.TypeHalfClose})
	}
}

// message adds one message of the present stream to a batch.
func (s *session) message(b *wire.Builder) {
	for rest := s.request; ; {
		n := min(len(rest), wire.MaxFragment)
		f := wire.Frame{Type: wire.TypeMessage, Data: rest[:n]}
		if len(rest) == len(s.request) {
			f.First, f.Length = true, uint64(len(rest))
		}
		s.frame(b, f)
		if rest = rest[n:]; len(rest) == 0 {
			return
		}
	}
}

func (s *session) frame(b *wire.Builder, f wire.Frame) {
	s.seq++
	f.Seq, f.Stream = s.seq, s.stream
	b.AppendFrame(&f)
}

// take takes an answer in, and calls ended for each RPC that ended well.
func (s *session) take(answer []byte, ended func(began time.Time)) error {
	b := &s.batch
	if err := wire.ParseBatch(answer, b); err != nil {
		return err
	}
	if b.Close != nil {
		return fmt.Errorf("the bridge closed: %d %s", b.Close.Code, b.Close.Message)
	}
	s.incarnation = b.Incarnation
	for i := range b.Frames {
		f := &b.Frames[i]
		if f.Seq <= s.ack {
			continue
		}
		if f.Seq != s.ack+1 {
			return fmt.Errorf("frame %d after %d", f.Seq, s.ack)
		}
		s.ack = f.Seq
		if f.Type != wire.TypeEnd {
			continue
		}
		if f.End.Status != 0 {
			return fmt.Errorf("RPC ended with status %d: %s", f.End.Status, f.End.Message)
		}
		ended(s.began[f.Stream])
		delete(s.began, f.Stream)
	}
	return nil
}

func none(time.Time) {}

// Socket is a session over a WebSocket.
type Socket struct {
	*session
	ws *WebSocket

	mu    sync.Mutex // of session, while Serve runs
	ended chan struct{}
}

// DialSocket opens a session over a WebSocket.
func DialSocket(ctx context.Context, addr string) (*Socket, error) {
	s := &Socket{session: newSession(), ended: make(chan struct{}, 1)}
	s.x = 1
	if err := s.attach(ctx, addr); err != nil {
		return nil, err
	}
	return s, nil
}

// Resume goes on with the session over another WebSocket.
func (s *Socket) Resume(ctx context.Context, addr string) error {
	s.x++
	return s.attach(ctx, addr)
}

func (s *Socket) attach(ctx context.Context, addr string) error {
	ws, err := DialWebSocket(ctx, addr, s.path("ws"), "pollbridge.v1")
	if err != nil {
		return err
	}
	s.ws = ws
	h := s.header()
	h.Session, h.Key, h.Prefer = s.id[:], s.key[:], s.x
	if err = ws.Write(Binary, wire.AppendBatch(s.buf[:0], &h)); err == nil {
		err = s.read(none)
	}
	if err != nil {
		return errors.Join(err, ws.Close())
	}
	return nil
}

// Close closes the connection. The session lives on.
func (s *Socket) Close() error { return s.ws.Close() }

// Prepare says what Run calls.
func (s *Socket) Prepare(method string, value []byte, kind Kind) {
	s.prepare(method, value, kind)
}

func (s *Socket) read(ended func(time.Time)) error {
	answer, err := s.ws.Read()
	if err != nil {
		return err
	}
	return s.take(answer, ended)
}

// write sends n calls, or just an ack and a pong.
func (s *Socket) write(n int) error {
	h := s.header()
	h.Prefer, h.Pong = s.x, s.batch.Ping
	var b wire.Builder
	b.Begin(s.buf[:0], &h)
	now := time.Now()
	for range n {
		s.call(&b, now)
	}
	if s.granted > 0 && s.consumed+streamWindow/2 > s.granted {
		s.granted = s.consumed + streamWindow
		s.frame(&b, wire.Frame{Type: wire.TypeWindow, Limit: s.granted})
	}
	s.buf = b.Finish()
	return s.ws.Write(Binary, s.buf)
}

// Run keeps calls in flight until a time, and then lets the last ones end. It
// reports how long each took.
func (s *Socket) Run(until time.Time, inFlight int, done func(time.Duration)) error {
	if err := s.write(inFlight); err != nil {
		return err
	}
	for open := inFlight; open > 0; {
		ended := 0
		now := time.Now()
		err := s.read(func(began time.Time) {
			if ended == 0 {
				now = time.Now()
			}
			ended++
			done(now.Sub(began))
		})
		if err != nil {
			return err
		}
		again := ended
		if !now.Before(until) {
			again = 0
			open -= ended
		}
		if again > 0 || open == 0 || s.batch.Ping != 0 {
			if err := s.write(again); err != nil {
				return err
			}
		}
	}
	return nil
}

// Receive takes the messages of a stream until a time. It begins the stream,
// and grants credit as a reader that keeps up does.
func (s *Socket) Receive(until time.Time, done func(time.Duration)) error {
	if len(s.began) == 0 {
		s.consumed, s.granted = 0, streamWindow
		if err := s.write(1); err != nil {
			return err
		}
	}
	for now, got := time.Now(), 0; got == 0 || now.Before(until); {
		if err := s.read(none); err != nil {
			return err
		}
		before := now
		now = time.Now()
		for i := range s.batch.Frames {
			if f := &s.batch.Frames[i]; f.Type == wire.TypeMessage {
				s.consumed += uint64(len(f.Data))
				if f.First {
					s.consumed += wire.FrameCost
					done(now.Sub(before))
					before = now
					got++
				}
			}
		}
		if err := s.write(0); err != nil {
			return err
		}
	}
	return nil
}

// Start begins one call and waits for its first message.
func (s *Socket) Start() error {
	if err := s.write(1); err != nil {
		return err
	}
	return s.heard()
}

// Say sends one more message of the call that Start began, and waits for one.
func (s *Socket) Say() error {
	h := s.header()
	h.Prefer = s.x
	var b wire.Builder
	b.Begin(s.buf[:0], &h)
	s.message(&b)
	s.buf = b.Finish()
	if err := s.ws.Write(Binary, s.buf); err != nil {
		return err
	}
	return s.heard()
}

// heard waits for a message.
func (s *Socket) heard() error {
	for {
		if err := s.read(none); err != nil {
			return err
		}
		for i := range s.batch.Frames {
			if s.batch.Frames[i].Type == wire.TypeMessage {
				return s.write(0)
			}
		}
	}
}

// Serve reads until the WebSocket ends, answers pings, and lets Call be used.
func (s *Socket) Serve() error {
	for {
		answer, err := s.ws.Read()
		if err != nil {
			return err
		}
		if err := s.serve(answer); err != nil {
			return err
		}
	}
}

func (s *Socket) serve(answer []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.take(answer, func(time.Time) { s.ended <- struct{}{} })
	if err != nil || s.batch.Ping == 0 {
		return err
	}
	return s.write(0)
}

// Call makes one call while Serve runs, and waits for its end.
func (s *Socket) Call() error {
	s.mu.Lock()
	err := s.write(1)
	s.mu.Unlock()
	if err == nil {
		<-s.ended
	}
	return err
}

// Poll is a session over exchanges, one at a time.
type Poll struct {
	*session
	http *HTTP
}

// DialPoll opens a session over exchanges.
func DialPoll(ctx context.Context, addr string, secure bool) (*Poll, error) {
	conn, err := DialHTTP(ctx, addr, secure)
	if err != nil {
		return nil, err
	}
	p := &Poll{session: newSession(), http: conn}
	return p, p.exchange(0, 0, none)
}

// Reconnect goes on over another connection.
func (p *Poll) Reconnect(ctx context.Context, addr string, secure bool) (err error) {
	p.http, err = DialHTTP(ctx, addr, secure)
	return err
}

// Close closes the connection. The session lives on.
func (p *Poll) Close() error { return p.http.Close() }

// Prepare says what Call calls.
func (p *Poll) Prepare(method string, value []byte, kind Kind) {
	p.prepare(method, value, kind)
}

func (p *Poll) exchange(calls int, hold uint32, ended func(time.Time)) error {
	if err := p.send(calls, hold); err != nil {
		return err
	}
	return p.receive(ended)
}

func (p *Poll) send(calls int, hold uint32) error {
	p.x++
	h := p.header()
	h.Session, h.Key, h.HoldMillis = p.id[:], p.key[:], hold
	var b wire.Builder
	b.Begin(p.buf[:0], &h)
	now := time.Now()
	for range calls {
		p.call(&b, now)
	}
	p.buf = b.Finish()
	return p.http.Send("POST", p.path("poll"), "application/octet-stream", p.buf)
}

func (p *Poll) receive(ended func(time.Time)) error {
	answer, err := p.http.Receive()
	if err != nil {
		return err
	}
	return p.take(answer, ended)
}

// Call makes one call and waits for its end.
func (p *Poll) Call() error {
	over := false
	for n := 1; !over; n = 0 {
		if err := p.exchange(n, holdMillis, func(time.Time) { over = true }); err != nil {
			return err
		}
	}
	return nil
}

var errEnded = errors.New("the quiet stream ended")

// Start begins one call and waits for its first message.
func (p *Poll) Start() error {
	for n := 1; ; n = 0 {
		if err := p.exchange(n, holdMillis, none); err != nil {
			return err
		}
		for i := range p.batch.Frames {
			if p.batch.Frames[i].Type == wire.TypeMessage {
				return nil
			}
		}
	}
}

// Park sends a poll that is held.
func (p *Poll) Park() error { return p.send(0, holdMillis) }

// Idle takes the answer of a parked poll and parks the next, until the
// connection ends.
func (p *Poll) Idle() error {
	for {
		ended := false
		if err := p.receive(func(time.Time) { ended = true }); err != nil {
			return err
		}
		if ended {
			return errEnded
		}
		if err := p.Park(); err != nil {
			return err
		}
	}
}
