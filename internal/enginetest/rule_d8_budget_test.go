package enginetest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// crowd is many sessions that share a bridge of little memory.
type crowd struct {
	t        *testing.T
	reg      *registry.Registry
	sessions []*dialer.Session
}

const (
	crowdBudget   = 8 << 20
	crowdMessages = 40 // each way of each RPC
	crowdMessage  = 8 << 10
	crowdStreams  = 4
)

// inCrowd runs f with that many sessions in a bubble, and holds that nothing is
// left when they are closed.
func inCrowd(t *testing.T, choice string, n int, handle func(*registry.Stream), f func(c *crowd)) {
	t.Run(choice, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			reg := enginetest.NewRegistry(registry.Config{Handle: handle, MaxBufferedBytes: crowdBudget})
			c := &crowd{t: t, reg: reg}
			for range n {
				d := &direct{reg: reg, delay: 5 * time.Millisecond}
				c.sessions = append(c.sessions, dialer.Start(dialer.Config{Carrier: d, Transports: transports()[choice]}))
			}
			time.Sleep(time.Second)
			f(c)
			for _, s := range c.sessions {
				if err := s.Close(c.t.Context()); err != nil {
					t.Error(err)
				}
			}
			synctest.Wait()
			if ends := reg.Stats().SessionsClosed; len(ends) != 1 || ends[engine.ReasonClosed] != uint64(n) {
				t.Errorf("sessions ended: %v", ends)
			}
			checkIdle(t, reg)
			reg.Close()
		})
	})
}

// stagger lets RPCs that were opened together begin one after the other.
func stagger(st interface{ Context() context.Context }) {
	var n [1]byte
	_, _ = rand.Read(n[:])
	_ = sleep(st.Context(), time.Second+time.Duration(n[0])*50*time.Millisecond)
}

// open opens an RPC on each session, several times.
func (c *crowd) open(method string) []*dialer.Stream {
	var all []*dialer.Stream
	for _, s := range c.sessions {
		for range crowdStreams {
			st, err := s.Open(c.t.Context(), wire.Open{Method: method})
			if err != nil {
				c.t.Fatal(err)
			}
			all = append(all, st)
		}
	}
	return all
}

// refused holds that new RPCs are refused, naming the limit, as soon as they
// would fill the budget further than to its edge.
func (c *crowd) refused() {
	c.t.Helper()
	for range 50 {
		st, err := c.sessions[0].Open(c.t.Context(), wire.Open{Method: "/test/Late"})
		if err != nil {
			c.t.Fatal(err)
		}
		if _, err := st.Recv(c.t.Context()); err == nil {
			defer st.Cancel() // there was room yet
			continue
		}
		end, held := st.Status(), 0 // what is held has changed since then
		_, err = fmt.Sscanf(end.Message, "this principal holds its share of the bridge's buffers (%d of 8388608 bytes)", &held)
		if end.Status != 8 || end.Reason != engine.ReasonOverloaded || err != nil || held < crowdBudget/4*3 || held > crowdBudget {
			c.t.Errorf("a new RPC at the edge of the budget: %+v", end)
		}
		return
	}
	c.t.Error("no new RPC was refused")
}

// within holds that the budget is used and not exceeded.
func (c *crowd) within() {
	c.t.Helper()
	if n := c.reg.Stats().BufferedBytes; n < crowdBudget/2 || n > crowdBudget {
		c.t.Errorf("%d bytes buffered, budget %d", n, crowdBudget)
	}
}

