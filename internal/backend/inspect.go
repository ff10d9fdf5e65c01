package backend

import "google.golang.org/grpc/connectivity"

// ChannelInfo is what operators see of a channel.
type ChannelInfo struct {
	ID      uint64
	State   connectivity.State
	Err     error // the last one of a dial or handshake, since the channel was last ready
	Streams int
	Limit   int
}

// Channels returns the first most channels: those that sessions share, then those
// of single sessions.
func (p *Pool) Channels(most int) []ChannelInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.shared.inspect(nil, most)
	for _, g := range p.own {
		if len(list) == most {
			break
		}
		list = g.inspect(list, most)
	}
	return list
}

// Target returns Config.Target; empty: the backend is not dialled.
func (p *Pool) Target() string {
	if p.server != nil {
		return ""
	}
	return p.cfg.Target
}

func (g *group) inspect(list []ChannelInfo, most int) []ChannelInfo {
	for _, c := range g.channels[:min(len(g.channels), most-len(list))] {
		c.mu.Lock()
		err := c.lastError
		c.mu.Unlock()
		list = append(list, ChannelInfo{ID: c.id, State: c.current(), Err: err, Streams: c.streams, Limit: int(c.limit.Load())})
	}
	return list
}
