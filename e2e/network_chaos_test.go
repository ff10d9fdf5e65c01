package e2e_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// chaos is how long TCP connections are cut, on each choice of transport.
var chaos = flag.Duration("chaos", 15*time.Second, "how long TestChaos cuts, on each choice of transport")

// cutter passes TCP connections on and cuts each after a random time.
type cutter struct {
	listener    net.Listener
	dial        func() (net.Conn, error)
	least, most time.Duration
	cuts        atomic.Int64
	over        atomic.Bool // cut no more
	tasks       sync.WaitGroup
}

func newCutter(t *testing.T, dial func() (net.Conn, error), least, most time.Duration) *cutter {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, dial: dial, least: least, most: most}
	c.tasks.Go(c.serve)
	t.Cleanup(func() {
		_ = l.Close()
		c.tasks.Wait()
	})
	return c
}

func (c *cutter) serve() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.tasks.Go(func() { c.pass(in) })
	}
}

func (c *cutter) pass(in net.Conn) {
	out, err := c.dial()
	if err != nil {
		_ = in.Close()
		return
	}
	cut := func() {
		for _, conn := range []net.Conn{in, out} {
			_ = conn.(*net.TCPConn).SetLinger(0) // a reset, at whatever byte
			_ = conn.Close()
		}
	}
	timer := time.AfterFunc(c.least+rand.N(c.most-c.least), func() {
		if !c.over.Load() {
			c.cuts.Add(1)
			cut()
		}
	})
	defer timer.Stop()
	var pipes sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		pipes.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			cut()
		})
	}
	pipes.Wait()
}

// chaosRPCs is how many RPCs run at once.
const chaosRPCs = 100

// A TCP proxy cuts every connection after 20 to 200 ms while 100 RPCs run:
// nothing is lost, repeated or reordered, and no RPC fails.
func TestChaos(t *testing.T) {
	long(t)
	for name, choice := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service, err := testsvc.Listen("")
			if err != nil {
				t.Fatal(err)
			}
			defer service.Stop()
			b, err := bridge.New(bridge.Config{Backends: []bridge.Backend{{Target: service.Addr}}})
			if err != nil {
				t.Fatal(err)
			}
			front, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: b}
			b.ParkPolls(server)
			var served sync.WaitGroup
			served.Go(func() { _ = server.Serve(front) })
			c := newCutter(t, func() (net.Conn, error) { return net.Dial("tcp", front.Addr().String()) }, 20*time.Millisecond, 200*time.Millisecond)
			channel, err := client.New("http://"+c.listener.Addr().String(), client.Config{Transports: choice})
			if err != nil {
				t.Fatal(err)
			}
			messages := c.run(t, echopb.NewEchoClient(channel))
			t.Logf("%d messages each way in %d RPCs, %d connections cut: none lost, repeated or reordered", messages, chaosRPCs, c.cuts.Load())
			check(t, channel.Close())
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			check(t, b.Shutdown(ctx))
			check(t, server.Close())
			served.Wait()
		})
	}
}

// run keeps RPCs going until the time is over, and then ends them.
func (c *cutter) run(t *testing.T, echo echopb.EchoClient) int64 {
	var messages atomic.Int64
	var rpcs sync.WaitGroup
	until := time.Now().Add(*chaos)
	for i := range chaosRPCs {
		rpcs.Go(func() {
			n, err := exchangeUntil(t.Context(), echo, uint64(i), until)
			if err != nil {
				t.Errorf("RPC %d after %d messages: %v", i, n, err)
			}
			messages.Add(int64(n))
		})
	}
	rpcs.Wait()
	c.over.Store(true)
	return messages.Load()
}

// exchangeUntil sends numbered messages and checks that each comes back, once
// and in order.
func exchangeUntil(ctx context.Context, echo echopb.EchoClient, rpc uint64, until time.Time) (uint64, error) {
	stream, err := echo.Bidi(ctx)
	if err != nil {
		return 0, err
	}
	n := uint64(0)
	for n == 0 || time.Now().Before(until) {
		n++
		want := testsvc.Payload(rpc<<32|n, 1+int(n*97)%3000)
		if err := stream.Send(&echopb.Request{Number: n, Payload: want}); err != nil {
			_, err = stream.Recv()
			return n, err
		}
		reply, err := stream.Recv()
		if err != nil {
			return n, err
		}
		if reply.GetNumber() != n || reply.GetRequests() != n || !bytes.Equal(reply.GetPayload(), want) {
			return n, fmt.Errorf("reply %d to request %d, after %d requests there", reply.GetNumber(), n, reply.GetRequests())
		}
	}
	if err := stream.CloseSend(); err != nil {
		return n, err
	}
	if _, err := stream.Recv(); err != io.EOF {
		return n, fmt.Errorf("end: %w", err)
	}
	return n, nil
}
