package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// logged is a Carrier that notes when links were begun.
type logged struct {
	dialer.Carrier
	mu    sync.Mutex
	begun []time.Time
}

func (l *logged) note() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = append(l.begun, time.Now())
}

func (l *logged) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	l.note()
	return l.Carrier.Exchange(ctx, sid, batch)
}

func (l *logged) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	l.note()
	return l.Carrier.Dial(ctx, sid)
}

// after is how long after t0 the first link was begun that t0 does not explain:
// what is sent at t0 itself goes on its own exchange.
func (l *logged) after(t0 time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.begun, func(at time.Time) bool { return at.After(t0.Add(time.Millisecond)) })
	if i < 0 {
		return -1
	}
	return l.begun[i].Sub(t0)
}

// kind is one of the four kinds of RPC, with what may travel in the middle of it.
type kind struct {
	name     string
	up, down bool
}

var fourKinds = []kind{
	{"unary", false, true}, {"client stream", true, true}, {"server stream", false, true}, {"bidi", true, true},
}

// talk is an RPC whose two ends a test has in hand.
type talk struct {
	t     *testing.T
	st    *dialer.Stream
	words chan string    // what the bridge's end is to say
	heard chan time.Time // when it heard something
	came  chan time.Time // when the client did
}

func (k *talk) handle(st *registry.Stream) {
	ctx := st.Context()
	_ = st.SendHeaders(nil)
	go func() {
		for {
			if _, err := st.Recv(ctx); err != nil {
				return
			}
			k.heard <- time.Now()
		}
	}()
	for {
		select {
		case w := <-k.words:
			if st.Send(ctx, message([]byte(w))) == nil {
				continue
			}
		case <-ctx.Done():
		}
		st.End(wire.End{Status: 1})
		return
	}
}

// open opens the RPC and waits until both ends know of it.
func (k *talk) open(s *dialer.Session, of kind) {
	st, err := s.Open(k.t.Context(), wire.Open{Method: "/test/" + of.name})
	if err != nil {
		k.t.Fatal(err)
	}
	k.st = st
	if err := st.Send(k.t.Context(), message([]byte("first"))); err != nil {
		k.t.Fatal(err)
	}
	if !of.up {
		_ = st.CloseSend()
	}
	<-k.heard
	if _, err := st.Headers(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	go func() {
		for {
			if _, err := st.Recv(k.t.Context()); err != nil {
				if !errors.Is(err, io.EOF) {
					k.t.Error(err)
				}
				return
			}
			k.came <- time.Now()
		}
	}()
	if of.name == "server stream" || of.name == "bidi" {
		k.words <- "hello"
		<-k.came
	}
}

// dead is one case of TestRule_deadDirection.
type dead struct {
	choice string
	up     bool // the direction that dies
	kind   kind
	rtt    time.Duration
	quiet  time.Duration // before it does
}

func (c dead) String() string {
	way := "down"
	if c.up {
		way = "up"
	}
	return fmt.Sprintf("%s/%s/%s/%v/quiet %v", c.choice, way, c.kind.name, c.rtt, c.quiet)
}

// run gives the times from the first frame into the dead direction until
// another link was begun, and until the frame came.
func (c dead) run(t *testing.T) (tried, came time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		k := &talk{t: t, words: make(chan string), heard: make(chan time.Time, 10), came: make(chan time.Time, 10)}
		reg := enginetest.NewRegistry(registry.Config{Handle: k.handle})
		net := simnet.New(1, simnet.Profile{RTT: c.rtt})
		carrier := enginetest.NewCarrier(net, reg)
		log := &logged{Carrier: carrier}
		s := dialer.Start(dialer.Config{Carrier: log, Transports: transports()[c.choice]})
		time.Sleep(10 * time.Second) // a WebSocket has proved itself
		k.open(s, c.kind)
		time.Sleep(c.quiet)
		synctest.Wait()
		net.MuteSockets(c.up, !c.up)
		if c.choice == "longpoll" {
			net.MuteExchanges(c.up, !c.up)
		}
		t0, arrived := time.Now(), k.came
		if c.up {
			arrived = k.heard
			if err := k.st.Send(t.Context(), message([]byte("up"))); err != nil {
				t.Fatal(err)
			}
		} else {
			k.words <- "down"
		}
		came = (<-arrived).Sub(t0)
		tried = log.after(t0)
		time.Sleep(time.Minute)
		if err := s.Err(); err != nil {
			t.Errorf("the session is over: %v", err)
		}
		k.st.Cancel()
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		carrier.Close()
		reg.Close()
	})
	return tried, came
}

func deadDirections() []dead {
	var all []dead
	for _, choice := range []string{"longpoll", "ws", "auto"} {
		for _, rtt := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, 800 * time.Millisecond} {
			for _, k := range fourKinds {
				for _, quiet := range []time.Duration{0, 30 * time.Second} {
					if k.up {
						all = append(all, dead{choice, true, k, rtt, quiet})
					}
					if k.down {
						all = append(all, dead{choice, false, k, rtt, quiet})
					}
				}
			}
		}
	}
	return all
}

