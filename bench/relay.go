package main

import (
	"errors"
	"net"
	"strconv"
	"sync"
	"time"
)

// A relay passes connections on to another address over a path with a delay, and
// with a rate each way that all connections share. It loses nothing and looks at
// nothing.
type relay struct {
	upstream string
	up, down path
}

// path is one direction of a relay.
type path struct {
	delay time.Duration
	rate  float64 // bytes a second; 0: unlimited

	mu   sync.Mutex
	free time.Time // when what was let in before has passed the bottleneck
}

const (
	// relayPiece is what a relay reads at once.
	relayPiece = 16 << 10
	// relayQueue is how much may wait before a bottleneck, in time.
	relayQueue = 100 * time.Millisecond
	// relayInFlight is how many pieces of one connection may be under way: 128 MiB.
	relayInFlight = 8 << 10
)

// serveRelay serves a relay. The delay is each way, the rate in Mbit/s.
func serveRelay(lis net.Listener, upstream, delay, rate string) error {
	d, err1 := time.ParseDuration(delay)
	mbits, err2 := strconv.ParseFloat(rate, 64)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	r := &relay{upstream: upstream}
	r.up.delay, r.down.delay = d, d
	r.up.rate, r.down.rate = mbits*1e6/8, mbits*1e6/8
	for {
		conn, err := lis.Accept()
		if err != nil {
			return err
		}
		go r.serve(conn) // until the process ends, or either side
	}
}

func (r *relay) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", r.upstream)
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	both.Go(func() { r.up.pass(far, near) })
	both.Go(func() { r.down.pass(near, far) })
	both.Wait()
}

// piece is some bytes, and when they arrive.
type piece struct {
	data []byte
	at   time.Time
}

// pass passes on what one end sends until that ends, or the other is gone.
func (p *path) pass(to, from net.Conn) {
	pieces := make(chan piece, relayInFlight)
	go func() {
		defer close(pieces)
		for {
			buf := make([]byte, relayPiece)
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{buf[:n], p.enter(n)}
			}
			if err != nil {
				return
			}
		}
	}()
	gone := false
	for next := range pieces {
		if gone {
			continue
		}
		time.Sleep(time.Until(next.at))
		if _, err := to.Write(next.data); err != nil {
			gone = true
			_ = from.Close() // ends the reader
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the peer may be gone
	}
}

// enter waits for room before the bottleneck, and returns when n bytes arrive.
func (p *path) enter(n int) time.Time {
	p.mu.Lock()
	now := time.Now()
	if p.free.Before(now) {
		p.free = now
	}
	if p.rate > 0 {
		p.free = p.free.Add(time.Duration(float64(n) / p.rate * 1e9))
	}
	free := p.free
	p.mu.Unlock()
	time.Sleep(free.Sub(now) - relayQueue)
	return free.Add(p.delay)
}
