package registry

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// principal is what the clients of one name have together: its limits and shares
// hold for the sum of it.
type principal struct {
	name  string
	share engine.Share
	rpcs  atomic.Int64

	// Guarded by Registry.mu.
	sessions []*Session   // in no order
	calls    int          // RPCs without a session
	rate     rate.Limiter // of new sessions
	leaving  bool         // release comes back
}

// add adds a session. r.mu is held.
func (p *principal) add(s *Session) {
	s.place = len(p.sessions)
	p.sessions = append(p.sessions, s)
}

// remove removes a session; the last one takes its place. r.mu is held.
func (p *principal) remove(s *Session) {
	last := len(p.sessions) - 1
	moved := p.sessions[last]
	p.sessions[s.place], moved.place = moved, s.place
	p.sessions[last] = nil
	p.sessions = p.sessions[:last]
}

// principalOf finds or makes the entry of a principal. r.mu is held.
func (r *Registry) principalOf(name string) *principal {
	p := r.principals[name]
	if p == nil {
		p = &principal{name: name}
		p.share.Init(r.budget)
		p.rate.SetLimitAt(time.Time{}, rate.Limit(r.cfg.SessionRate)) // long ago: it is full now
		p.rate.SetBurstAt(time.Time{}, r.cfg.SessionRate*rateBurst)
		r.principals[name] = p
	}
	return p
}

// release forgets a principal that has nothing any more, once it may open as many
// sessions as a new one. r.mu is held.
func (r *Registry) release(p *principal) {
	switch {
	case len(p.sessions) > 0 || p.calls > 0 || p.rpcs.Load() > 0 || p.leaving:
	case p.rate.Tokens() >= float64(p.rate.Burst()):
		delete(r.principals, p.name)
	default:
		p.leaving = true
		time.AfterFunc(rateBurst*time.Second, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			p.leaving = false
			r.release(p)
		})
	}
}

// rateBurst is how many seconds' worth of new sessions may come at once.
const rateBurst = 10

// Client returns the name of a principal that is only known by its address: that,
// or its network in IPv6, of which one host has all addresses.
func (r *Registry) Client(address string) string {
	addr, err := netip.ParseAddr(address)
	if err != nil || !addr.Is6() || addr.IsLoopback() || r.cfg.IPv6Prefix == addr.BitLen() {
		return address
	}
	network, err := addr.WithZone("").Prefix(r.cfg.IPv6Prefix)
	if err != nil {
		return address
	}
	return network.String()
}

// sample is how many of many are looked at to choose one of them.
const sample = 64

// richest returns the principal that has most sessions, p if none has more. r.mu is
// held.
func (r *Registry) richest(p *principal) *principal {
	most, seen := p, 0
	for _, q := range r.principals {
		if len(q.sessions) > len(most.sessions) {
			most = q
		}
		if seen++; seen == sample {
			break
		}
	}
	return most
}

// victim returns the session that ends so that p gets one, nil if there is none:
// one without an RPC of the principal that has most. Those that never had one go
// first, the oldest of them before others; then those that are away. Of p's own
// only those go that are both. r.mu is held.
func (r *Registry) victim(p *principal) *Session {
	most := p
	if len(p.sessions) < r.cfg.MaxPerPrincipal {
		most = r.richest(p)
	}
	var unused, idle *Session
	n, start := len(most.sessions), 0
	if n > sample {
		start = rand.IntN(n)
	}
	for i := range min(n, sample) {
		s := most.sessions[(start+i)%n]
		switch used, away := s.usage(); {
		case !used && (away || most != p) && (unused == nil || s.incarnation < unused.incarnation):
			unused = s
		case used && away && most != p:
			idle = s
		}
	}
	return cmp.Or(unused, idle)
}

// begin counts one more RPC of p, or returns how it ends because there are too
// many (section 7). Each that began needs an end.
func (r *Registry) begin(p *principal) *wire.End {
	cfg := &r.cfg
	most, mostOwn := int64(cfg.MaxRPCs), int64(cfg.MaxRPCsPerPrincipal)
	all, own := r.rpcs.Add(1), p.rpcs.Add(1)
	var why *wire.End
	switch {
	case all > most:
		why = refuse(engine.StatusResourceExhausted, engine.ReasonOverloaded, "the bridge has %d RPCs open, its limit", most)
	case own > mostOwn:
		why = refuse(engine.StatusResourceExhausted, engine.ReasonLimit, "this principal has %d RPCs open, its limit", mostOwn)
	case engine.OverShare(own-1, all-1, most):
		why = refuse(engine.StatusResourceExhausted, engine.ReasonOverloaded, "this principal has %d RPCs open, its share of the bridge's %d", own-1, most)
	case r.budget.Held() >= cfg.MaxBufferedBytes:
		why = refuse(engine.StatusResourceExhausted, engine.ReasonOverloaded, "the bridge's buffers are full (%d bytes)", cfg.MaxBufferedBytes)
	case p.share.Tight():
		why = refuse(engine.StatusResourceExhausted, engine.ReasonOverloaded, "this principal holds its share of the bridge's buffers (%d of %d bytes)", p.share.Held(), cfg.MaxBufferedBytes)
	}
	if why != nil {
		r.rpcs.Add(-1)
		p.rpcs.Add(-1)
		return why
	}
	p.share.Hold(cfg.RPCBytes)
	return nil
}

// end counts an RPC out that began.
func (r *Registry) end(p *principal) {
	r.rpcs.Add(-1)
	p.rpcs.Add(-1)
	p.share.Hold(-r.cfg.RPCBytes)
}

// Begin counts an RPC without a session of the principal of that name. It returns
// how the RPC ends if there are too many; else done must be called when it ends.
func (r *Registry) Begin(name string) (done func(), refusal *wire.End) {
	r.mu.Lock()
	p := r.principalOf(name)
	p.calls++
	r.mu.Unlock()
	leave := func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		p.calls--
		r.release(p)
	}
	if refusal := r.begin(p); refusal != nil {
		leave()
		r.countRefused(refusal.Reason)
		r.notices.refused.Add("principal", name, "reason", refusal.Reason, "err", refusal.Message)
		return nil, refusal
	}
	return func() {
		r.end(p)
		leave()
	}, nil
}

func refuse(code uint32, reason, format string, args ...any) *wire.End {
	end := engine.BridgeEnd(code, reason, format, args...)
	return &end
}

// scarce reports whether three quarters of what the bridge has for RPCs and bytes
// are used: clients that are away get no longer than the resume window (D8).
func (r *Registry) scarce() bool {
	return r.budget.Scarce() || r.rpcs.Load() >= int64(r.cfg.MaxRPCs)/4*3
}

// pauseInterval is how often shortenPauses looks, at most.
const pauseInterval = time.Second

// shortenPauses has sessions that pause end as soon as they may, once in a while.
func (r *Registry) shortenPauses() {
	last, now := r.pausesShortened.Load(), max(1, int64(time.Since(r.epoch)))
	if last != 0 && now-last < int64(pauseInterval) || !r.pausesShortened.CompareAndSwap(last, now) {
		return
	}
	r.each(func(s *Session) {
		if s.links == 0 && s.ep.Ended() == nil && s.pause > r.cfg.ResumeWindow {
			s.expiry.Reset(max(0, s.window()-(s.ep.Now()-s.linklessSince)))
		}
	})
}
