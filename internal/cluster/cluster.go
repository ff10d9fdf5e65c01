package cluster

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/pollbridge/pollbridge/internal/cluster/clusterpb"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// Cluster is a bridge's membership in a cluster. It is the transport.Acceptor in
// place of the bridge's own: links of its own sessions and of new ones go to
// Config.Local, all others to the session's owner.
type Cluster struct {
	cfg     Config
	self    uint32
	epoch   time.Time
	cancels []func() // of subscriptions
	running sync.WaitGroup
	ctx     context.Context // ends when the cluster is left
	stop    context.CancelFunc
	seed    maphash.Seed

	mu          sync.Mutex
	closed      bool
	draining    bool
	connected   bool
	connectedAt time.Duration
	peers       map[uint32]*peer
	out         map[uint64]*outLink
	in          map[inKey]*inLink
	links       uint64 // that landed here and were forwarded
	failures    map[string]uint64
}

// Why links between bridges fail, as counted.
const (
	failGone         = "gone"         // the owner is no more
	failMissing      = "missing"      // the owner may be connecting to another NATS server
	failSilent       = "silent"       // the owner answers nothing
	failDisconnected = "disconnected" // there is no connection to NATS
	failBroken       = "broken"       // a message was lost, or is none
)

// Failures are the reasons for which forwarding fails.
func Failures() []string {
	return []string{failGone, failMissing, failSilent, failDisconnected, failBroken}
}

// New joins the cluster. The error is the fabric's.
func New(cfg Config) (*Cluster, error) {
	c := &Cluster{
		cfg: cfg, self: cfg.Local.Instance(), epoch: time.Now(), seed: maphash.MakeSeed(),
		connected: cfg.Fabric.Connected(), connectedAt: -settleTime,
		peers: make(map[uint32]*peer), out: make(map[uint64]*outLink), in: make(map[inKey]*inLink),
		failures: make(map[string]uint64),
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	for subject, handle := range map[string]func(Delivery){
		c.subject(c.self): c.receive, c.nobody("*"): c.nobodyThere, c.everybody(): c.receive,
	} {
		cancel, err := cfg.Fabric.Subscribe(subject, handle)
		if err != nil {
			c.cancel()
			c.stop()
			return nil, fmt.Errorf("cluster: subscribing to %s: %w", subject, err)
		}
		c.cancels = append(c.cancels, cancel)
	}
	c.cancels = append(c.cancels, cfg.Fabric.Watch(c.changed))
	c.changed(cfg.Fabric.Connected())
	c.running.Go(func() { c.keepInTouch(c.ctx) })
	return c, nil
}

// start runs f in a goroutine, unless the cluster is closed.
func (c *Cluster) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.running.Go(f)
	}
	return !c.closed
}

func (c *Cluster) cancel() {
	for _, cancel := range c.cancels {
		cancel()
	}
}

// The subjects of a cluster: all that is under the first two tokens.
func (c *Cluster) subject(instance uint32) string {
	return fmt.Sprintf("pollbridge.%s.to.%08x", c.cfg.Name, instance)
}

func (c *Cluster) nobody(peer string) string {
	return fmt.Sprintf("pollbridge.%s.nobody.%08x.%s", c.cfg.Name, c.self, peer)
}

func (c *Cluster) everybody() string { return fmt.Sprintf("pollbridge.%s.all", c.cfg.Name) }

// now is the time since the cluster was joined.
func (c *Cluster) now() time.Duration { return time.Since(c.epoch) }

// Accept implements transport.Acceptor.
func (c *Cluster) Accept(ctx context.Context, hello transport.Hello) transport.Link {
	head, ok := c.headOf(&hello)
	owner := c.self
	if ok {
		owner = c.ownerOf(head)
	}
	if owner == c.self {
		return c.cfg.Local.Accept(ctx, hello)
	}
	l := newOutLink(c, hello, head)
	if !c.addOut(l, owner) {
		return unavailable{}
	}
	return l
}

// headOf returns what a link's first batch says of where it belongs. It is false of
// what no client can have said: that is for this bridge to refuse.
func (c *Cluster) headOf(hello *transport.Hello) (wire.Head, bool) {
	if hello.TooLarge > 0 || len(hello.Batch) > c.cfg.MaxBatch {
		return wire.Head{}, false
	}
	head, err := wire.ParseHead(hello.Batch)
	if err != nil || head.X == 0 {
		return wire.Head{}, false
	}
	id, err := wire.ParseSession(hello.Session)
	return head, err == nil && string(id[:]) == string(head.Session)
}

// ownerOf returns the bridge that a link is for.
func (c *Cluster) ownerOf(head wire.Head) uint32 {
	if owner := head.Instance(); owner != 0 {
		return owner
	}
	if !c.isDraining() || c.cfg.Local.Has(head.Session) {
		return c.self
	}
	return c.elsewhere(head.Session)
}

// addOut enters a link of a session of that bridge, unless that cannot be reached.
func (c *Cluster) addOut(l *outLink, owner uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || !c.connected {
		c.failures[failDisconnected]++
		return false
	}
	p := c.peerOf(owner)
	p.used = c.now()
	if p.silent {
		c.failures[failSilent]++
		return false
	}
	c.links++
	l.peer, l.id = p, c.links
	p.links++
	c.out[l.id] = l
	return true
}

func (c *Cluster) removeOut(l *outLink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out[l.id] == l {
		delete(c.out, l.id)
		l.peer.links--
	}
}

