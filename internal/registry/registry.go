package registry

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// maxIdleWorkers is how many goroutines wait for the next RPC.
const maxIdleWorkers = 64

// Registry holds a bridge's sessions. It is the transport.Acceptor.
type Registry struct {
	cfg      Config
	epoch    time.Time               // zero of the sessions' clocks, give or take whole pingGrids
	instance uint64                  // upper half of every incarnation, not 0 (O2)
	workers  engine.Workers[*Stream] // that run Handles
	serving  sync.WaitGroup          // Handles
	budget   *engine.Budget

	streams atomic.Int64 // Handles that run
	rpcs    atomic.Int64 // RPCs that began and have not ended, with or without a session
	resent  atomic.Uint64
	resumes atomic.Uint64
	opened  atomic.Uint64
	links   [transport.WS + 1]atomic.Int64  // by kind
	taken   [transport.WS + 1]atomic.Uint64 // bytes of batches
	given   [transport.WS + 1]atomic.Uint64

	wrongKeys       atomic.Uint64
	pausesShortened atomic.Int64 // when shortenPauses last looked, since epoch
	notices         notices

	mu         sync.Mutex
	sessions   map[[wire.IDSize]byte]*Session
	principals map[string]*principal
	lives      uint64 // sessions made
	drain      atomic.Bool
	closed     bool
	idle       chan struct{} // closed when draining and no Handle runs
	ends       map[string]uint64
	refusals   map[string]uint64

	refusedRPCs map[string]uint64
	ended       []Ended // the latest, the oldest first
}

// New returns a Registry that is a fresh instance of a bridge.
func New(cfg Config) *Registry {
	cfg.HelloWindow = cmp.Or(cfg.HelloWindow, 30*time.Second)
	cfg.StreamWindow = cmp.Or(cfg.StreamWindow, 64<<10)
	cfg.SessionRate = cmp.Or(cfg.SessionRate, 1000)
	cfg.IPv6Prefix = cmp.Or(cfg.IPv6Prefix, 64)
	cfg.MaxRPCs = cmp.Or(cfg.MaxRPCs, math.MaxInt32)
	cfg.MaxRPCsPerPrincipal = cmp.Or(cfg.MaxRPCsPerPrincipal, math.MaxInt32)
	cfg.MaxStreamWindow = cmp.Or(cfg.MaxStreamWindow, 8<<20)
	cfg.SessionWindow = cmp.Or(cfg.SessionWindow, 16<<20)
	r := &Registry{
		cfg:        cfg,
		epoch:      time.Now(),
		budget:     engine.NewBudget(cfg.MaxBufferedBytes),
		sessions:   make(map[[wire.IDSize]byte]*Session),
		principals: make(map[string]*principal),
		ends:       make(map[string]uint64),
		refusals:   make(map[string]uint64),
		notices:    newNotices(cfg.Logger),

		refusedRPCs: make(map[string]uint64),
	}
	r.workers.Work, r.workers.Wait = r.handle, maxIdleWorkers
	for r.instance == 0 {
		r.instance = randomUint64() &^ engine.LivesMask
	}
	return r
}

// Instance returns what the incarnations of this bridge have in their upper half.
// It is not 0.
func (r *Registry) Instance() uint32 { return uint32(r.instance >> 32) }

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

// Has reports whether there is a session of that ID, as it stands in batches.
func (r *Registry) Has(session []byte) bool {
	return len(session) == wire.IDSize && r.lookup([wire.IDSize]byte(session)) != nil
}

// create adds a session for an ID that has none. If another request of the
// same client was faster, its session is returned. A nil session comes with
// what refuses it.
func (r *Registry) create(id [wire.IDSize]byte, key []byte, hello *wire.Hello, who Principal, remote string) (*Session, *wire.Close) {
	s, refusal, victim := r.add(id, key, hello, who, remote)
	if victim != nil {
		victim.giveRoom()
		s, refusal, _ = r.add(id, key, hello, who, remote)
	}
	return s, refusal
}

func (r *Registry) add(id [wire.IDSize]byte, key []byte, hello *wire.Hello, who Principal, remote string) (s *Session, refusal *wire.Close, victim *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sessions[id]; s != nil {
		return s, nil, nil
	}
	p := r.principalOf(who.Name)
	if c := r.noRoom(p); c != nil {
		r.release(p)
		if len(r.sessions) >= r.cfg.MaxSessions || len(p.sessions) >= r.cfg.MaxPerPrincipal {
			victim = r.victim(p)
		}
		return nil, c, victim
	}
	s = newSession(r, id, key, hello, who, p)
	s.remote = remote
	r.lives++
	s.incarnation = r.instance | r.lives&engine.LivesMask
	r.sessions[id] = s
	p.add(s)
	r.opened.Add(1)
	r.cfg.Logger.Debug("session opened", "session", s.ID(), "remote", remote, "principal", who.Name, "client", hello.Release)
	return s, nil, nil
}

// remove forgets a session that is over.
func (r *Registry) remove(s *Session, why *engine.Error) {
	r.cfg.Logger.Debug("session ended", "session", s.ID(), "reason", why.Reason, "message", why.Message)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sessions, [wire.IDSize]byte(s.ep.SessionID()))
	s.principal.remove(s)
	r.release(s.principal)
	r.ends[why.Reason]++
	r.ended = pushed(r.ended, maxEnded, Ended{ID: s.ID(), Principal: s.principal.name, At: time.Now(), Reason: why.Reason, Message: why.Message})
}

// serve runs Handle for a stream whose batch was processed whole (D5).
func (r *Registry) serve(st *Stream) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		st.End(engine.BridgeEnd(engine.StatusUnavailable, engine.ReasonDrained, "the bridge is shutting down"))
		st.served()
		return
	}
	r.serving.Add(1)
	r.streams.Add(1)
	r.mu.Unlock()
	r.workers.Run(st)
}

// handle runs one Handle to its end.
func (r *Registry) handle(st *Stream) {
	defer r.serving.Done()
	defer r.streamDone(st)
	defer st.served()
	r.cfg.Handle(st)
}

// streamDone counts a Handle out; Drain waits for the last one.
func (r *Registry) streamDone(st *Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release(st.s.principal)
	if r.streams.Add(-1) == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

// each calls f for every session, without the registry's lock and with the
// session's.
func (r *Registry) each(f func(*Session)) {
	for _, s := range r.all() {
		s.ep.Lock()
		f(s)
		s.unlock()
	}
}

// all returns every session.
func (r *Registry) all() []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.AppendSeq(make([]*Session, 0, len(r.sessions)), maps.Values(r.sessions))
}
