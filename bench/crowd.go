package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/client"
)

// together calls f for 0 to n-1, 64 at a time, until one fails.
func together(n int, f func(i int) error) error {
	errs := make([]error, 64)
	var next atomic.Int64
	var wg sync.WaitGroup
	for w := range errs {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[w] = f(i); errs[w] != nil {
					next.Store(int64(n)) // the others stop too
				}
			}
		})
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// crowd is many channels to a bridge, as those of people with addresses of
// their own: 200 share one.
type crowd struct {
	channels []*client.Channel
	moved    atomic.Pointer[[]string] // where connections go in turn in place of the URL's address; nil: there

	mu    sync.Mutex
	conns map[net.Conn]bool // all that were dialled, until they are cut
}

// newCrowd makes the channels; each opens its session at once.
func newCrowd(url, transport string, n int) (*crowd, error) {
	c := &crowd{channels: make([]*client.Channel, n), conns: map[net.Conn]bool{}}
	for i := range c.channels {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/200), byte(1+i%200))}}
		ch, err := client.New(url, client.Config{
			Lazy:       true,
			Transports: []string{transport},
			TLS:        &tls.Config{InsecureSkipVerify: true}, // of a certificate made a moment ago
			Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				if to := c.moved.Load(); to != nil {
					addr = (*to)[i%len(*to)]
				}
				conn, err := dialer.DialContext(ctx, network, addr)
				if err == nil {
					c.mu.Lock()
					defer c.mu.Unlock()
					c.conns[conn] = true
				}
				return conn, err
			},
		})
		if err != nil {
			return c, err
		}
		c.channels[i] = ch
	}
	return c, nil
}

// move has all connections go to other addresses from now on, each channel's to the
// next of them, and no longer where they go now.
func (c *crowd) move(addrs ...string) {
	c.moved.Store(&addrs)
	c.cut()
}

// cut closes all connections at once.
func (c *crowd) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.Close() // it may be closed already
	}
	clear(c.conns)
}

// close ends all sessions.
func (c *crowd) close() {
	_ = together(len(c.channels), func(i int) error {
		if c.channels[i] != nil {
			_ = c.channels[i].Close() // always nil
		}
		return nil
	})
}

// callOnce makes one unary RPC.
func callOnce(ctx context.Context, conn grpc.ClientConnInterface) error {
	return conn.Invoke(ctx, unaryMethod, &message{Value: []byte("x")}, new(message))
}

// openQuiet opens a stream that says one message and then nothing.
func openQuiet(ctx context.Context, conn grpc.ClientConnInterface) error {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, quietMethod)
	if err != nil {
		return err
	}
	return errors.Join(s.SendMsg(&message{Value: []byte("x")}), s.CloseSend(), s.RecvMsg(new(message)))
}

// openStopped opens a stream without end, of messages of 16 KiB, and reads one.
func openStopped(ctx context.Context, conn grpc.ClientConnInterface) error {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, streamMethod)
	if err != nil {
		return err
	}
	return errors.Join(s.SendMsg(&message{Value: make([]byte, 16<<10)}), s.CloseSend(), s.RecvMsg(new(message)))
}
