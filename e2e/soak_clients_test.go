package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// counts are what TestSoak counts: what happened, and what must not.
type counts struct {
	channels, abandoned, rpcs, messages atomic.Int64
	expired                             atomic.Int64 // RPCs refused because the token had, and made again
	restarts, certificates, keys        atomic.Int64
	lost, repeated, reordered, altered  atomic.Int64
	failed, failedUnary                 atomic.Int64 // RPCs, of either kind
}

func (c *counts) String() string {
	return fmt.Sprintf("channels=%d abandoned=%d rpcs=%d messages=%d expired=%d restarts=%d certificates=%d keys=%d lost=%d repeated=%d reordered=%d altered=%d failed=%d failed_unary=%d",
		c.channels.Load(), c.abandoned.Load(), c.rpcs.Load(), c.messages.Load(), c.expired.Load(), c.restarts.Load(), c.certificates.Load(), c.keys.Load(),
		c.lost.Load(), c.repeated.Load(), c.reordered.Load(), c.altered.Load(), c.failed.Load(), c.failedUnary.Load())
}

// play has one client after another come and go.
func (s *soak) play(i int) {
	names := []string{"longpoll", "ws", "ladder"}
	for n := 0; !s.left(); n++ {
		s.visit(fmt.Sprintf("client-%d", i), transports[names[(i+n)%len(names)]], (i+n)%5 == 4)
	}
}

// visit is a client's life: RPCs side by side for a minute or so, and a farewell, or
// none.
func (s *soak) visit(subject string, choice []string, abandons bool) {
	line := &lifeline{}
	channel, err := client.New(s.url(), client.Config{
		Transports: choice,
		TLS:        &tls.Config{RootCAs: s.ca.roots},
		Dial:       line.dial,
		Proxy:      func(*http.Request) (*url.URL, error) { return nil, nil },
		Token:      func(context.Context) (string, error) { return s.token(subject), nil },
	})
	if err != nil {
		s.fail("channel", err)
		return
	}
	defer channel.Close()
	s.channels.Add(1)
	echo := echopb.NewEchoClient(channel)
	goes := time.Now().Add(20*time.Second + rand.N(80*time.Second))
	var loops sync.WaitGroup
	loop := func(pause time.Duration, rpcs ...func(echopb.EchoClient) error) {
		for n := 0; !s.left() && time.Now().Before(goes); n++ {
			s.attempt(rpcs[n%len(rpcs)], echo, len(rpcs) == 1)
			s.pause(pause)
		}
	}
	loops.Go(func() { loop(time.Second, s.unary) })
	loops.Go(func() { loop(time.Second, s.chat, s.fetch, s.push) })
	loops.Wait()
	if abandons {
		s.abandon(line, echo)
	}
}

// url is where clients find the relay.
func (s *soak) url() string {
	return fmt.Sprintf("https://localhost:%d", s.relay.listener.Addr().(*net.TCPAddr).Port)
}

// abandon has the client vanish in the middle of an RPC.
func (s *soak) abandon(line *lifeline, echo echopb.EchoClient) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if stream, err := echo.Bidi(ctx); err == nil && stream.Send(testsvc.Request(1, streamedBytes)) == nil {
		_, _ = stream.Recv() // what it says counts for nobody
	}
	line.cut()
	s.abandoned.Add(1)
}

// tokenExpired is what the status of an RPC says that the client is to make again.
const tokenExpired = "the token has expired"

// attempt makes an RPC, once more for each time that the token had expired.
func (s *soak) attempt(rpc func(echopb.EchoClient) error, echo echopb.EchoClient, unary bool) {
	var err error
	for range 10 {
		if err = rpc(echo); err == nil || !strings.Contains(err.Error(), tokenExpired) {
			break
		}
		s.expired.Add(1)
	}
	s.rpcs.Add(1)
	if err == nil {
		return
	}
	s.failed.Add(1)
	if unary {
		s.failedUnary.Add(1)
	}
	s.fail("RPC", err)
}

func (s *soak) fail(what string, err error) { s.say("FAULT: %s: %v", what, err) }

const soakPause = 200 * time.Millisecond // between two messages of a stream

