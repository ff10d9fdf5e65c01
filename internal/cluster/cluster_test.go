package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/cluster"
	pb "github.com/pollbridge/pollbridge/internal/cluster/clusterpb"
	"github.com/pollbridge/pollbridge/internal/cluster/clustertest"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	here  = 0x1111
	there = 0x2222
)

// local is a bridge's sessions as the test plays them.
type local struct {
	instance uint32
	accepted chan *link
	known    []byte // the ID of a session that it has
	idles    bool   // Next of its links returns ErrIdle
}

func newLocal(instance uint32) *local {
	return &local{instance: instance, accepted: make(chan *link, 100)}
}

func (l *local) Instance() uint32 { return l.instance }

func (l *local) Accept(_ context.Context, hello transport.Hello) transport.Link {
	accepted := &link{hello: hello, say: make(chan []byte, 10), delivered: make(chan []byte, 10), closed: make(chan struct{}), idles: l.idles}
	l.accepted <- accepted
	return accepted
}

func (l *local) Has(session []byte) bool { return bytes.Equal(session, l.known) }

// Unknown yields the session as it stands in the refused batch.
func (l *local) Unknown(head wire.Head) transport.Link {
	refused := &link{say: make(chan []byte, 1), closed: make(chan struct{})}
	refused.say <- append([]byte("unknown "), head.Session...)
	return refused
}

// link says what the test puts into say, until that is closed.
type link struct {
	hello     transport.Hello
	say       chan []byte
	delivered chan []byte
	closed    chan struct{}
	idles     bool
}

