package backend

import (
	"errors"
	"hash/maphash"
)

// group is the channels shared by all sessions, or those of one session. Each
// session is pinned to one channel as long as that has room. A channel is full at
// 80 % of the streams that the backend allows on a connection. When all are full
// another is dialled; the newest is closed when the others are at most half full
// without it.
//
// A channel has one HTTP/2 connection to each of the target's addresses, and its
// limit is that of the address that connected last.
//
// The Pool's mutex guards the group, and is held in all methods but close.
type group struct {
	pool     *Pool
	channels []*channel // at least one, until close
}

// pick returns the session's own channel if one is ready and has room, else the
// least loaded ready one, else the least loaded one.
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

// pinned returns the session's channel among the ready ones with room, by
// rendezvous hashing: a channel that comes or goes moves only its own sessions.
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

// grow dials another channel if all are full and none is being dialled.
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
	c, err := p.dialChannel()
	if err != nil {
		p.cfg.Logger.Error("backend channel not added", "backend", p.cfg.Name, "err", err)
		return
	}
	g.channels = append(g.channels, c)
}

// spare removes and returns the newest channel if it has no streams and the
// others are at most half full, else nil.
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
