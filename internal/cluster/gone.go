package cluster

import (
	"strconv"
	"strings"
	"time"

	pb "github.com/pollbridge/pollbridge/internal/cluster/clusterpb"
	"github.com/pollbridge/pollbridge/transport"
)

// That nobody subscribes to a bridge's subject does not prove that the bridge is gone:
// its NATS server may have died, or dropped it, and then it has another connection a
// moment later.

const (
	// settleTime is how long that means nothing after this bridge has connected, and
	// of a bridge whose NATS server may be the one that is gone.
	settleTime = 10 * time.Second
	// confirmAfter is how long a bridge has to come back to a server that lives.
	confirmAfter = 500 * time.Millisecond
)

// verdict is what is known of a bridge whose subject nobody subscribes to.
type verdict int

const (
	gone verdict = iota
	unsure
	confirming // it is asked again soon
)

// nobodyThere handles that nobody has subscribed to a bridge's subject.
func (c *Cluster) nobodyThere(d Delivery) {
	if !d.NoResponders {
		return
	}
	instance, err := strconv.ParseUint(d.Subject[strings.LastIndexByte(d.Subject, '.')+1:], 16, 32)
	if err != nil {
		return
	}
	c.mu.Lock()
	p := c.peers[uint32(instance)]
	if p == nil || c.closed {
		c.mu.Unlock()
		return
	}
	first := p.missingAt == 0
	if first {
		p.missingAt = max(c.now(), 1)
	}
	v := c.judge(p)
	if v == gone {
		c.left(p, "nobody subscribes to its subject")
	}
	tell := v == gone && p.asked
	p.gone, p.asked = v == gone, p.asked && v != gone
	c.mu.Unlock()
	switch {
	case tell:
		_ = c.publish(c.everybody(), "", &pb.Message{Gone: p.instance}) // if it fails, it is asked again
		fallthrough
	case v == gone:
		c.end(failGone, errGone, func(of *peer) bool { return of == p })
	case v == unsure && first:
		_ = c.publish(c.everybody(), "", &pb.Message{Missing: p.instance}) // likewise
		fallthrough
	case v == unsure:
		c.end(failMissing, transport.ErrUnavailable, func(of *peer) bool { return of == p })
	case first:
		c.start(func() { c.pingAfter(p, confirmAfter) })
	}
}

// judge returns what is known of a missing bridge: that it is gone if it said so, or
// was missing for long, or if nobody here has ever heard it; or if the server lives
// that it was connected to, being this bridge's. c.mu is held.
func (c *Cluster) judge(p *peer) verdict {
	now := c.now()
	switch {
	case now-c.connectedAt < settleTime:
		return unsure
	case p.gone, !p.known, now-p.missingAt >= settleTime:
		return gone
	case p.server != c.cfg.Fabric.Server():
		return unsure
	case now-p.missingAt >= confirmAfter:
		return gone
	}
	return confirming
}

// pingAfter pings a bridge after a while, unless the cluster is left before.
func (c *Cluster) pingAfter(p *peer, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		c.ping(p)
	case <-c.ctx.Done():
	}
}

// ping pings a bridge.
func (c *Cluster) ping(p *peer) {
	_ = c.send(p, &pb.Message{Ping: uint64(c.now())}) // if it fails, links do
}

// findOut has this bridge find out for another whether one is gone, if it can.
func (c *Cluster) findOut(instance uint32) {
	c.mu.Lock()
	p := c.peers[instance]
	can := p != nil && p.server == c.cfg.Fabric.Server()
	if can {
		p.asked = true
	}
	c.mu.Unlock()
	if can {
		c.ping(p)
	}
}

// foundOut notes that another bridge has found out that one is gone.
func (c *Cluster) foundOut(instance uint32) {
	c.mu.Lock()
	p := c.peers[instance]
	if p == nil || p.missingAt == 0 {
		c.mu.Unlock()
		return
	}
	p.gone = true
	c.left(p, "nobody subscribes to its subject")
	c.mu.Unlock()
	c.end(failGone, errGone, func(of *peer) bool { return of == p })
}