func (l *link) Deliver(ctx context.Context, batch []byte) error {
	select {
	case l.delivered <- batch:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l *link) Next(ctx context.Context, _ int) (transport.Batch, error) {
	select {
	case batch, ok := <-l.say:
		if !ok {
			return nil, transport.ErrSessionOver
		}
		return transport.Batch{batch}, nil
	default:
	}
	if l.idles {
		return nil, transport.ErrIdle
	}
	select {
	case batch, ok := <-l.say:
		if !ok {
			return nil, transport.ErrSessionOver
		}
		return transport.Batch{batch}, nil
	case <-ctx.Done():
		if errors.Is(context.Cause(ctx), transport.ErrAnswerNow) {
			return transport.Batch{[]byte("answered now")}, nil
		}
		return nil, context.Cause(ctx)
	}
}

func (l *link) Close() { close(l.closed) }

// bridge is one of the cluster.
type bridge struct {
	*cluster.Cluster
	local *local
	node  *clustertest.Node
}

func join(t *testing.T, net *clustertest.Net, instance uint32) *bridge {
	t.Helper()
	b := &bridge{local: newLocal(instance), node: net.Node()}
	var err error
	b.Cluster, err = cluster.New(cluster.Config{
		Name: "test", Node: "node", Local: b.local, Fabric: b.node, MaxBatch: 1 << 20, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bridge) leave() {
	b.Close()
	b.node.Close()
}

var id = bytes.Repeat([]byte{7}, wire.IDSize)

// hello is the begin of a link of a session of that bridge.
func hello(kind transport.Kind, owner uint32, padding int) transport.Hello {
	return transport.Hello{
		Kind: kind, Session: wire.EncodeSession(id), RemoteAddr: "192.0.2.1",
		Batch: wire.AppendBatch(nil, &wire.Batch{Session: id, X: 3, Incarnation: uint64(owner)<<32 | 1, Padding: make([]byte, padding)}),
	}
}

// pair runs f in a bubble with two bridges that know each other.
func pair(t *testing.T, profile clustertest.Profile, f func(t *testing.T, net *clustertest.Net, near, far *bridge)) {
	synctest.Test(t, func(t *testing.T) {
		net := clustertest.New(1, profile)
		near, far := join(t, net, here), join(t, net, there)
		time.Sleep(20 * time.Second) // both have settled
		f(t, net, near, far)
		near.leave()
		far.leave()
	})
}

// next is Link.Next with a limit of one minute.
func next(t *testing.T, l transport.Link) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	batch, err := l.Next(ctx, 64<<10)
	return string(batch.AppendTo(nil)), err
}

func TestExchange(t *testing.T) {
	pair(t, clustertest.Profile{Delay: time.Millisecond}, func(t *testing.T, _ *clustertest.Net, near, far *bridge) {
		want := hello(transport.Longpoll, there, 100)
		l := near.Accept(t.Context(), want)
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			owned := <-far.local.accepted
			if got := owned.hello; !bytes.Equal(got.Batch, want.Batch) || got.Kind != want.Kind || got.Session != want.Session || got.RemoteAddr != want.RemoteAddr {
				t.Errorf("the owner got %+v", got)
			}
			time.Sleep(10 * time.Second)
			owned.say <- []byte("answer")
			<-owned.closed
		}()
		if got, err := next(t, l); got != "answer" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		l.Close()
		<-answered
		synctest.Wait()
		if s := near.Stats(); s.Out != 0 || s.Forwarded != 1 || s.Peers != 1 {
			t.Errorf("near: %+v", s)
		}
	})
}

// TestLocal holds that nothing is forwarded of a bridge's own sessions, of new ones,
// and of what no bridge can have said.
func TestLocal(t *testing.T) {
	pair(t, clustertest.Profile{}, func(t *testing.T, net *clustertest.Net, near, _ *bridge) {
		spoiled := hello(transport.WS, there, 0)
		spoiled.Batch[len(spoiled.Batch)-1]++
		other := hello(transport.WS, there, 0)
		other.Session = wire.EncodeSession(make([]byte, wire.IDSize))
		large := hello(transport.WS, there, 0)
		large.TooLarge, large.Batch = 1, nil
		for name, h := range map[string]transport.Hello{
			"own": hello(transport.WS, here, 0), "new": hello(transport.WS, 0, 0), "spoiled": spoiled, "another path": other, "too large": large,
		} {
			near.Accept(t.Context(), h).Close()
			select {
			case <-near.local.accepted:
			default:
				t.Errorf("%s: not taken here", name)
			}
		}
		if n := near.Stats().Forwarded; n != 0 {
			t.Errorf("%d links were forwarded", n)
		}
	})
}

// TestLasting holds the order and the whole of what goes both ways, in messages
// shorter than batches, and that no more is under way than was asked for.
func TestLasting(t *testing.T) {
	pair(t, clustertest.Profile{Delay: 3 * time.Millisecond, MaxPayload: 4 << 10}, func(t *testing.T, _ *clustertest.Net, near, far *bridge) {
		l := near.Accept(t.Context(), hello(transport.WS, there, 9000))
		begun := make(chan struct{})
		go func() {
			defer close(begun)
			if got, err := next(t, l); got != "first" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		}()
		owned := <-far.local.accepted
		owned.say <- []byte("first")
		<-begun
		time.Sleep(time.Second)
		for i := range 5 {
			owned.say <- bytes.Repeat([]byte{byte(i)}, 10_000*i+1)
		}
		time.Sleep(time.Minute)
		if len(owned.say) != 5 {
			t.Errorf("%d of 5 batches were taken that nobody asked for", 5-len(owned.say))
		}
		for i := range 5 {
			if got, err := next(t, l); got != string(bytes.Repeat([]byte{byte(i)}, 10_000*i+1)) || err != nil {
				t.Errorf("batch %d: %d bytes, %v", i, len(got), err)
			}
		}
		delivered := make(chan error)
		go func() {
			for i := range 20 {
				if err := l.Deliver(t.Context(), bytes.Repeat([]byte{byte(i)}, 1000*i+1)); err != nil {
					delivered <- err
				}
			}
			close(delivered)
		}()
		time.Sleep(time.Minute)
		if n := len(owned.delivered); n != cap(owned.delivered) {
			t.Errorf("%d batches delivered while the owner is slow, want %d", n, cap(owned.delivered))
		}
		for i := range 20 {
			if got := <-owned.delivered; !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, 1000*i+1)) {
				t.Errorf("delivered %d: %d bytes", i, len(got))
			}
		}
		if err := <-delivered; err != nil {
			t.Error(err)
		}
		close(owned.say)
		if _, err := next(t, l); !errors.Is(err, transport.ErrSessionOver) {
			t.Errorf("the end is %v", err)
		}
		l.Close()
		<-owned.closed
	})
}

