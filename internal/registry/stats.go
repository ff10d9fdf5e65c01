package registry

import (
	"maps"

	"github.com/pollbridge/pollbridge/transport"
)

// Stats is a reading of a Registry's gauges and counters.
type Stats struct {
	Sessions      int
	Links         map[transport.Kind]int
	ReceivedBytes map[transport.Kind]uint64 // of batches
	SentBytes     map[transport.Kind]uint64
	Streams       int // RPCs that run
	RPCs          int // those that count: with or without a session
	Principals    int
	BufferedBytes int64 // of messages, and Config.RPCBytes for each RPC
	ReservedBytes int   // for messages larger than a window that are being put together

	SessionsOpened uint64
	SessionsClosed map[string]uint64 // by engine.Error.Reason
	Resumes        uint64            // links after a session's first
	Refusals       map[string]uint64 // "garbled", "version", "busy", "too_large", "unknown", "unauthenticated"
	RefusedRPCs    map[string]uint64 // by engine.Error.Reason: a limit, or the session's credential
	WrongKeys      uint64            // batches refused for their key
	FramesResent   uint64
}

// Stats reads the gauges and counters.
func (r *Registry) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := Stats{
		Sessions:       len(r.sessions),
		Links:          make(map[transport.Kind]int),
		ReceivedBytes:  make(map[transport.Kind]uint64),
		SentBytes:      make(map[transport.Kind]uint64),
		Streams:        int(r.streams.Load()),
		RPCs:           int(r.rpcs.Load()),
		Principals:     len(r.principals),
		BufferedBytes:  r.budget.Held(),
		ReservedBytes:  r.budget.Reserved(),
		SessionsOpened: r.opened.Load(),
		SessionsClosed: maps.Clone(r.ends),
		Resumes:        r.resumes.Load(),
		Refusals:       maps.Clone(r.refusals),
		RefusedRPCs:    maps.Clone(r.refusedRPCs),
		WrongKeys:      r.wrongKeys.Load(),
		FramesResent:   r.resent.Load(),
	}
	for _, kind := range []transport.Kind{transport.Longpoll, transport.WS} {
		st.Links[kind] = int(r.links[kind].Load())
		st.ReceivedBytes[kind], st.SentBytes[kind] = r.taken[kind].Load(), r.given[kind].Load()
	}
	return st
}
