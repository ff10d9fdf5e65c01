package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// crowd is clients that make RPCs all the time, each checked to its last byte.
type crowd struct {
	home    string
	leaving chan struct{}
	clients sync.WaitGroup

	unary, quiet, chats, downloads, newcomers kind
}

// kind counts the RPCs of a kind.
type kind struct {
	name          string
	ended, failed atomic.Int64
	longest       atomic.Int64 // nanoseconds
}

// startCrowd has clients come: a third with each choice of transports.
func startCrowd(t *testing.T, home string, clients int) *crowd {
	c := &crowd{home: home, leaving: make(chan struct{})}
	c.unary.name, c.quiet.name, c.chats.name, c.downloads.name, c.newcomers.name = "unary calls", "unary calls after a quiet time", "chats", "downloads", "first calls of newcomers"
	names := []string{"longpoll", "ws", "ladder"}
	for i := range clients {
		c.clients.Go(func() { c.play(t, names[i%len(names)], i%2 == 0) })
	}
	for _, name := range names {
		c.clients.Go(func() {
			c.repeat(t, &c.newcomers, 100*time.Millisecond, func(ctx context.Context) error { return c.come(ctx, name) })
		})
		for range quietClients {
			c.clients.Go(func() { c.callSeldom(t, name) })
		}
	}
	return c
}

// leave has all finish what they do, and says what they saw.
func (c *crowd) leave(t *testing.T) {
	t.Helper()
	close(c.leaving)
	c.clients.Wait()
	for _, k := range []*kind{&c.unary, &c.quiet, &c.chats, &c.downloads, &c.newcomers} {
		t.Logf("%d %s, %d failed, the longest took %v", k.ended.Load(), k.name, k.failed.Load(), time.Duration(k.longest.Load()).Round(time.Millisecond))
	}
}

func (c *crowd) channel(name string) (*client.Channel, error) {
	return client.New(c.home, client.Config{
		Transports: transports[name],
		Proxy:      func(*http.Request) (*url.URL, error) { return nil, nil },
	})
}

// play is one client: unary calls and, if it is busy, chats and downloads side by
// side.
func (c *crowd) play(t *testing.T, name string, busy bool) {
	ch, err := c.channel(name)
	if err != nil {
		t.Error(err)
		return
	}
	defer ch.Close()
	echo := echopb.NewEchoClient(ch)
	var all sync.WaitGroup
	defer all.Wait()
	number := uint64(0)
	all.Go(func() {
		c.repeat(t, &c.unary, 100*time.Millisecond, func(ctx context.Context) error { number++; return unary(ctx, echo, number) })
	})
	if !busy {
		return // with long-polling it has no link most of the time
	}
	all.Go(func() { c.repeat(t, &c.chats, 0, func(ctx context.Context) error { return talk(ctx, echo) }) })
	all.Go(func() { c.repeat(t, &c.downloads, 0, func(ctx context.Context) error { return download(ctx, echo) }) })
}

// quietClients is how many there are with each choice of transports, and quietFor
// how long they are quiet: longer than a bridge without RPCs drains.
const (
	quietClients = 4
	quietFor     = 2500 * time.Millisecond
)

// callSeldom is a client whose bridge may go while it is quiet.
func (c *crowd) callSeldom(t *testing.T, name string) {
	ch, err := c.channel(name)
	if err != nil {
		t.Error(err)
		return
	}
	defer ch.Close()
	echo := echopb.NewEchoClient(ch)
	number := uint64(0)
	c.repeat(t, &c.quiet, quietFor, func(ctx context.Context) error { number++; return unary(ctx, echo, number) })
}

// come is a client that comes for one call.
func (c *crowd) come(ctx context.Context, name string) error {
	ch, err := c.channel(name)
	if err != nil {
		return err
	}
	defer ch.Close()
	return unary(ctx, echopb.NewEchoClient(ch), 1)
}

// repeat makes one RPC after another until the crowd leaves.
func (c *crowd) repeat(t *testing.T, k *kind, pause time.Duration, play func(ctx context.Context) error) {
	for {
		began := time.Now()
		err := play(context.Background())
		took := time.Since(began)
		k.ended.Add(1)
		for longest := k.longest.Load(); int64(took) > longest && !k.longest.CompareAndSwap(longest, int64(took)); longest = k.longest.Load() {
		}
		if err != nil {
			k.failed.Add(1)
			t.Errorf("one of the %s, after %v: %v", k.name, took, err)
		}
		select {
		case <-c.leaving:
			return
		case <-time.After(pause):
		}
	}
}

const (
	streamed      = 20 // messages of a stream
	streamedEvery = 100 * time.Millisecond
	streamedBytes = 4 << 10
)

func unary(ctx context.Context, echo echopb.EchoClient, number uint64) error {
	request := testsvc.Request(number, 100)
	got, err := echo.Unary(ctx, request)
	if err == nil && !bytes.Equal(got.GetPayload(), request.GetPayload()) {
		err = fmt.Errorf("call %d: another payload came back", number)
	}
	return err
}

func download(ctx context.Context, echo echopb.EchoClient) error {
	stream, err := echo.ServerStream(ctx, &echopb.Request{Number: 1, Script: &echopb.Script{
		Replies: streamed, ReplyBytes: streamedBytes, DelayMs: uint32(streamedEvery.Milliseconds()),
	}})
	if err != nil {
		return err
	}
	return receiveAll(stream, func() error { return nil })
}

func talk(ctx context.Context, echo echopb.EchoClient) error {
	stream, err := echo.Bidi(ctx)
	if err != nil {
		return err
	}
	sent := uint64(0)
	say := func() error {
		if sent++; sent > streamed {
			return stream.CloseSend()
		}
		if sent > 1 {
			time.Sleep(streamedEvery) // a person who thinks
		}
		if err := stream.Send(testsvc.Request(sent, streamedBytes)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return nil // Recv says why
	}
	if err := say(); err != nil {
		return err
	}
	return receiveAll(stream, say)
}

// receiveAll receives all messages of a stream, in order, and calls next after
// each.
func receiveAll(stream interface{ Recv() (*echopb.Reply, error) }, next func() error) error {
	for number := uint64(1); ; number++ {
		got, err := stream.Recv()
		if errors.Is(err, io.EOF) && number == streamed+1 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("message %d: %w", number, err)
		}
		if err := testsvc.Check(got, number, streamedBytes); err != nil {
			return err
		}
		if err := next(); err != nil {
			return err
		}
	}
}
