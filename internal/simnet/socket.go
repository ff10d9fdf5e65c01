package simnet

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// socket is one two-way carriage.
type socket struct {
	n    *Network
	d    *draw
	gone chan struct{}
	once sync.Once
	ctx  context.Context // ends with gone

	mu        sync.Mutex
	muted     [2]bool // towards the bridge, towards the client
	countdown int     // pieces until the fault strikes
	left      int     // bytes until it is reset; 0: it never is
}

// End is one end of a socket. What is written at one end in one piece is read
// at the other in one piece; reading and writing may go on at the same time.
type End struct {
	s       *socket
	out, in *lane
}

// lane is one direction.
type lane struct {
	s     *socket
	way   int // index into socket.muted
	items chan item
	last  time.Time // when the piece before arrives
	held  []byte    // by OneBehind
}

type item struct {
	piece []byte // nil: the end
	at    time.Time
}

// laneRoom is how many pieces a lane takes before Write waits.
const laneRoom = 64

// Dial opens a socket and returns the client's end and the bridge's.
func (n *Network) Dial(ctx context.Context) (*End, *End, error) {
	d, err := n.draw(&n.dials, 1, SocketFaults())
	if err != nil {
		return nil, nil, err
	}
	ctx, done := n.fly(ctx)
	defer done()
	for way := range 2 {
		if err := d.travel(ctx, way, 0); err != nil {
			return nil, nil, err
		}
	}
	switch d.fault {
	case NoUpgrade:
		return nil, nil, errors.New("simnet: status 426")
	case MuteUpgrade:
		<-ctx.Done()
		return nil, nil, context.Cause(ctx)
	}
	s := n.newSocket(d)
	n.mu.Lock()
	s.left = n.profile.Kill
	n.mu.Unlock()
	up, down := s.lane(0), s.lane(1)
	return &End{s, up, down}, &End{s, down, up}, nil
}

func (n *Network) newSocket(d *draw) *socket {
	s := &socket{n: n, d: d, gone: make(chan struct{}), countdown: d.rng.IntN(40)}
	if d.coin() {
		s.countdown = 0
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s.ctx = ctx
	context.AfterFunc(n.ctx, s.close)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sockets[s] = struct{}{}
	n.tasks.Go(func() {
		<-s.gone
		cancel(errCut)
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.sockets, s)
	})
	return s
}

func (s *socket) lane(way int) *lane {
	return &lane{s: s, way: way, items: make(chan item, laneRoom)}
}

func (s *socket) close() { s.once.Do(func() { close(s.gone) }) }

// MuteSockets makes every open socket deaf in the given directions.
func (n *Network) MuteSockets(up, down bool) {
	n.mu.Lock()
	open := slices.Collect(maps.Keys(n.sockets))
	n.mu.Unlock()
	for _, s := range open {
		s.mute(up, down)
	}
}

func (s *socket) mute(up, down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.muted[0] = s.muted[0] || up
	s.muted[1] = s.muted[1] || down
}

// strike applies the socket's fault to a piece, and returns the piece as it
// arrives; nil: it does not.
func (s *socket) strike(way int, piece []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left > 0 {
		if s.left -= len(piece); s.left <= 0 {
			s.close()
			return nil
		}
	}
	if s.countdown--; s.countdown < 0 {
		switch s.d.fault {
		case BlackHole:
			s.muted = [2]bool{true, true}
		case MuteUp:
			s.muted[0] = true
		case MuteDown:
			s.muted[1] = true
		case KillAfter:
			s.close()
		case FlipSocket:
			if s.countdown == -1 && len(piece) > 0 {
				piece = s.d.flip(piece)
			}
		}
	}
	if s.muted[way] {
		return nil
	}
	return piece
}

// wayTime is how long a piece takes that begins after that time.
func (s *socket) wayTime(after time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.d.way(after)
}

// Write sends one piece.
func (e *End) Write(piece []byte) error {
	l := e.out
	l.s.n.step()
	piece = l.s.strike(l.way, append([]byte{}, piece...))
	if piece == nil {
		return e.s.alive()
	}
	if l.s.d.fault == OneBehind { // it holds the last message back until the next comes
		l.held, piece = piece, l.held
		if piece == nil {
			return e.s.alive()
		}
	}
	return l.push(piece)
}

// Finish ends what is sent, after all that was written. Only
// Close may follow.
func (e *End) Finish() error {
	if e.out.s.strike(e.out.way, []byte{}) == nil {
		return e.s.alive()
	}
	if held := e.out.held; held != nil {
		if err := e.out.push(held); err != nil {
			return err
		}
	}
	return e.out.push(nil)
}

// push puts a piece, or nil for the end, on its way.
func (l *lane) push(piece []byte) error {
	queued := l.s.n.queued(l.way, len(piece))
	at := time.Now().Add(queued + l.s.wayTime(queued))
	if at.Before(l.last) {
		at = l.last // in order, as TCP does
	}
	l.last = at
	if err := l.s.alive(); err != nil {
		return err
	}
	select {
	case l.items <- item{piece, at}:
		return nil
	case <-l.s.gone:
		return io.ErrClosedPipe
	}
}

func (s *socket) alive() error {
	select {
	case <-s.gone:
		return io.ErrClosedPipe
	default:
		return nil
	}
}

// Read returns the next piece.
func (e *End) Read() ([]byte, error) {
	var it item
	select {
	case it = <-e.in.items:
	case <-e.s.gone:
		return nil, io.ErrUnexpectedEOF
	}
	if sleep(e.s.ctx, time.Until(it.at)) != nil || e.s.n.pass(e.s.ctx) != nil {
		return nil, io.ErrUnexpectedEOF
	}
	if it.piece == nil {
		return nil, io.EOF
	}
	return it.piece, nil
}

// Close resets the socket, both ways.
func (e *End) Close() { e.s.close() }

// Drain discards what still comes until the socket is closed.
func (e *End) Drain() {
	for {
		if _, err := e.Read(); err != nil {
			return
		}
	}
}
