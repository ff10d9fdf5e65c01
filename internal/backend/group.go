package backend

import (
	"errors"
	"hash/maphash"
)

// group is the channels that some sessions share: all of them, or one. Each
// session is pinned to one of them as long as it has room. A channel is full at
// 80 % of the streams that the backend allows on a connection; when all are,
// another is dialled, and the latest is given up when the others suffice at
// half load.
//
// One channel has one HTTP/2 connection to each of the target's addresses, and
// the limit is that of the address that last connected.
//
// The Pool's mutex guards it, and is held in its methods but close.
type group struct {
	pool     *Pool
	channels []*channel // at least one, until close
}

// pick prefers, in this order, the session's own among the ready channels with
// room, the least loaded ready one, and the least loaded one.
func (g *group) pick(session string) *channel {
	if c := g.channels[0]; len(g.channels) == 1 && c.hasRoom() {
		return c
	}
	own := g.pinned(session)
	if own == nil {
		g.grow()
		return g.leastLoaded()
	}
	return own
}

// pinned is, of the ready channels with room, the one that the session hashes
// highest with: a channel that comes or goes moves no other sessions than its
// own.
func (g *group) pinned(session string) *channel {
	var best *channel
	var most uint64
	for _, c := range g.channels {
		if !c.ready() || !c.hasRoom() {
			continue
		}
		if h := maphash.Comparable(g.pool.seed, pin{session, c.id}); best == nil || h > most {
			best, most = c, h
		}
	}
	return best
}

type pin struct {
	session string
	channel uint64
}

func (g *group) leastLoaded() *channel {
	best := g.channels[0]
	for _, c := range g.channels[1:] {
		if c.ready() == best.ready() && c.streams < best.streams || c.ready() && !best.ready() {
			best = c
		}
	}
	return best
}

// grow dials another channel, when all are full but none is on its way.
func (g *group) grow() {
	p := g.pool
	if p.cfg.ClientConn != nil {
		return
	}
	for _, c := range g.channels {
		if !c.ready() {
			return
		}
	}
	c, err := dialChannel(p.cfg, p.nextID, p.dial)
	if err != nil {
		p.cfg.Logger.Error("backend channel not added", "backend", p.cfg.Name, "err", err)
		return
	}
	p.nextID++
	g.channels = append(g.channels, c)
}

// spare takes the latest channel out when it is idle and the others are at most
// half full; nil otherwise.
func (g *group) spare() *channel {
	last := len(g.channels) - 1
	if last < 1 || g.channels[last].streams > 0 || !g.channels[last].ready() {
		return nil
	}
	streams, limit := 0, int64(0)
	for _, c := range g.channels[:last] {
		streams += c.streams
		limit += int64(c.limit.Load())
	}
	if int64(streams)*2 > limit {
		return nil
	}
	c := g.channels[last]
	g.channels = g.channels[:last]
	return c
}

// close ends the group's calls and channels. It takes the Pool's mutex.
func (g *group) close() error {
	g.pool.mu.Lock()
	channels := g.channels
	g.channels = nil
	g.pool.mu.Unlock()
	var errs []error
	for _, c := range channels {
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}
