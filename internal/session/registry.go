package session

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// maxIdleWorkers is how many goroutines wait for the next RPC.
const maxIdleWorkers = 64

// Registry holds a bridge's sessions. It is the transport.Acceptor.
type Registry struct {
	cfg      Config
	epoch    time.Time        // zero of the sessions' clocks, give or take whole pingGrids
	instance uint64           // upper half of every incarnation, not 0 (O2)
	workers  workers[*Stream] // that run Handles
	serving  sync.WaitGroup   // Handles
	large    *budget          // for messages larger than a window (D4)

	buffered atomic.Int64 // message bytes held in outboxes and inboxes
	streams  atomic.Int64 // Handles that run
	resent   atomic.Uint64
	resumes  atomic.Uint64
	opened   atomic.Uint64
	polls    atomic.Int64 // links by kind
	sockets  atomic.Int64

	mu         sync.Mutex
	sessions   map[[wire.IDSize]byte]*Session
	principals map[string]int
	lives      uint64 // sessions made
	drain      atomic.Bool
	closed     bool
	idle       chan struct{} // closed when draining and no Handle runs
	ends       map[string]uint64
	refusals   map[string]uint64
}

// NewRegistry returns a Registry that is a fresh instance of a bridge.
func NewRegistry(cfg Config) *Registry {
	cfg = cfg.withDefaults()
	r := &Registry{
		cfg:        cfg,
		epoch:      time.Now(),
		large:      &budget{left: reassemblyTotal(&cfg)},
		sessions:   make(map[[wire.IDSize]byte]*Session),
		principals: make(map[string]int),
		ends:       make(map[string]uint64),
		refusals:   make(map[string]uint64),
	}
	r.workers.work, r.workers.wait = r.handle, maxIdleWorkers
	for r.instance == 0 {
		r.instance = randomUint64() &^ livesMask
	}
	return r
}

// livesMask covers the part of an incarnation that counts the sessions of an
// instance: a session that is made again after it lapsed has another (O3).
const livesMask = 1<<32 - 1

// reassemblyTotal is the global budget of rule D4.
func reassemblyTotal(cfg *Config) int { return int(cfg.MaxBufferedBytes / 4) }

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// lookup finds a session.
func (r *Registry) lookup(id [wire.IDSize]byte) *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[id]
}

// create adds a session for an ID that has none. If another request of the
// same client was faster, its session is returned. A nil session comes with
// what refuses it.
func (r *Registry) create(id [wire.IDSize]byte, key []byte, hello *wire.Hello, who Principal) (*Session, *wire.Close) {
	s, refusal, added := r.add(id, key, hello, who)
	if added {
		r.cfg.Logger.Debug("session opened", "session", s.sid, "principal", who.Name, "client", hello.Release)
	}
	return s, refusal
}

func (r *Registry) add(id [wire.IDSize]byte, key []byte, hello *wire.Hello, who Principal) (*Session, *wire.Close, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sessions[id]; s != nil {
		return s, nil, false
	}
	if c := r.noRoom(who); c != nil {
		return nil, c, false
	}
	s := newBridgeSession(r, id, key, hello, who)
	r.lives++
	s.bridge.incarnation = r.instance | r.lives&livesMask
	r.sessions[id] = s
	r.principals[who.Name]++
	r.opened.Add(1)
	return s, nil, true
}

// noRoom gives the refusal of a new session, nil if there is room.
func (r *Registry) noRoom(who Principal) *wire.Close {
	busy := func(format string, args ...any) *wire.Close {
		return &wire.Close{Code: wire.CodeBusy, Message: fmt.Sprintf(format, args...), RetryAfterMillis: 5000}
	}
	switch {
	case r.closed:
		return busy("the bridge is shutting down")
	case r.isDraining():
		return busy("the bridge is draining")
	case len(r.sessions) >= r.cfg.MaxSessions:
		return busy("the bridge has %d sessions, its limit", r.cfg.MaxSessions)
	case r.principals[who.Name] >= r.cfg.MaxPerPrincipal:
		return busy("this principal has %d sessions, its limit", r.cfg.MaxPerPrincipal)
	}
	return nil
}

// remove forgets a session that is over.
func (r *Registry) remove(s *Session, reason string) {
	r.cfg.Logger.Debug("session ended", "session", s.sid, "reason", reason)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, s.id)
	who := s.bridge.owner
	if r.principals[who]--; r.principals[who] == 0 {
		delete(r.principals, who)
	}
	r.ends[reason]++
}

// serve runs Handle for a stream whose batch was processed whole (D5).
func (r *Registry) serve(st *Stream) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		r.served(st)
		return
	}
	r.serving.Add(1)
	r.streams.Add(1)
	r.mu.Unlock()
	r.workers.run(st)
}

// handle runs one Handle to its end.
func (r *Registry) handle(st *Stream) {
	defer r.serving.Done()
	defer r.served(st)
	defer r.streamDone()
	r.cfg.Handle(st)
}

// streamDone counts a Handle out and tells Drain of the last one.
func (r *Registry) streamDone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.streams.Add(-1) == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