// D8: at the edge of the global budget new RPCs are refused, those that are
// open wait for readers that have stopped, nothing dies, and all goes on when
// they read.
func TestRule_budgetDown(t *testing.T) {
	flood := func(st *registry.Stream) {
		stagger(st)
		for i := range crowdMessages {
			if err := st.Send(st.Context(), message(bytes.Repeat([]byte{byte(i)}, crowdMessage))); err != nil {
				st.End(wire.End{Status: 1, Message: err.Error()})
				return
			}
		}
		st.End(wire.End{Message: "all"})
	}
	for _, choice := range []string{"longpoll", "ws"} {
		inCrowd(t, choice, 40, flood, func(c *crowd) {
			all := c.open("/test/Flood")
			time.Sleep(10 * time.Minute)
			c.within()
			c.refused()
			var readers sync.WaitGroup
			for _, st := range all {
				readers.Go(func() {
					for i := range crowdMessages {
						m, err := st.Recv(c.t.Context())
						if err != nil || !bytes.Equal(m.Bytes(), bytes.Repeat([]byte{byte(i)}, crowdMessage)) {
							c.t.Errorf("message %d: %d bytes, %v; %+v", i, m.Len(), err, st.Status())
							return
						}
					}
					if _, err := st.Recv(c.t.Context()); err != io.EOF || st.Status().Message != "all" {
						c.t.Errorf("%v, %+v", err, st.Status())
					}
				})
			}
			readers.Wait()
		})
	}
}

// D8: the same with backends that do not read: clients get no more credit.
func TestRule_budgetUp(t *testing.T) {
	for _, choice := range []string{"longpoll", "ws"} {
		var read chan struct{}
		slow := func(st *registry.Stream) {
			<-read
			n := 0
			for {
				m, err := st.Recv(st.Context())
				if err != nil {
					st.End(wire.End{Message: fmt.Sprint(n, " ", err)})
					return
				}
				if !bytes.Equal(m.Bytes(), bytes.Repeat([]byte{byte(n)}, crowdMessage)) {
					st.End(wire.End{Status: 13, Message: "a wrong message"})
					return
				}
				n++
			}
		}
		inCrowd(t, choice, 28, slow, func(c *crowd) {
			read = make(chan struct{})
			var writers sync.WaitGroup
			for _, st := range c.open("/test/Slow") {
				writers.Go(func() {
					stagger(st)
					for i := range crowdMessages {
						if err := st.Send(c.t.Context(), message(bytes.Repeat([]byte{byte(i)}, crowdMessage))); err != nil {
							c.t.Error(err)
						}
					}
					_ = st.CloseSend()
					_, err := st.Recv(c.t.Context())
					if want := fmt.Sprint(crowdMessages, " EOF"); err != io.EOF || st.Status().Message != want {
						c.t.Errorf("%v, %+v", err, st.Status())
					}
				})
			}
			time.Sleep(10 * time.Minute)
			c.within()
			c.refused()
			close(read)
			writers.Wait()
		})
	}
}

// D8: while the budget is full of what others do not read, an RPC that was open
// before goes on, message by message.
func TestRule_budgetOthers(t *testing.T) {
	handle := func(st *registry.Stream) {
		if st.Request().Method == "/test/Echo" {
			echo(st)
			return
		}
		stagger(st)
		for st.Send(st.Context(), message(make([]byte, crowdMessage))) == nil {
		}
		st.End(wire.End{Status: 1})
	}
	for _, choice := range []string{"longpoll", "ws"} {
		inCrowd(t, choice, 40, handle, func(c *crowd) {
			s := c.sessions[0]
			st, err := s.Open(c.t.Context(), wire.Open{Method: "/test/Echo"})
			if err != nil {
				c.t.Fatal(err)
			}
			floods := c.open("/test/Flood")
			time.Sleep(time.Minute)
			c.refused()
			for i := range 30 {
				want := bytes.Repeat([]byte{byte(i)}, 30_000)
				if err := st.Send(c.t.Context(), message(want)); err != nil {
					c.t.Fatal(err)
				}
				if m, err := st.Recv(c.t.Context()); err != nil || !bytes.Equal(m.Bytes(), want) {
					c.t.Fatalf("message %d: %d bytes, %v", i, m.Len(), err)
				}
			}
			c.within()
			for _, st := range append(floods, st) {
				st.Cancel()
			}
		})
	}
}

