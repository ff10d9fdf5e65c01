package transporttest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// fault is what befalls one batch on its way, with what follows for its link.
type fault int

const (
	none        fault = iota
	loseRequest       // not delivered; the link breaks
	loseAnswer        // delivered; the answer is lost, the link breaks
	duplicate         // delivered twice at the same time
	replay            // delivered again much later
	delay             // delivered after later ones
	cutRequest        // half of it is delivered
	cutAnswer         // half of the answer comes back
	flipRequest       // delivered with one bit changed
	flipAnswer        // comes back with one bit changed
	page              // an HTML page comes back instead
	mute              // the link is dead, and nobody says so
)

var faultNames = []string{"none", "lost requests", "lost answers", "duplicates", "replays", "reordering",
	"cut requests", "cut answers", "flipped requests", "flipped answers", "pages", "mute links"}

func (f fault) String() string { return faultNames[f] }

// plan decides the fault of each step: of an exchange, or of a WebSocket's
// dial, write or read. Steps count from 0.
type plan func(step int) fault

// oneIn gives every nth step, by chance, one of the faults.
func oneIn(n int, seed uint64, of ...fault) plan {
	rng := rand.New(rand.NewPCG(seed, 0))
	return func(int) fault {
		if rng.IntN(n) > 0 {
			return none
		}
		return of[rng.IntN(len(of))]
	}
}

var errBroken = errors.New("the network broke the link")

// faults is a Carrier over a network that follows a plan.
type faults struct {
	dialer.Carrier

	copies sync.WaitGroup // deliveries that nobody waits for

	mu       sync.Mutex
	plan     plan
	steps    int
	inFlight int
	most     int        // exchanges in flight at once
	own      wire.Batch // the session's ID, key and incarnation, as sent
	sid      string
}

// next counts a step and tells its fault.
func (f *faults) next() fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.steps++
	if f.plan == nil {
		return none
	}
	return f.plan(f.steps - 1)
}

func (f *faults) taken() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steps
}

func (f *faults) mostInFlight() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}

// heal ends the faults.
func (f *faults) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = nil
}

// saw keeps what identifies the session, which no two batches need hold at
// once.
func (f *faults) saw(sid string, batch []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b wire.Batch
	if err := wire.ParseBatch(bytes.Clone(batch), &b); err != nil {
		return
	}
	f.sid = sid
	if b.Key != nil {
		f.own.Session, f.own.Key = b.Session, b.Key
	}
	if b.Incarnation != 0 {
		f.own.Incarnation = b.Incarnation
	}
}

func (f *faults) flying(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inFlight += n
	f.most = max(f.most, f.inFlight)
}

// Exchange implements dialer.Carrier.
func (f *faults) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	f.saw(sid, batch)
	f.flying(1)
	defer f.flying(-1)
	switch fault := f.next(); fault {
	case loseRequest:
		return nil, errBroken
	case mute:
		<-ctx.Done()
		return nil, context.Cause(ctx)
	case duplicate:
		f.again(0, sid, batch)
	case replay:
		f.again(5*time.Second, sid, batch)
	case delay:
		time.Sleep(200 * time.Millisecond)
	case cutRequest:
		batch = batch[:len(batch)/2]
	case flipRequest:
		batch = flipped(batch)
	case none:
	default:
		answer, err := f.Carrier.Exchange(ctx, sid, batch)
		if err != nil {
			return nil, err
		}
		return spoilt(fault, answer)
	}
	return f.Carrier.Exchange(ctx, sid, batch)
}

// again delivers a copy whose answer is thrown away.
func (f *faults) again(after time.Duration, sid string, batch []byte) {
	batch = bytes.Clone(batch)
	f.copies.Go(func() {
		time.Sleep(after)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, _ = f.Carrier.Exchange(ctx, sid, batch)
	})
}

// spoilt does to an answer what the fault says.
func spoilt(f fault, answer []byte) ([]byte, error) {
	switch f {
	case loseAnswer:
		return nil, errBroken
	case cutAnswer:
		return answer[:len(answer)/2], nil
	case flipAnswer:
		return flipped(answer), nil
	case page:
		return []byte("<!doctype html><title>Log in</title>"), nil
	}
	return answer, nil
}

func flipped(p []byte) []byte {
	p = bytes.Clone(p)
	p[rand.IntN(len(p))] ^= 1 << rand.IntN(8)
	return p
}

// Dial implements dialer.Carrier.
func (f *faults) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	switch f.next() {
	case loseRequest, loseAnswer:
		return nil, errBroken
	case mute:
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	s, err := f.Carrier.Dial(ctx, sid)
	if err != nil {
		return nil, err
	}
	return &faultySocket{Conn: s, faults: f, sid: sid, dead: make(chan struct{})}, nil
}

// faultySocket is a WebSocket over the faulty network.
type faultySocket struct {
	dialer.Conn
	faults *faults
	sid    string
	once   sync.Once
	dead   chan struct{} // closed when the socket is mute
}

func (s *faultySocket) die() { s.once.Do(func() { close(s.dead) }) }

func (s *faultySocket) broken() error {
	s.Close()
	return errBroken
}

// Write implements dialer.Conn.
func (s *faultySocket) Write(ctx context.Context, batch []byte) error {
	s.faults.saw(s.sid, batch)
	fault := s.faults.next()
	select {
	case <-s.dead:
		return nil
	default:
	}
	switch fault {
	case loseRequest:
		return s.broken()
	case loseAnswer:
		if err := s.Conn.Write(ctx, batch); err != nil {
			return err
		}
		return s.broken()
	case mute:
		s.die()
		return nil
	case duplicate:
		if err := s.Conn.Write(ctx, bytes.Clone(batch)); err != nil {
			return err
		}
	case delay, replay:
		time.Sleep(200 * time.Millisecond)
	case cutRequest:
		batch = batch[:len(batch)/2]
	case flipRequest:
		batch = flipped(batch)
	}
	return s.Conn.Write(ctx, batch)
}

// Read implements dialer.Conn.
func (s *faultySocket) Read(ctx context.Context) ([]byte, error) {
	batch, err := s.Conn.Read(ctx)
	fault := s.faults.next()
	select {
	case <-s.dead:
		fault = mute
	default:
	}
	switch {
	case err != nil:
		return nil, err
	case fault == mute:
		s.die()
		_, err := s.Conn.Read(ctx) // nothing of it gets through; wait for the end
		for err == nil {
			_, err = s.Conn.Read(ctx)
		}
		return nil, err
	case fault == loseAnswer, fault == loseRequest:
		return nil, s.broken()
	}
	return spoilt(fault, batch)
}