func (s *soak) unary(echo echopb.EchoClient) error {
	number := rand.Uint64()
	request := testsvc.Request(number, 100)
	reply, err := echo.Unary(context.Background(), request)
	if err != nil {
		return err
	}
	s.messages.Add(2)
	s.compare(reply, request.GetPayload())
	return nil
}

// chat sends messages, each when the echo of the one before has come.
func (s *soak) chat(echo echopb.EchoClient) error {
	stream, err := echo.Bidi(context.Background())
	if err != nil {
		return err
	}
	o := order{soak: s}
	first := rand.Uint64()
	for n := range uint64(streamed) {
		payload := testsvc.Payload(first+n, streamedBytes)
		if err := stream.Send(&echopb.Request{Number: n + 1, Payload: payload}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		reply, err := stream.Recv()
		if err != nil {
			return early(err, n)
		}
		s.messages.Add(2)
		o.take(reply.GetNumber())
		s.compare(reply, payload)
		s.pause(soakPause)
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return o.finish(stream)
}

// fetch receives a stream of messages.
func (s *soak) fetch(echo echopb.EchoClient) error {
	stream, err := echo.ServerStream(context.Background(), &echopb.Request{Number: 1, Script: &echopb.Script{
		Replies: streamed, ReplyBytes: streamedBytes, DelayMs: uint32(soakPause.Milliseconds()),
	}})
	if err != nil {
		return err
	}
	s.messages.Add(1)
	return (&order{soak: s}).finish(stream)
}

// push sends a stream of messages, whose number and bytes come back.
func (s *soak) push(echo echopb.EchoClient) error {
	stream, err := echo.ClientStream(context.Background())
	if err != nil {
		return err
	}
	last := []byte(nil)
	for n := range uint64(streamed) {
		last = testsvc.Payload(n+1, streamedBytes)
		if err := stream.Send(&echopb.Request{Number: n + 1, Payload: last}); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		s.pause(soakPause)
	}
	reply, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	s.messages.Add(streamed + 1)
	s.lost.Add(max(0, streamed-int64(reply.GetRequests())))
	s.repeated.Add(max(0, int64(reply.GetRequests())-streamed))
	s.compare(reply, last)
	return nil
}

func (s *soak) compare(reply *echopb.Reply, payload []byte) {
	if !bytes.Equal(reply.GetPayload(), payload) {
		s.altered.Add(1)
		s.say("FAULT: reply %d is another one", reply.GetNumber())
	}
}

// order tells what is wrong with the numbers of a stream's replies.
type order struct {
	*soak
	last    uint64 // highest so far
	missing map[uint64]bool
}

func (o *order) take(number uint64) {
	switch {
	case number == o.last+1:
		o.last++
	case number > o.last && number <= streamed:
		if o.missing == nil {
			o.missing = make(map[uint64]bool)
		}
		for ; o.last+1 < number; o.last++ {
			o.missing[o.last+1] = true
		}
		o.last = number
	case o.missing[number]:
		delete(o.missing, number)
		o.reordered.Add(1)
	default:
		o.repeated.Add(1)
	}
}

// finish takes what comes until the end of the stream.
func (o *order) finish(stream interface{ Recv() (*echopb.Reply, error) }) error {
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			o.lost.Add(int64(len(o.missing)) + streamed - int64(o.last))
			return nil
		}
		if err != nil {
			return early(err, o.last)
		}
		o.messages.Add(1)
		o.take(reply.GetNumber())
		o.compare(reply, testsvc.Payload(reply.GetNumber(), streamedBytes))
	}
}

// early says how far the stream got that ended with err.
func early(err error, replies uint64) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("over after %d replies", replies)
	}
	return fmt.Errorf("after %d replies: %w", replies, err)
}

// lifeline is the connections of a client, which can be cut for good.
type lifeline struct {
	mu    sync.Mutex
	conns []net.Conn
	gone  bool
}

func (l *lifeline) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		_ = conn.Close()
		return nil, errors.New("the client has vanished")
	}
	l.conns = append(l.conns, conn)
	return conn, nil
}

func (l *lifeline) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}
