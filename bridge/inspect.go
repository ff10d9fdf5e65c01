package bridge

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/pollbridge/pollbridge/internal/admin"
	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/transport"
)

// inspector is the admin.Source of a Server.
type inspector struct{ s *Server }

// Overview implements admin.Source.
func (i inspector) Overview() admin.Overview {
	f := i.s.figures()
	o := admin.Overview{
		Version: Version(), Started: i.s.started, Now: time.Now(), Ready: i.s.ready(), Draining: i.s.draining.Load(),
		Sessions:   admin.Level{Value: int64(f.Sessions), Limit: int64(f.limits.MaxSessions)},
		RPCs:       admin.Level{Value: int64(f.RPCs), Limit: int64(f.limits.MaxRPCs)},
		Buffered:   admin.Level{Value: f.BufferedBytes, Limit: f.limits.MaxBufferedBytes},
		Principals: f.Principals,
		Links:      byTransport(f.Links), ReceivedBytes: byTransport(f.ReceivedBytes), SentBytes: byTransport(f.SentBytes),
		SessionsOpened: f.SessionsOpened, Resumes: f.Resumes, FramesResent: f.FramesResent,
		RPCsCompleted: i.s.metrics.completed.Load(), RPCsFailed: i.s.metrics.failed.Load(),
		Refusals: refused(f), Backends: []admin.Backend{}, Ended: []admin.Ended{},
	}
	for _, p := range f.pools {
		o.Backends = append(o.Backends, i.backend(p))
	}
	for _, e := range i.s.registry.Ended() {
		o.Ended = append(o.Ended, admin.Ended(e))
	}
	if i.s.cluster != nil {
		o.Cluster = i.s.clusterState()
	}
	return o
}

func byTransport[V any](of map[transport.Kind]V) map[string]V {
	named := make(map[string]V, len(of))
	for kind, value := range of {
		named[kind.String()] = value
	}
	return named
}

// refused lists what was refused, in a constant order.
func refused(f figures) []admin.Refusal {
	list := []admin.Refusal{}
	add := func(what string, counts map[string]uint64, known []string) {
		all := maps.Clone(counts)
		for _, reason := range known {
			all[reason] += 0
		}
		for _, reason := range slices.Sorted(maps.Keys(all)) {
			list = append(list, admin.Refusal{What: what, Reason: reason, Count: all[reason]})
		}
	}
	batches := maps.Clone(f.Refusals)
	batches["wrong_key"] = f.WrongKeys
	add("batch", batches, refusals)
	add("rpc", f.RefusedRPCs, rpcRefusals)
	add("request", f.refused, nil)
	return list
}

// listedChannels is how many channels of a backend are listed.
const listedChannels = 32

func (i inspector) backend(p *backend.Pool) admin.Backend {
	b := admin.Backend{
		Name: p.Name(), Target: p.Target(), Services: []string{}, Ready: p.Ready(), Status: p.Status(),
		States: make(map[string]int), Channels: []admin.Channel{},
	}
	for _, r := range i.s.routes {
		if r.pool == p {
			b.Services = append(b.Services, r.prefix)
		}
	}
	states := p.States()
	for state := connectivity.Idle; state <= connectivity.TransientFailure; state++ {
		b.States[state.String()] = states[state]
	}
	for _, c := range p.Channels(listedChannels) {
		shown := admin.Channel{ID: c.ID, State: c.State.String(), Streams: c.Streams, Limit: c.Limit}
		if c.Err != nil {
			shown.Error = c.Err.Error()
		}
		b.Channels = append(b.Channels, shown)
	}
	return b
}

// Sessions implements admin.Source.
func (i inspector) Sessions(q admin.Query) admin.Sessions {
	page := admin.NewSelection(q)
	for info := range i.s.registry.Sessions() {
		page.Add(sessionOf(info))
	}
	return page.Sessions()
}

func sessionOf(info registry.Info) admin.Session {
	s := admin.Session{
		ID: info.ID, Principal: info.Principal, Remote: info.Remote, Client: info.Client, Opened: info.Opened,
		Transport: info.Transport.String(), Away: info.Away.Seconds(), RTT: info.RTT.Seconds(),
		RPCs: info.RPCs, Buffered: info.Buffered, Resumes: info.Resumed,
		ReceivedBytes: info.ReceivedBytes, SentBytes: info.SentBytes,
		ReceivedRate: info.ReceivedRate, SentRate: info.SentRate,
	}
	if info.Away > 0 {
		s.Transport = admin.NoTransport
	}
	return s
}

// Session implements admin.Source.
func (i inspector) Session(id string) (admin.SessionDetails, *admin.Ended, bool) {
	if sess := i.s.registry.Session(id); sess != nil {
		if d, ok := sess.Inspect(); ok {
			return detailsOf(d), nil, true
		}
	}
	for _, e := range i.s.registry.Ended() {
		if e.ID == id {
			ended := admin.Ended(e)
			return admin.SessionDetails{}, &ended, false
		}
	}
	return admin.SessionDetails{}, nil, false
}

func detailsOf(d registry.Details) admin.SessionDetails {
	details := admin.SessionDetails{
		Session: sessionOf(d.Info), Window: d.Window.Seconds(), PathRate: d.PathRate, Expires: ifSet(d.Expires), Links: d.Links,
		Draining: d.Draining, RPCsOpened: d.RPCsOpened, Open: []admin.RPC{}, Events: []admin.Event{},
	}
	for _, rpc := range d.RPCs {
		details.Open = append(details.Open, admin.RPC{Stream: rpc.Stream, Method: rpc.Method, Began: rpc.Began, Deadline: ifSet(rpc.Deadline)})
	}
	for _, e := range d.Events {
		details.Events = append(details.Events, admin.Event(e))
	}
	return details
}

// ifSet returns nil for the zero time.
func ifSet(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Disconnect implements admin.Source.
func (i inspector) Disconnect(id string) bool {
	sess := i.s.registry.Session(id)
	if sess == nil {
		return false
	}
	sess.Disconnect()
	return true
}
