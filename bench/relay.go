package main

import (
	"errors"
	"net"
	"strconv"
	"sync"
	"time"
)

// A relay passes connections on to another address over a path with a delay, and
// with a rate each way that all connections share. It looks at nothing, and loses
// nothing for good.
type relay struct {
	upstream string
	up, down path

	mu    sync.Mutex
	conns map[net.Conn]struct{} // clients'
}

// path is one direction of a relay.
type path struct {
	delay time.Duration
	rate  float64 // bytes a second; 0: unlimited
	lossy bool    // a share of the time it loses everything, which is sent again
	began time.Time

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
	// A lossy path loses what enters it in such a time of each such period.
	lossBurst  = 10 * time.Millisecond
	lossPeriod = 500 * time.Millisecond
	// lossAgain is how soon that is sent again at the earliest.
	lossAgain = 200 * time.Millisecond
)

// serveRelay serves a relay. The delay is each way, the rate in Mbit/s. If resets is
// not 0 the path is lossy, and all connections are reset so often.
func serveRelay(lis net.Listener, upstream, delay, rate, resets string) error {
	d, err1 := time.ParseDuration(delay)
	mbits, err2 := strconv.ParseFloat(rate, 64)
	every, err3 := time.ParseDuration(resets)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	r := &relay{upstream: upstream, conns: make(map[net.Conn]struct{})}
	for _, p := range []*path{&r.up, &r.down} {
		p.delay, p.rate, p.lossy, p.began = d, mbits*1e6/8, every > 0, time.Now()
	}
	if every > 0 {
		go r.reset(every) // until the process ends
	}
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
	r.mu.Lock()
	r.conns[near] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, near)
	}()
	var both sync.WaitGroup
	both.Go(func() { r.up.pass(far, near) })
	both.Go(func() { r.down.pass(near, far) })
	both.Wait()
}

// reset resets all connections every now and then.
func (r *relay) reset(every time.Duration) {
	for range time.Tick(every) {
		r.mu.Lock()
		for conn := range r.conns {
			_ = conn.(*net.TCPConn).SetLinger(0) // what fails is gone already
			_ = conn.Close()
		}
		r.mu.Unlock()
	}
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
	if p.lossy && free.Sub(p.began)%lossPeriod < lossBurst {
		free = free.Add(max(lossAgain, 2*p.delay))
	}
	return free.Add(p.delay)
}