func (c *Cluster) removeIn(l *inLink) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := (inKey{l.peer.instance, l.id}); c.in[key] == l {
		delete(c.in, key)
		l.peer.links--
	}
}

// send says m to another bridge. An error wraps transport.ErrUnavailable.
func (c *Cluster) send(p *peer, m *pb.Message) error {
	return c.publish(p.subject, p.nobody, m)
}

func (c *Cluster) publish(subject, reply string, m *pb.Message) error {
	m.From = c.self
	data, err := proto.Marshal(m)
	if err == nil {
		err = c.cfg.Fabric.Publish(subject, reply, data)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", transport.ErrUnavailable, err)
	}
	return nil
}

// failed counts a failure.
func (c *Cluster) failed(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures[why]++
}

// receive takes a message in, of this bridge's subject or of everybody's.
func (c *Cluster) receive(d Delivery) {
	m, err := parse(d.Data)
	if err != nil {
		c.failed(failBroken)
		c.cfg.Logger.Debug("not a message of a bridge", "subject", d.Subject, "bytes", len(d.Data), "err", err)
		return
	}
	if m.From == c.self {
		return
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	p, back := c.heard(m)
	if back {
		c.mu.Unlock()
		c.end(failMissing, transport.ErrUnavailable, func(of *peer) bool { return of == p })
		c.mu.Lock()
	}
	out, in := c.linkOf(p, m)
	c.mu.Unlock()
	switch {
	case out != nil:
		out.receive(m)
	case in != nil:
		in.receive(m)
	case m.Link != 0 && m.Done == nil:
		_ = c.send(p, &pb.Message{Link: m.Link, ToOwner: !m.ToOwner, Done: &pb.Done{Reason: pb.Done_REASON_BROKEN}})
	case m.Ping != 0:
		_ = c.send(p, &pb.Message{Pong: m.Ping})
	case m.Pong != 0:
		c.measure(m.Pong)
	case m.Missing != 0:
		c.findOut(m.Missing)
	case m.Gone != 0:
		c.foundOut(m.Gone)
	case m.Announcement.GetLeaving():
		c.end(failGone, errGone, func(of *peer) bool { return of == p })
	}
}

// linkOf returns the link that m is about, nil if it is about none that is known.
// c.mu is held.
func (c *Cluster) linkOf(p *peer, m *pb.Message) (*outLink, *inLink) {
	if m.Link == 0 || c.closed {
		return nil, nil
	}
	if !m.ToOwner {
		if l := c.out[m.Link]; l != nil && l.peer == p {
			return l, nil
		}
		return nil, nil
	}
	key := inKey{m.From, m.Link}
	l := c.in[key]
	if l == nil && m.Number == 1 && m.Done == nil {
		l = newInLink(c, p, m.Link)
		c.in[key] = l
		p.links++
	}
	return nil, l
}

// Peer is another bridge of the cluster.
type Peer struct {
	Node     string
	Instance string    // 8 hexadecimal digits
	Since    time.Time // when it announced itself
	Sessions int
	Silent   bool // it cannot be reached
	Links    int  // between it and this one
}

// Peers returns the other bridges, by node.
func (c *Cluster) Peers() []Peer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Peer
	for _, p := range c.peers {
		if p.announced {
			all = append(all, Peer{Node: p.node, Instance: p.name(), Since: p.since, Sessions: p.sessions, Silent: p.silent, Links: p.links})
		}
	}
	slices.SortFunc(all, func(a, b Peer) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Instance, b.Instance)) })
	return all
}

// Node is what operators call this bridge.
func (c *Cluster) Node() string { return c.cfg.Node }

// Stats is a reading of a Cluster's gauges and counters.
type Stats struct {
	Connected bool
	Peers     int               // other bridges that have announced themselves
	Out, In   int               // links under way, from here and to here
	Forwarded uint64            // links from here
	Failures  map[string]uint64 // of links from here and to here, by Failures
}

// Stats reads the gauges and counters.
func (c *Cluster) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Connected: c.connected, Out: len(c.out), In: len(c.in), Forwarded: c.links, Failures: maps.Clone(c.failures)}
	for _, p := range c.peers {
		if p.announced {
			s.Peers++
		}
	}
	return s
}

const (
	// flushLimit is how long Close waits until the ends of sessions were said.
	flushLimit = 2 * time.Second
	// flushInterval is how often it looks.
	flushInterval = 20 * time.Millisecond
)

// Close leaves the cluster, after sessions have ended: it says their ends to the
// bridges where links of theirs landed. Links of other bridges' sessions end.
func (c *Cluster) Close() {
	for began := c.now(); c.Stats().In > 0 && c.now()-began < flushLimit; {
		time.Sleep(flushInterval)
	}
	c.stop()
	c.announce(c.everybody(), true)
	c.mu.Lock()
	c.closed = true
	outs, ins := slices.Collect(maps.Values(c.out)), slices.Collect(maps.Values(c.in))
	c.mu.Unlock()
	c.cancel()
	for _, l := range outs {
		l.fail(transport.ErrUnavailable)
	}
	for _, l := range ins {
		l.forget()
	}
	c.running.Wait()
}

// unavailable is a link whose session's owner cannot be reached now.
type unavailable struct{}

func (unavailable) Deliver(context.Context, []byte) error { return transport.ErrUnavailable }

func (unavailable) Next(context.Context, int) (transport.Batch, error) {
	return nil, transport.ErrUnavailable
}

func (unavailable) Close() {}