// served settles a stream whose Handle has returned.
func (r *Registry) served(st *Stream) {
	s := st.s
	s.mu.Lock()
	defer s.unlock()
	if !st.done {
		st.end(bridgeEnd(statusInternal, ReasonEnded, "the handler returned without a status"))
	}
	st.serving = false
	s.forget(st)
}

// Drain tells every client to open its next RPCs elsewhere, refuses new
// sessions, waits for the open RPCs until ctx ends, and then closes every
// session with the reason "drained". It returns the cause of ctx if RPCs had
// to be cut off.
func (r *Registry) Drain(ctx context.Context) error {
	r.mu.Lock()
	r.drain.Store(true)
	idle := make(chan struct{})
	if r.streams.Load() == 0 {
		close(idle)
	} else {
		r.idle = idle
	}
	r.mu.Unlock()
	r.each(func(s *Session) {
		s.mu.Lock()
		s.wake()
		s.unlock()
	})
	var err error
	select {
	case <-idle:
		r.flush(ctx)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.close(&Error{Reason: ReasonDrained, Message: "the bridge is shutting down"})
	return err
}

// flushPoll is how often Drain looks whether the last frames were acked.
const flushPoll = 20 * time.Millisecond

// flushLimit bounds the wait for acks of the last frames.
const flushLimit = 2 * time.Second

// flush waits until clients have the last frames. One that polls has no link
// between an answer and its next request, so frames that were never sent count
// without a link too.
func (r *Registry) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	tick := time.NewTicker(flushPoll)
	defer tick.Stop()
	for {
		pending := false
		r.each(func(s *Session) {
			s.mu.Lock()
			pending = pending || s.out.turn.len() > 0 || s.bridge.links > 0 && s.out.sent.len() > 0
			s.mu.Unlock()
		})
		if !pending {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Close ends every session at once, and waits for every Handle to return.
func (r *Registry) Close() {
	r.close(&Error{Reason: ReasonDrained, Message: "the bridge was closed"})
}

func (r *Registry) close(why *Error) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.each(func(s *Session) {
		s.mu.Lock()
		s.over(why)
		s.unlock()
	})
	r.serving.Wait()
	r.workers.close()
}

// tight tells that the global budget is three quarters full: RPCs that are open
// go on slowly, new ones are refused. The rest is for what was granted before.
func (r *Registry) tight() bool { return r.buffered.Load() >= r.cfg.MaxBufferedBytes/4*3 }

// overfull tells that the global budget is exceeded.
func (r *Registry) overfull() bool { return r.buffered.Load() > r.cfg.MaxBufferedBytes }

// shed closes sessions that are away, those with most bytes first, until the
// global budget holds again (D8).
func (r *Registry) shed() {
	type load struct {
		s     *Session
		bytes int
	}
	var idle []load
	r.each(func(s *Session) {
		s.mu.Lock()
		if n := s.out.bytes + s.received; s.bridge.away() && n > 0 {
			idle = append(idle, load{s, n})
		}
		s.mu.Unlock()
	})
	slices.SortFunc(idle, func(a, b load) int { return b.bytes - a.bytes })
	for _, l := range idle {
		if !r.overfull() {
			return
		}
		l.s.mu.Lock()
		if l.s.bridge.away() {
			l.s.over(&Error{Reason: ReasonOverloaded, Message: "the bridge's buffers are full"})
		}
		l.s.unlock()
	}
}

// each calls f for every session, without the registry's lock.
func (r *Registry) each(f func(*Session)) {
	r.mu.Lock()
	all := make([]*Session, 0, len(r.sessions))
	for _, s := range r.sessions {
		all = append(all, s)
	}
	r.mu.Unlock()
	for _, s := range all {
		f(s)
	}
}

// Stats is a reading of a Registry's gauges and counters.
type Stats struct {
	Sessions      int
	Links         map[transport.Kind]int
	Streams       int // RPCs that run
	BufferedBytes int64

	SessionsOpened uint64
	SessionsClosed map[string]uint64 // by Error.Reason
	Resumes        uint64            // links after a session's first
	Refusals       map[string]uint64 // "garbled", "version", "busy", "too_large", "unknown"
	FramesResent   uint64
}

// Stats reads the gauges and counters.
func (r *Registry) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := Stats{
		Sessions: len(r.sessions),
		Links: map[transport.Kind]int{
			transport.Longpoll: int(r.polls.Load()),
			transport.WS:       int(r.sockets.Load()),
		},
		Streams:        int(r.streams.Load()),
		BufferedBytes:  r.buffered.Load(),
		SessionsOpened: r.opened.Load(),
		SessionsClosed: make(map[string]uint64, len(r.ends)),
		Resumes:        r.resumes.Load(),
		Refusals:       make(map[string]uint64, len(r.refusals)),
		FramesResent:   r.resent.Load(),
	}
	maps.Copy(st.SessionsClosed, r.ends)
	maps.Copy(st.Refusals, r.refusals)
	return st
}

func (r *Registry) isDraining() bool { return r.drain.Load() }