// D8: over the budget a session that is away is closed, the one with most bytes,
// and none that is between two polls.
func TestRule_budgetAway(t *testing.T) {
	wait := func(st *registry.Stream) {
		<-st.Context().Done()
		st.End(wire.End{Status: 1})
	}
	cfg := registry.Config{Handle: wait, MaxBufferedBytes: 200 << 10}
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		peers := talkers(t, reg)
		peers[0].upload(3)
		peers[1].upload(4)
		time.Sleep(3 * time.Second)
		peers[2].upload(4)
		peers[3].upload(4)
		for i, want := range []bool{true, false, true, true} {
			if a := peers[i].poll(peers[i].batch(nil)); (a.Close == nil) != want {
				t.Errorf("session %d: %+v", i, a.Close)
			}
		}
		if ends := reg.Stats().SessionsClosed; len(ends) != 1 || ends["overloaded"] != 1 {
			t.Errorf("sessions closed: %v", ends)
		}
	})
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		for _, p := range talkers(t, reg) {
			p.upload(4)
		}
		if st := reg.Stats(); st.BufferedBytes <= 200<<10 || len(st.SessionsClosed) != 0 {
			t.Errorf("%d bytes, sessions closed: %v", st.BufferedBytes, st.SessionsClosed)
		}
	})
}

// talkers are four peers with an RPC each.
func talkers(t *testing.T, reg *registry.Registry) []*peer {
	var peers []*peer
	for range 4 {
		p := newPeer(t, reg)
		p.open()
		p.poll(p.batch(nil, openFrame(1)))
		peers = append(peers, p)
	}
	return peers
}

// upload sends that many messages of 16,000 bytes, one in each poll.
func (p *peer) upload(messages int) {
	p.t.Helper()
	for range messages {
		p.poll(p.batch(nil, dataFrame(1, strings.Repeat("x", 16_000))))
	}
}

// D8: without a link little is taken from the backend; over the global budget
// sessions without a link go first.
func TestRule_linkless(t *testing.T) {
	sent := make(chan int, 1000)
	flood := func(st *registry.Stream) {
		for i := range 1000 {
			if st.Send(st.Context(), message(make([]byte, 8<<10))) != nil {
				break
			}
			sent <- i
		}
		st.End(wire.End{})
	}
	cfg := registry.Config{Handle: flood, MaxBufferedBytes: 200 << 10}
	bubble(t, registry.Config{Handle: flood}, func(t *testing.T, reg *registry.Registry) {
		sent = make(chan int, 10_000)
		p := newPeer(t, reg)
		p.open()
		for i := range uint64(20) {
			p.poll(p.batch(nil, openFrame(i+1)))
		}
		time.Sleep(time.Minute)
		p.poll(p.batch(nil))
		before := reg.Stats().BufferedBytes
		time.Sleep(time.Minute)
		if got := reg.Stats().BufferedBytes; got > before {
			t.Errorf("%d bytes more without a link", got-before)
		}
		if limit := int64(2<<20 + 20*8<<10); before > limit {
			t.Errorf("%d bytes held without a link, limit %d", before, limit)
		}
	})
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		sent = make(chan int, 1000)
		for range 3 {
			p := newPeer(t, reg)
			p.open()
			p.poll(p.batch(nil, openFrame(1)))
			synctest.Wait()
		}
		if bytes := reg.Stats().BufferedBytes; bytes > 3*(72<<10)+3*(64<<10) {
			t.Errorf("%d bytes held for sessions without a link", bytes)
		}
		refused := 0
		for range 3 {
			q := newPeer(t, reg)
			q.open()
			a := q.poll(q.batch(holding(time.Second), openFrame(1)))
			for _, f := range a.Frames {
				if f.Type == wire.TypeEnd && f.End.Status == 8 {
					refused++
				}
			}
		}
		st := reg.Stats()
		if refused == 0 && st.SessionsClosed["overloaded"] == 0 {
			t.Errorf("neither refused nor shed: %+v", st)
		}
	})
}
