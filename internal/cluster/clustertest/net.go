// Package clustertest is a faulty NATS for tests: it carries what bridges of a
// cluster say to one another, late, twice or not at all. It is meant for
// testing/synctest bubbles.
package clustertest

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/cluster"
)

// Profile says what a Net is like.
type Profile struct {
	Delay      time.Duration // of each message, at most; those of one bridge to another keep their order
	Loss       float64       // share of messages that are lost
	Copies     float64       // share of messages that come twice
	MaxPayload int           // default: 1 MiB
}

// Net is what bridges are connected to. Its methods may be called by several
// goroutines at once.
type Net struct {
	mu      sync.Mutex
	rng     *rand.Rand
	profile Profile
	nodes   []*Node
	sent    int
	lost    int
	copied  int
}

// New returns a Net.
func New(seed uint64, profile Profile) *Net {
	return &Net{rng: rand.New(rand.NewPCG(seed, 5)), profile: profile}
}

// Change replaces the profile.
func (n *Net) Change(profile Profile) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.profile = profile
}

// Counts returns how many messages there were, and how many of them were lost and
// came twice.
func (n *Net) Counts() (sent, lost, copied int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent, n.lost, n.copied
}

// Partition has nothing pass between the two, or all again. Neither is told.
func (n *Net) Partition(a, b *Node, apart bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a.apart[b], b.apart[a] = apart, apart
}

// Node is one bridge's connection: a cluster.Fabric.
type Node struct {
	net *Net

	// Guarded by net.mu.
	connected bool
	server    string
	subs      []*subscription
	watchers  map[*func(bool)]struct{}
	apart     map[*Node]bool
	due       map[*Node]time.Time // of the last message from a node
	inbox     []arrival           // by time
	news      chan struct{}
	stop      chan struct{}
	running   sync.WaitGroup
}

type subscription struct {
	subject string
	handle  func(cluster.Delivery)
}

type arrival struct {
	at time.Time
	cluster.Delivery
}

var errDisconnected = errors.New("clustertest: not connected")

// Node returns a new connection, to be closed.
func (n *Net) Node() *Node {
	node := &Node{
		net: n, connected: true, server: "first", watchers: make(map[*func(bool)]struct{}), apart: make(map[*Node]bool),
		due: make(map[*Node]time.Time), news: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes = append(n.nodes, node)
	node.running.Go(node.run)
	return node
}

// Close ends what the Net does for the node.
func (n *Node) Close() {
	n.Connect(false)
	close(n.stop)
	n.running.Wait()
}

// Connect has the connection be there or not, as when NATS comes and goes. Without
// it nobody subscribes to the node's subjects.
func (n *Node) Connect(connected bool) {
	n.net.mu.Lock()
	changed := n.connected != connected
	n.connected = connected
	n.inbox = nil
	var watchers []func(bool)
	for w := range n.watchers {
		watchers = append(watchers, *w)
	}
	n.net.mu.Unlock()
	for _, w := range watchers {
		if changed {
			w(connected)
		}
	}
}

// Move has the node be connected to another server from now on; all are to the first
// at the begin. The servers of a Net have no faults of their own.
func (n *Node) Move(server string) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.server = server
}

// Server implements cluster.Fabric.
func (n *Node) Server() string {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	return n.server
}

// Kill is as Connect(false) for a process that is not there to notice.
func (n *Node) Kill() {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.connected, n.inbox = false, nil
}

// Connected implements cluster.Fabric.
func (n *Node) Connected() bool {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	return n.connected
}

// MaxPayload implements cluster.Fabric.
func (n *Node) MaxPayload() int {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	return n.net.maxPayload()
}

func (n *Net) maxPayload() int { return cmp.Or(n.profile.MaxPayload, 1<<20) }

// Watch implements cluster.Fabric.
func (n *Node) Watch(changed func(bool)) func() {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.watchers[&changed] = struct{}{}
	return func() {
		n.net.mu.Lock()
		defer n.net.mu.Unlock()
		delete(n.watchers, &changed)
	}
}

// Subscribe implements cluster.Fabric.
func (n *Node) Subscribe(subject string, handle func(cluster.Delivery)) (func(), error) {
	s := &subscription{subject, handle}
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	n.subs = append(n.subs, s)
	return func() {
		n.net.mu.Lock()
		defer n.net.mu.Unlock()
		n.subs = slices.DeleteFunc(n.subs, func(o *subscription) bool { return o == s })
	}, nil
}

// Publish implements cluster.Fabric.
func (n *Node) Publish(subject, reply string, data []byte) error {
	net := n.net
	net.mu.Lock()
	defer net.mu.Unlock()
	if !n.connected {
		return errDisconnected
	}
	if len(data) > net.maxPayload() {
		return errors.New("clustertest: over the maximum payload")
	}
	heard := false
	for _, to := range net.nodes {
		if to.connected && to.subscriber(subject) != nil {
			heard = true
			net.carry(n, to, cluster.Delivery{Subject: subject, Data: slices.Clone(data)})
		}
	}
	if !heard && reply != "" {
		n.arrive(n, time.Now().Add(net.profile.Delay), cluster.Delivery{Subject: reply, NoResponders: true})
	}
	return nil
}

// carry has a message arrive, or not. net.mu is held.
func (n *Net) carry(from, to *Node, d cluster.Delivery) {
	n.sent++
	if from.apart[to] || n.rng.Float64() < n.profile.Loss {
		n.lost++
		return
	}
	times := 1
	if n.rng.Float64() < n.profile.Copies {
		n.copied++
		times = 2
	}
	for range times {
		at := time.Now()
		if n.profile.Delay > 0 {
			at = at.Add(time.Duration(n.rng.Int64N(int64(n.profile.Delay))))
		}
		to.arrive(from, at, d)
	}
}

// arrive enters a delivery in order. net.mu is held.
func (n *Node) arrive(from *Node, at time.Time, d cluster.Delivery) {
	if last := n.due[from]; at.Before(last) {
		at = last
	}
	n.due[from] = at
	i, _ := slices.BinarySearchFunc(n.inbox, at, func(a arrival, at time.Time) int {
		if a.at.After(at) {
			return 1
		}
		return -1
	})
	n.inbox = slices.Insert(n.inbox, i, arrival{at, d})
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// subscriber returns who has subscribed to subject. net.mu is held.
func (n *Node) subscriber(subject string) *subscription {
	for _, s := range n.subs {
		if prefix, any := strings.CutSuffix(s.subject, "*"); s.subject == subject || any && strings.HasPrefix(subject, prefix) {
			return s
		}
	}
	return nil
}

// run delivers what arrives, in its time.
func (n *Node) run() {
	for {
		n.net.mu.Lock()
		wait := time.Hour
		var s *subscription
		var next arrival
		if len(n.inbox) > 0 {
			if wait = time.Until(n.inbox[0].at); wait <= 0 {
				next, n.inbox = n.inbox[0], n.inbox[1:]
				s = n.subscriber(next.Subject)
			}
		}
		n.net.mu.Unlock()
		if s != nil {
			s.handle(next.Delivery)
		}
		if wait <= 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-n.news:
		case <-timer.C:
		case <-n.stop:
			timer.Stop()
			return
		}
		timer.Stop()
	}
}
