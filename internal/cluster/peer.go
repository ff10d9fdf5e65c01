package cluster

import (
	"context"
	"fmt"
	"time"

	pb "github.com/pollbridge/pollbridge/internal/cluster/clusterpb"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	// pingInterval is how often a bridge is pinged that links go to or come from.
	pingInterval = time.Second
	// silentAfter is how long a ping goes unanswered before a bridge counts as out
	// of reach.
	silentAfter = 3 * time.Second
	// probeEvery is after how many pingIntervals something is said of a quiet link, so
	// that none is left at one end alone.
	probeEvery = 30
	// announceEvery is after how many pingIntervals a bridge announces itself again.
	announceEvery = 5
	// missedAfter is how long after its last announcement a bridge is no peer.
	missedAfter = 3 * announceEvery * pingInterval
	// keptFor is how long a bridge that does not announce itself is remembered.
	keptFor = time.Minute
)

// peer is another bridge.
type peer struct {
	instance uint32
	subject  string // of messages to it
	nobody   string // where it is told that it is gone

	// Guarded by Cluster.mu.
	node      string
	announced bool
	draining  bool
	server    string    // of NATS, that it is connected to
	since     time.Time // when it announced itself
	sessions  int
	heardAt   time.Duration
	used      time.Duration // when a link to it was last wanted
	links     int           // in both directions
	pingedAt  time.Duration // of the first ping since it was heard; 0: none
	silent    bool
	known     bool // it was heard
	// Of a bridge whose subject nobody subscribes to: see gone.go.
	missingAt time.Duration // since when that is so; 0: it is not
	gone      bool
	asked     bool // another bridge wants to know
}

func (p *peer) name() string { return fmt.Sprintf("%08x", p.instance) }

// peerOf finds or makes the entry of a bridge. c.mu is held.
func (c *Cluster) peerOf(instance uint32) *peer {
	p := c.peers[instance]
	if p == nil {
		p = &peer{instance: instance, subject: c.subject(instance)}
		p.nobody = c.nobody(p.name())
		p.heardAt = c.now()
		c.peers[instance] = p
	}
	return p
}

// heard notes that a message came. back tells that its bridge was missing, so that
// messages of all links to it may be lost. c.mu is held.
func (c *Cluster) heard(m *pb.Message) (p *peer, back bool) {
	p = c.peerOf(m.From)
	back = p.missingAt != 0
	p.known, p.heardAt, p.pingedAt, p.missingAt, p.gone = true, c.now(), 0, 0, false
	if p.silent {
		p.silent = false
		c.cfg.Logger.Info("bridge in reach again", "peer", p.name(), "node", p.node)
	}
	a := m.Announcement
	if a != nil {
		p.sessions, p.draining, p.server = int(a.Sessions), a.Draining, a.Server
	}
	switch {
	case a == nil:
	case a.Leaving:
		p.gone = true
		c.left(p, "it said so")
	case !p.announced:
		p.announced, p.node, p.since = true, a.Node, time.Now()
		c.cfg.Logger.Info("bridge joined", "peer", p.name(), "node", p.node, "release", a.Release)
		c.running.Go(func() { c.announce(p.subject, false) }) // c is not closed
	}
	return p, back
}

// left notes that a bridge is no peer any more. c.mu is held.
func (c *Cluster) left(p *peer, why string) {
	if p.announced {
		p.announced = false
		c.cfg.Logger.Info("bridge left", "peer", p.name(), "node", p.node, "reason", why)
	}
}

// announce says that this bridge is there, or leaves.
func (c *Cluster) announce(subject string, leaving bool) {
	a := &pb.Announcement{Node: c.cfg.Node, Release: c.cfg.Release, Leaving: leaving, Draining: c.isDraining(), Server: c.cfg.Fabric.Server()}
	if c.cfg.Sessions != nil {
		a.Sessions = uint64(c.cfg.Sessions())
	}
	_ = c.publish(subject, "", &pb.Message{Announcement: a}) // if it fails, it is said again
}

// keepInTouch announces this bridge and pings others, until ctx ends.
func (c *Cluster) keepInTouch(ctx context.Context) {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for n := 0; ; n++ {
		if n%announceEvery == 0 {
			c.announce(c.everybody(), false)
		}
		for _, p := range c.lookAtPeers() {
			c.ping(p)
		}
		c.probe(uint64(n))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// probe has the links probed whose turn it is.
func (c *Cluster) probe(turn uint64) {
	outs, ins := c.linksOf(func(_ *peer, id uint64) bool { return id%probeEvery == turn%probeEvery })
	for _, l := range outs {
		l.probe()
	}
	for _, l := range ins {
		l.probe()
	}
}

// linksOf returns the links that are of some bridge and number.
func (c *Cluster) linksOf(of func(*peer, uint64) bool) (outs []*outLink, ins []*inLink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.out {
		if of(l.peer, l.id) {
			outs = append(outs, l)
		}
	}
	for _, l := range c.in {
		if of(l.peer, l.id) {
			ins = append(ins, l)
		}
	}
	return outs, ins
}

// lookAtPeers ends the links of bridges that are silent, forgets those that are
// gone, and returns those to be pinged.
func (c *Cluster) lookAtPeers() (pinged []*peer) {
	c.mu.Lock()
	now := c.now()
	var silent []*peer
	for _, p := range c.peers {
		if p.announced && now-p.heardAt > missedAfter {
			c.left(p, "not heard for "+missedAfter.String())
		}
		wanted := p.links > 0 || p.silent && now-p.used < keptFor
		switch {
		case !c.connected:
		case wanted && p.pingedAt != 0 && now-p.pingedAt >= silentAfter && !p.silent:
			p.silent = true
			silent = append(silent, p)
			c.cfg.Logger.Warn("bridge out of reach: its sessions get no answer here", "peer", p.name(), "node", p.node)
			fallthrough
		case wanted:
			if p.pingedAt == 0 {
				p.pingedAt = now
			}
			pinged = append(pinged, p)
		case !p.announced && now-max(p.used, p.heardAt) > keptFor:
			delete(c.peers, p.instance)
		}
	}
	c.mu.Unlock()
	for _, p := range silent {
		c.end(failSilent, transport.ErrUnavailable, func(of *peer) bool { return of == p })
	}
	return pinged
}

// end ends the links of some bridges: those from here with err, those to here
// without a word.
func (c *Cluster) end(why string, err error, of func(*peer) bool) {
	outs, ins := c.linksOf(func(p *peer, _ uint64) bool { return of(p) })
	c.mu.Lock()
	c.failures[why] += uint64(len(outs) + len(ins))
	c.mu.Unlock()
	for _, l := range outs {
		l.fail(err)
	}
	for _, l := range ins {
		l.forget()
	}
}

// changed is told whether there is a connection.
func (c *Cluster) changed(connected bool) {
	c.mu.Lock()
	before := c.connected
	c.connected = connected
	if connected && !before {
		c.connectedAt = c.now()
	}
	for _, p := range c.peers {
		p.pingedAt = 0 // as nothing could be heard
	}
	c.mu.Unlock()
	switch {
	case connected == before:
	case connected:
		c.cfg.Logger.Info("cluster connected")
		c.announce(c.everybody(), false)
	default:
		c.cfg.Logger.Warn("cluster disconnected: only this bridge's own sessions get answers here")
		c.end(failDisconnected, transport.ErrUnavailable, func(*peer) bool { return true })
	}
}

// measure notes how long a ping took.
func (c *Cluster) measure(pong uint64) {
	if took := c.now() - time.Duration(pong); took >= 0 && c.cfg.Measured != nil {
		c.cfg.Measured(took)
	}
}