// TestIdle holds that a parked foreign exchange has no goroutine on either side, and
// is woken.
func TestIdle(t *testing.T) {
	pair(t, clustertest.Profile{}, func(t *testing.T, _ *clustertest.Net, near, far *bridge) {
		h := hello(transport.Longpoll, there, 0)
		woken := make(chan struct{}, 1)
		h.Wake = func() { woken <- struct{}{} }
		far.local.idles = true
		l := near.Accept(t.Context(), h)
		if _, err := next(t, l); !errors.Is(err, transport.ErrIdle) {
			t.Fatalf("a quiet exchange: %v, want ErrIdle", err)
		}
		owned := <-far.local.accepted
		time.Sleep(time.Minute)
		owned.say <- []byte("late")
		owned.hello.Wake()
		<-woken
		if got, err := next(t, l); got != "late" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		l.Close()
		<-owned.closed
	})
}

func TestAnswerNow(t *testing.T) {
	pair(t, clustertest.Profile{Delay: time.Millisecond}, func(t *testing.T, _ *clustertest.Net, near, far *bridge) {
		l := near.Accept(t.Context(), hello(transport.Longpoll, there, 0))
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { cancel(transport.ErrAnswerNow) })
		if got, err := l.Next(ctx, 1000); string(got.AppendTo(nil)) != "answered now" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		l.Close()
		<-(<-far.local.accepted).closed
	})
}

// TestCluster_silence holds that a bridge that says nothing is never taken for gone,
// however long, and that its links end soon.
func TestCluster_silence(t *testing.T) {
	for _, kind := range []transport.Kind{transport.Longpoll, transport.WS} {
		pair(t, clustertest.Profile{}, func(t *testing.T, net *clustertest.Net, near, far *bridge) {
			l := near.Accept(t.Context(), hello(kind, there, 0))
			net.Partition(near.node, far.node, true)
			began := time.Now()
			if _, err := next(t, l); !errors.Is(err, transport.ErrUnavailable) || time.Since(began) > 6*time.Second {
				t.Errorf("%v: a link to a silent bridge: %v after %v", kind, err, time.Since(began))
			}
			l.Close()
			for range 100 {
				time.Sleep(10 * time.Second)
				l := near.Accept(t.Context(), hello(kind, there, 0))
				if got, err := next(t, l); !errors.Is(err, transport.ErrUnavailable) {
					t.Fatalf("%v: a later link: %q, %v", kind, got, err)
				}
				l.Close()
			}
			net.Partition(near.node, far.node, false)
			time.Sleep(10 * time.Second)
			l = near.Accept(t.Context(), hello(kind, there, 0))
			defer l.Close()
			go func() { (<-far.local.accepted).say <- []byte("back") }()
			if got, err := next(t, l); got != "back" || err != nil {
				t.Errorf("%v: a link to a bridge that is back: %q, %v", kind, got, err)
			}
		})
	}
}

// TestGone holds that a bridge that nobody hears is gone at once, but not soon after
// a reconnection.
func TestGone(t *testing.T) {
	pair(t, clustertest.Profile{}, func(t *testing.T, _ *clustertest.Net, near, far *bridge) {
		l := near.Accept(t.Context(), hello(transport.Longpoll, there, 0))
		wait := make(chan error, 1)
		go func() {
			got, err := next(t, l)
			if got != "unknown "+string(id) {
				t.Errorf("a parked exchange got %q, %v", got, err)
			}
			wait <- err
		}()
		owned := <-far.local.accepted
		began := time.Now()
		far.node.Kill()
		<-wait
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("known after %v", took)
		}
		l.Close()
		for range 2 { // first unknown; and, as it was away itself, unavailable for a while
			l := near.Accept(t.Context(), hello(transport.WS, there, 0))
			if got, err := next(t, l); got != "unknown "+string(id) {
				t.Errorf("got %q, %v", got, err)
			}
			if _, err := next(t, l); !errors.Is(err, transport.ErrLinkDone) {
				t.Errorf("after the refusal: %v", err)
			}
			l.Close()
			near.node.Connect(false)
			l = near.Accept(t.Context(), hello(transport.WS, there, 0))
			if _, err := next(t, l); !errors.Is(err, transport.ErrUnavailable) {
				t.Errorf("without NATS: %v", err)
			}
			near.node.Connect(true)
			l = near.Accept(t.Context(), hello(transport.WS, there, 0))
			if _, err := next(t, l); !errors.Is(err, transport.ErrUnavailable) {
				t.Errorf("just after NATS is back: %v", err)
			}
			l.Close()
			time.Sleep(11 * time.Second)
		}
		far.node.Connect(false)
		<-owned.closed
	})
}

