package middlebox

import (
	"maps"
	"sync"
)

// Counts is what a Proxy has seen and done since it was made.
type Counts struct {
	Connections int64            `json:"connections"` // accepted
	Requests    int64            `json:"requests"`    // that came, but for CONNECT
	Sent        int64            `json:"sent"`        // requests sent to an upstream, copies among them
	Copies      int64            `json:"copies"`      // requests sent a second time
	Tunnels     int64            `json:"tunnels"`     // opened by CONNECT
	Upgrades    int64            `json:"upgrades"`    // answered with 101
	BytesUp     int64            `json:"bytes_up"`    // from clients, TLS and headers included
	BytesDown   int64            `json:"bytes_down"`  // to clients
	Struck      map[string]int64 `json:"struck"`      // how often each behaviour has struck, by the name of its flag
}

type counters struct {
	mu     sync.Mutex
	counts Counts
}

func (c *counters) add(f func(*Counts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.counts)
}

func (c *counters) strike(name string) {
	c.add(func(n *Counts) {
		if n.Struck == nil {
			n.Struck = make(map[string]int64)
		}
		n.Struck[name]++
	})
}

// Counts reads the counters.
func (c *counters) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	n.Struck = maps.Clone(n.Struck)
	return n
}
