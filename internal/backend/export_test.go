package backend

import "context"

// Channels is how many channels the pool has.
func (p *Pool) Channels() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.channels)
}

// Streams counts the streams of each channel.
func (p *Pool) Streams() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n []int
	for _, c := range p.channels {
		n = append(n, c.streams)
	}
	return n
}

// Limits are the channels' stream limits as learnt from the backend.
func (p *Pool) Limits() []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n []uint32
	for _, c := range p.channels {
		n = append(n, c.limit.Load())
	}
	return n
}

// WaitReady waits for the first channel, however long that takes.
func (p *Pool) WaitReady() {
	p.mu.Lock()
	c := p.channels[0]
	p.mu.Unlock()
	s := c.cc.(stateful)
	for s.GetState().String() != "READY" || !c.ready() {
		s.WaitForStateChange(context.Background(), s.GetState())
	}
}

var (
	ServiceConfig = serviceConfig
	SameType      = sameType
	StreamLimit   = streamLimit
)