// limit is when another link must have been begun. A poll that was parked in a
// quiet time, and on which nothing but the bridge counts, has its hold.
func (c dead) limit() time.Duration {
	switch {
	case c.choice != "longpoll":
		return max(2*time.Second, 3*c.rtt)
	case !c.up && c.quiet > 0:
		return 35 * time.Second
	}
	return max(3*time.Second, 4*c.rtt)
}

// exact is when another link is begun after a client's frame that follows at
// once on what came before.
func (c dead) exact() time.Duration {
	if c.choice == "longpoll" {
		return c.limit()
	}
	return c.limit() - c.rtt/2
}

// L4: counted from the first frame that needs it, a dead direction is found
// within max(3 s, 4 × RTT): exchanges are sent again, beside a WebSocket another
// link opens after max(2 s, 3 × RTT).
func TestRule_deadDirection(t *testing.T) {
	for _, c := range deadDirections() {
		t.Run(c.String(), func(t *testing.T) {
			tried, came := c.run(t)
			if tried <= 0 || tried > c.limit() {
				t.Errorf("another link was begun after %v, limit %v", tried, c.limit())
			}
			if c.up && c.quiet == 0 {
				equal(t, "another link was begun after", tried, c.exact())
			}
			if came > tried+2*c.rtt {
				t.Errorf("the frame came after %v, the link was begun after %v", came, tried)
			}
		})
	}
}

// Sections 5 and 6: a Hello without an answer gets another beside it after 3 s.
func TestRule_helloBeside(t *testing.T) {
	for choice, mute := range map[string]func(*simnet.Network){
		"longpoll": func(n *simnet.Network) { n.Inject(simnet.Swallow) },
		"ws":       func(n *simnet.Network) { n.Inject(simnet.MuteUpgrade) },
	} {
		synctest.Test(t, func(t *testing.T) {
			reg := enginetest.NewRegistry(registry.Config{Handle: echo})
			net := simnet.New(1, simnet.Profile{RTT: 200 * time.Millisecond})
			mute(net)
			log := &logged{Carrier: enginetest.NewCarrier(net, reg)}
			began := time.Now()
			s := dialer.Start(dialer.Config{Carrier: log, Transports: transports()[choice]})
			pingpong(t, s, 1, 1)
			equal(t, choice+": another was begun after", log.after(began), 3*time.Second)
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("%s: an RPC took %v", choice, took)
			}
			_ = s.Close(t.Context())
			log.Carrier.(*enginetest.Carrier).Close()
			reg.Close()
		})
	}
}

// L4: a WebSocket that opened and carries nothing gets another beside it.
func TestRule_muteSocketBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := enginetest.NewRegistry(registry.Config{Handle: echo})
		net := simnet.New(1, simnet.Profile{RTT: 200 * time.Millisecond})
		log := &logged{Carrier: enginetest.NewCarrier(net, reg)}
		began := time.Now()
		time.AfterFunc(201*time.Millisecond, func() { net.MuteSockets(true, true) })
		s := dialer.Start(dialer.Config{Carrier: log, Transports: transports()["ws"]})
		pingpong(t, s, 1, 1)
		equal(t, "another was begun after", log.after(began), 3200*time.Millisecond)
		_ = s.Close(t.Context())
		log.Carrier.(*enginetest.Carrier).Close()
		reg.Close()
	})
}

// Section 5: looking for dead directions costs few requests: a quiet stream and a
// way that carries nothing at all.
func TestRule_fewRequests(t *testing.T) {
	for name, c := range map[string]struct {
		mute bool
		most int
	}{"quiet": {false, 7}, "dead": {true, 16}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &talk{t: t, words: make(chan string), heard: make(chan time.Time, 10), came: make(chan time.Time, 10)}
				reg := enginetest.NewRegistry(registry.Config{Handle: k.handle})
				net := simnet.New(1, simnet.Profile{RTT: 20 * time.Millisecond})
				carrier := enginetest.NewCarrier(net, reg)
				s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()["longpoll"]})
				k.open(s, fourKinds[3])
				if c.mute {
					net.Change(simnet.Profile{Rates: map[simnet.Fault]float64{simnet.Swallow: 1}})
				}
				synctest.Wait() // the poll that follows what opened the RPC is no part of it
				before := net.Exchanges()
				_ = k.st.Send(t.Context(), message([]byte("x")))
				time.Sleep(time.Minute)
				if n := net.Exchanges() - before; n > c.most {
					t.Errorf("%d exchanges in a minute, want %d at most", n, c.most)
				}
				net.Calm()
				k.st.Cancel()
				_ = s.Close(t.Context())
				carrier.Close()
				reg.Close()
			})
		})
	}
}
