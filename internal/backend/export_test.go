package backend

import (
	"context"
	"net"
	"runtime"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// Streams counts the streams of each channel.
func (p *Pool) Streams() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n []int
	for _, c := range p.shared.channels {
		n = append(n, c.streams)
	}
	return n
}

// Limits are the channels' stream limits as learnt from the backend.
func (p *Pool) Limits() []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var n []uint32
	for _, c := range p.shared.channels {
		n = append(n, c.limit.Load())
	}
	return n
}

// Grow adds a channel.
func (p *Pool) Grow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shared.grow()
}

// ClientConn is the first channel's.
func (p *Pool) ClientConn() grpc.ClientConnInterface { return p.shared.channels[0].cc }

// WaitReady waits until the first channel is ready.
func (p *Pool) WaitReady() {
	p.wait(func(s connectivity.State) bool { return s == connectivity.Ready })
}

// WaitNotReady waits until the first channel is not ready.
func (p *Pool) WaitNotReady() {
	p.wait(func(s connectivity.State) bool { return s != connectivity.Ready })
}

// WaitFailed waits until the first channel has failed.
func (p *Pool) WaitFailed() {
	p.wait(func(s connectivity.State) bool { return s == connectivity.TransientFailure })
}

func (p *Pool) wait(is func(connectivity.State) bool) {
	c := p.shared.channels[0]
	for !is(connectivity.State(c.state.Load())) {
		s := c.cc.(stateful).GetState()
		if !is(s) {
			c.cc.(stateful).WaitForStateChange(context.Background(), s)
		}
		runtime.Gosched() // the watcher sees it next
	}
}

var (
	ServiceConfig = serviceConfig
	SameType      = sameType
	StreamLimit   = streamLimit
	KindOf        = kindOf
)

// NewFlowConn is one that bounds what it receives by itself.
func NewFlowConn(conn net.Conn, limit int64) *flowConn {
	return newFlowConn(conn, &receiving{limit: limit, window: streamWindow})
}

// Granted waits until what was granted is written, or is to be.
func (c *flowConn) Granted() { c.grants.Wait() }

// WaitReceived waits until no long message is being received, nor waits for it.
func (p *Pool) WaitReceived() {
	for {
		p.receiving.mu.Lock()
		done := p.receiving.held == 0 && len(p.receiving.waiting) == 0
		p.receiving.mu.Unlock()
		if done {
			return
		}
		runtime.Gosched()
	}
}
