package cluster

import "hash/maphash"

// Drain has new sessions go to other bridges from now on, if there are any that do
// not drain. All other links, of whatever bridge's sessions, go on until Close.
func (c *Cluster) Drain() {
	c.mu.Lock()
	c.draining = true
	c.mu.Unlock()
	c.announce(c.everybody(), false)
}

func (c *Cluster) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// elsewhere returns the bridge that a new session goes to in place of this one,
// which drains: the same each time as long as no bridge comes or goes, so that a
// Hello that is sent again finds its session. It is this one, which refuses the
// session, if there is no other.
func (c *Cluster) elsewhere(session []byte) uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	owner, highest := c.self, uint64(0)
	for _, p := range c.peers {
		if !p.announced || p.draining || p.silent {
			continue
		}
		var h maphash.Hash
		h.SetSeed(c.seed)
		h.Write(session)
		maphash.WriteComparable(&h, p.instance)
		if rank := h.Sum64(); owner == c.self || rank > highest {
			owner, highest = p.instance, rank
		}
	}
	return owner
}
