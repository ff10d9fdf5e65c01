package answer

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/netcheck"
)

const (
	maxRuns      = 256
	maxPerClient = 16 // an office shares an address
	maxAtOnce    = 24 // requests of a run
	runLife      = 5 * time.Minute
	runIDSize    = 22
)

// runs are the checks in progress, and recent ones.
type runs struct {
	mu   sync.Mutex
	byID map[string]*run
}

// run is one check as seen by the bridge.
type run struct {
	client string
	born   time.Time

	mu      sync.Mutex
	visits  map[int]*visit
	record  netcheck.Record // without the fields that report takes from visits
	current int
	bytes   int
}

// visit records the arrivals of a request and its copies.
type visit struct {
	first, last time.Time
	copies      int
	gone        bool
}

var (
	errBusy  = errors.New("too many network checks at once; try again in a few minutes")
	errSpent = errors.New("this network check is over its limit of requests or bytes")
)

// find returns the run with the given ID, a new one if there is room.
func (r *runs) find(id, client string) (*run, error) {
	if !validID(id) {
		return nil, fmt.Errorf("run %.64q is not %d letters and digits", id, runIDSize)
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.byID[id]; known != nil && known.client == client {
		return known, nil
	} else if known != nil {
		return r.moved(known, client), nil
	}
	same := 0
	for id, one := range r.byID {
		switch {
		case now.Sub(one.born) > runLife:
			delete(r.byID, id)
		case one.client == client:
			same++
		}
	}
	if len(r.byID) >= maxRuns || same >= maxPerClient {
		return nil, errBusy
	}
	made := &run{client: client, born: now, visits: make(map[int]*visit)}
	r.byID[id] = made
	return made, nil
}

// moved returns a run whose client has changed its address, as phones do.
func (r *runs) moved(known *run, client string) *run {
	known.client = client
	return known
}

func validID(id string) bool {
	if len(id) != runIDSize {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}

// enter records the arrival of request n, which moves so many bytes. Unless it
// returns an error, leave must be called later.
func (r *run) enter(n, bytes int) error {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes+bytes > netcheck.MaxRun || len(r.visits) >= netcheck.MaxAsks || r.current >= maxAtOnce {
		return errSpent
	}
	r.bytes += bytes
	r.current++
	r.record.Peak = max(r.record.Peak, r.current)
	v := r.visits[n]
	if v == nil {
		v = &visit{first: now}
		r.visits[n] = v
		r.record.Arrivals = append(r.record.Arrivals, netcheck.Arrival{N: n, Millis: int(now.Sub(r.born).Milliseconds())})
	}
	v.last = now
	v.copies++
	return nil
}

// leave records the end of a request. gone is whether its client gave it up.
func (r *run) leave(n int, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current--
	r.visits[n].gone = r.visits[n].gone || gone
}

// spend takes bytes from the run's budget.
func (r *run) spend(bytes int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes+bytes > netcheck.MaxRun {
		return errSpent
	}
	r.bytes += bytes
	return nil
}

// socket records a WebSocket handshake.
func (r *run) socket(n int, upgrade bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.record.Sockets) < netcheck.MaxAsks {
		r.record.Sockets = append(r.record.Sockets, netcheck.Socket{N: n, Upgrade: upgrade})
	}
}

// report returns the record so far.
func (r *run) report() *netcheck.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.record
	out.Arrivals = append([]netcheck.Arrival{}, r.record.Arrivals...)
	out.Sockets = append([]netcheck.Socket{}, r.record.Sockets...)
	out.Gone = []int{}
	for _, a := range out.Arrivals {
		v := r.visits[a.N]
		if v.gone {
			out.Gone = append(out.Gone, a.N)
		}
		if v.copies > 1 {
			out.Copies++
			out.LatestMillis = max(out.LatestMillis, int(v.last.Sub(v.first).Milliseconds()))
		}
	}
	return &out
}