// TestGap holds that a link of which a message was lost ends, on both sides.
func TestGap(t *testing.T) {
	pair(t, clustertest.Profile{}, func(t *testing.T, net *clustertest.Net, near, far *bridge) {
		l := near.Accept(t.Context(), hello(transport.WS, there, 0))
		if err := l.Deliver(t.Context(), []byte("first")); err != nil {
			t.Fatal(err)
		}
		owned := <-far.local.accepted
		<-owned.delivered
		net.Change(clustertest.Profile{Loss: 1})
		if err := l.Deliver(t.Context(), []byte("lost")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		net.Change(clustertest.Profile{})
		if err := l.Deliver(t.Context(), []byte("after it")); err != nil {
			t.Fatal(err)
		}
		<-owned.closed
		if len(owned.delivered) != 0 {
			t.Errorf("%q was taken in after a gap", <-owned.delivered)
		}
		if _, err := next(t, l); !errors.Is(err, transport.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
		l.Close()
	})
}

// FuzzReceive holds that no message crashes a bridge, or has it take in a batch that
// is over the limit. Each of a few messages is cut out of the data.
func FuzzReceive(f *testing.F) {
	open := &pb.Message{From: there, Link: 1, ToOwner: true, Number: 1, Batch: hello(transport.WS, here, 10).Batch, Credit: 1, Longest: 1000, Open: &pb.Open{
		Kind: 2, Session: wire.EncodeSession(id), RemoteAddr: "192.0.2.1", Authorization: []byte("digest"),
	}}
	for _, m := range []*pb.Message{
		open,
		{From: there, Link: 1, ToOwner: true, Number: 2, Batch: []byte("more"), Answer: &pb.Answer{Name: []byte("ann"), Number: 1}},
		{From: there, Link: 1, ToOwner: true, Number: 3, AnswerNow: true, Credit: 1 << 63, Longest: 1 << 31},
		{From: there, Link: 1, ToOwner: true, Number: 2, More: true, Batch: []byte("part")},
		{From: there, Link: 1, ToOwner: true, Number: 2, Done: &pb.Done{Reason: 3}},
		{From: there, Link: 1, Number: 1, Batch: []byte("answer"), Taken: 9, Done: &pb.Done{}},
		{From: there, Link: 1, Number: 1, Question: &pb.Question{Number: 1, Token: "token"}},
		{From: there, Link: 1, Done: &pb.Done{Reason: 4}},
		{From: there, Ping: 7}, {From: there, Pong: 7},
		{From: there, Announcement: &pb.Announcement{Node: "node", Leaving: true, Sessions: 1 << 60}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		first, err := proto.Marshal(open)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(first, data, data)
	}
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		synctest.Test(t, func(t *testing.T) {
			net := clustertest.New(1, clustertest.Profile{})
			near, far := join(t, net, here), net.Node()
			l := near.Accept(t.Context(), hello(transport.WS, there, 0))
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					if _, err := next(t, l); err != nil {
						return
					}
				}
			}()
			for _, data := range [][]byte{a, b, c} {
				for _, subject := range []string{"pollbridge.test.to.00001111", "pollbridge.test.all"} {
					_ = far.Publish(subject, "", data) // too long, perhaps
				}
			}
			synctest.Wait()
			for len(near.local.accepted) > 0 {
				owned := <-near.local.accepted
				if len(owned.hello.Batch) > 1<<20 {
					t.Errorf("a first batch of %d bytes", len(owned.hello.Batch))
				}
				close(owned.say)
			}
			<-done
			l.Close()
			near.leave()
			far.Close()
		})
	})
}
