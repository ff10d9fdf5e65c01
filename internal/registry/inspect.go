package registry

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// Info is what an operator may see of a session: nothing that lets anybody speak
// for it.
type Info struct {
	ID        string
	Principal string
	Remote    string // the address that it was opened from
	Client    string // its release, as the client states it
	Opened    time.Time
	Transport transport.Kind // that carries frames
	Away      time.Duration  // for how long it has had no link, if that is longer than between two exchanges
	RTT       time.Duration  // smoothed; 0: not measured
	RPCs      int
	Buffered  int // bytes of messages held, in both directions
	Resumed   uint64

	ReceivedBytes, SentBytes uint64  // of batches
	ReceivedRate, SentRate   float64 // bytes per second, of the last seconds
}

// Event is something that happened to a session.
type Event struct {
	At     time.Time
	What   string
	Detail string // may be empty
}

// RPC is one of a session's open RPCs.
type RPC struct {
	Stream   uint64
	Method   string
	Began    time.Time
	Deadline time.Time // zero: none
}

// Details are a session's Info, and what happened to it.
type Details struct {
	Info
	PathRate   float64 // bytes per second that the path to the client takes; 0: not measured
	Window     time.Duration
	Expires    time.Time // of the credential; zero: never
	Links      int
	Draining   bool    // its client was told to go elsewhere
	Events     []Event // its opening, and the latest, oldest first
	RPCs       []RPC   // those that began first
	RPCsOpened uint64
}

// Ended is a session that is over.
type Ended struct {
	ID, Principal   string
	At              time.Time
	Reason, Message string
}

const (
	// maxEvents is how many events of a session are kept beside its opening.
	maxEvents = 31
	// maxEnded is how many sessions that are over are known.
	maxEnded = 100
	// maxListed is how many RPCs of a session are listed.
	maxListed = 100
	// maxRelease bounds what is kept of a client's release.
	maxRelease = 64
)

// event is an Event on the endpoint's clock.
type event struct {
	at           time.Duration
	what, detail string
}

// happened notes an event.
func (s *Session) happened(what, detail string) {
	s.events = pushed(s.events, maxEvents, event{s.ep.Now(), what, detail})
}

// pushed appends to a list of which the latest most are kept.
func pushed[T any](list []T, most int, item T) []T {
	if len(list) == most {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, item)
}

// took counts the bytes of a batch that came.
func (s *Session) took(kind transport.Kind, n int) {
	s.reg.taken[kind].Add(uint64(n))
	s.received.Add(s.ep.Now(), n)
}

// gave counts the bytes of a batch that goes, and notes that another kind of link
// carries frames than before.
func (s *Session) gave(kind transport.Kind, n int) {
	s.reg.given[kind].Add(uint64(n))
	s.sent.Add(s.ep.Now(), n)
	now := s.kind()
	switch s.carrier {
	case now:
		return
	case 0:
		s.firstCarrier = now // no event: most sessions have no other
	default:
		s.happened(carriedBy(now), "")
	}
	s.carrier = now
}

// carriedBy is an event: frames go on links of that kind from now on.
func carriedBy(kind transport.Kind) string { return "carried by " + kind.String() }

// opening is a session's first event.
func (s *Session) opening() Event {
	e := Event{At: s.ep.Time(s.opened), What: "opened"}
	if s.firstCarrier != 0 {
		e.Detail = carriedBy(s.firstCarrier)
	}
	return e
}

// Sessions yields what an operator may see of each session, in no order. It holds
// one session's lock at a time, and none while it yields.
func (r *Registry) Sessions() iter.Seq[Info] {
	return func(yield func(Info) bool) {
		for _, s := range r.all() {
			if info, ok := s.info(); ok && !yield(info) {
				return
			}
		}
	}
}

// Session finds a session by its public ID, nil if there is none.
func (r *Registry) Session(id string) *Session {
	if parsed, err := wire.ParseSession(id); err == nil {
		return r.lookup(parsed)
	}
	return nil
}

// Ended returns the sessions that ended last, the latest first.
func (r *Registry) Ended() []Ended {
	r.mu.Lock()
	list := slices.Clone(r.ended)
	r.mu.Unlock()
	slices.Reverse(list)
	return list
}

// info reports false for a session that is over.
func (s *Session) info() (Info, bool) {
	s.ep.Lock()
	defer s.ep.Unlock()
	return s.inspect(), s.ep.Ended() == nil
}

func (s *Session) inspect() Info {
	now := s.ep.Now()
	info := Info{
		ID: s.ID(), Principal: s.principal.name, Remote: s.remote, Client: s.client.Value(), Opened: s.ep.Time(s.opened),
		Transport: s.kind(), RTT: s.ep.RTT(), RPCs: s.ep.NumStreams(), Buffered: s.ep.BytesHeld(), Resumed: s.resumed,
		ReceivedBytes: s.received.Total(), ReceivedRate: s.received.Rate(now),
		SentBytes: s.sent.Total(), SentRate: s.sent.Rate(now),
	}
	if s.away() {
		info.Away = now - s.linklessSince
	}
	return info
}

// Inspect returns what an operator may see of the session, and false if it is
// over.
func (s *Session) Inspect() (Details, bool) {
	s.ep.Lock()
	defer s.ep.Unlock()
	d := Details{
		Info: s.inspect(), PathRate: s.ep.Path.Rate(), Window: s.window(), Expires: s.bound().Expires,
		Links: s.links, Draining: s.goAwaySent, RPCsOpened: s.ep.Opened(),
	}
	d.Events = append(d.Events, s.opening())
	for _, e := range s.events {
		d.Events = append(d.Events, Event{At: s.ep.Time(e.at), What: e.what, Detail: e.detail})
	}
	for st := range s.ep.Streams() {
		own, ok := st.Owner().(*owner)
		if !ok || st.Done() {
			continue
		}
		rpc := RPC{Stream: own.id, Method: st.Request().Method, Began: s.ep.Time(own.began)}
		rpc.Deadline, _ = st.Context().Deadline()
		d.RPCs = append(d.RPCs, rpc)
	}
	slices.SortFunc(d.RPCs, func(a, b RPC) int { return cmp.Compare(a.Stream, b.Stream) })
	d.RPCs = d.RPCs[:min(len(d.RPCs), maxListed)]
	return d, s.ep.Ended() == nil
}

// Disconnect ends the session because an operator wants it; its client may open
// another one.
func (s *Session) Disconnect() {
	s.ep.Lock()
	defer s.unlock()
	s.ep.Over(&engine.Error{Reason: engine.ReasonDisconnected, Message: "disconnected by an operator"})
}
