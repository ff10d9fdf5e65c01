package enginetest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

var (
	simJS         = flag.String("sim.js", "", "the compiled jsclient/test/sim/engine.js: simulate that engine too")
	simJSEvery    = flag.Int("sim.js.every", 1, "run every so many-th profile only for it")
	simJSMixtures = flag.Int("sim.js.mixtures", 100, "mixtures of weather for it")
	simJSMessages = flag.Int("sim.js.messages", 30, "messages of each of its simulated sessions, at least")
)

// simJSFaults is how many faults each of its simulated sessions must see.
const simJSFaults = 3

// TestSimJS holds the TypeScript engine to what TestSim holds Go's, in the same
// weather and against the same bridge: it runs in Node, in lock-step with the
// bubble.
func TestSimJS(t *testing.T) {
	t.Parallel()
	if *simJS == "" {
		t.Skip("-sim.js is not given")
	}
	node := startNode(t, *simJS)
	all := make(ledgers)
	play := func(name, network string, sim simulation) {
		t.Run(name, func(t *testing.T) {
			sim.start, sim.faults = node.client(t, sim.seed), min(sim.faults, simJSFaults)
			all.add(network, sim.run(t, *simJSMessages))
		})
	}
	networks, n := profiles(), int(*simSeed)
	for _, name := range slices.Sorted(maps.Keys(networks)) {
		sim := networks[name]
		if sim.choices == nil {
			sim.choices = allChoices
		}
		for _, choice := range sim.choices {
			if n++; n%*simJSEvery != 0 {
				continue
			}
			sim := sim.on(choice)
			sim.seed = seedFor("js/"+name+"/"+choice, 0)
			play(name+"/"+choice, name, sim)
		}
	}
	for run := range *simJSMixtures {
		play(fmt.Sprintf("mixture/%d", run), "mixtures", mixture(seedFor("js mixture", run)))
	}
	t.Log(all)
}

// node is the process in which the TypeScript engine runs.
type node struct {
	in  io.Writer
	out *bufio.Reader
}

func startNode(t *testing.T, script string) *node {
	t.Helper()
	cmd := exec.Command("node", script)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	return &node{in: in, out: bufio.NewReaderSize(out, 1<<20)}
}

// step tells the engine what happened and gives what it does, and when it wants
// to be woken; 0: never. No time passes in the bubble meanwhile.
func (n *node) step(now time.Duration, events []jsEvent) ([]jsDeed, time.Duration, error) {
	for i := range events {
		events[i].Size = len(events[i].Data)
	}
	message, err := json.Marshal(map[string]any{"now": float64(now) / 1e6, "events": events})
	if err != nil {
		return nil, 0, err
	}
	message = append(message, '\n')
	for _, e := range events {
		message = append(message, e.Data...)
	}
	if _, err := n.in.Write(message); err != nil {
		return nil, 0, err
	}
	reply, err := n.out.ReadBytes('\n')
	if err != nil {
		return nil, 0, err
	}
	var r struct {
		Due float64
		Out []jsDeed
	}
	err = json.Unmarshal(reply, &r)
	for i := 0; i < len(r.Out) && err == nil; i++ {
		r.Out[i].Data = make([]byte, r.Out[i].Size)
		_, err = io.ReadFull(n.out, r.Out[i].Data)
	}
	return r.Out, time.Duration(r.Due * 1e6), err
}

// jsEvent is what happens to the engine, jsDeed what it does; jsclient/test/sim/engine.ts
// knows the types. Data follows the line that says its size.
type jsEvent struct {
	Type string `json:"type"`
	ID   int    `json:"id"`
	Size int    `json:"size,omitempty"`
	Data []byte `json:"-"`
	Text string `json:"text,omitempty"`

	Seed           uint32   `json:"seed,omitempty"`
	Transports     []string `json:"transports,omitempty"`
	Multiplexed    bool     `json:"multiplexed,omitempty"`
	Method         string   `json:"method,omitempty"`
	Pairs          []jsPair `json:"metadata"`
	SingleRequest  bool     `json:"singleRequest,omitempty"`
	SingleResponse bool     `json:"singleResponse,omitempty"`
}

type jsDeed struct {
	Type     string
	ID       int
	Size     int
	Data     []byte `json:"-"`
	Text     string
	Reason   string
	Metadata []jsPair
	End      struct {
		Status   uint32
		Message  string
		Details  []byte
		Trailers []jsPair
		Origin   uint32
		Reason   string
	}
}

type jsPair struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

func fromPairs(pairs []jsPair) []wire.Metadatum {
	md := make([]wire.Metadatum, 0, len(pairs))
	for _, p := range pairs {
		md = append(md, wire.Metadatum{Key: p.Key, Value: string(p.Value)})
	}
	return md
}

// jsClient is the TypeScript engine as a caller.
type jsClient struct {
	t       *testing.T
	node    *node
	carrier dialer.Carrier
	began   time.Time
	kick    chan struct{} // capacity 1
	tasks   sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc
	over    chan struct{} // closed when the session is over

	mu      sync.Mutex
	events  []jsEvent
	err     error
	lastRPC int
	calls   map[int]*jsCall
	aborts  map[int]context.CancelFunc // by exchange or WebSocket
	sockets map[int]chan []byte
	dumped  chan string
}

// client gives what starts the engine in a bubble.
func (n *node) client(t *testing.T, seed uint64) func(dialer.Config) caller {
	return func(cfg dialer.Config) caller {
		c := &jsClient{
			t: t, node: n, carrier: cfg.Carrier, began: time.Now(), kick: make(chan struct{}, 1), over: make(chan struct{}),
			calls: make(map[int]*jsCall), aborts: make(map[int]context.CancelFunc), sockets: make(map[int]chan []byte),
			dumped: make(chan string, 1),
		}
		c.ctx, c.cancel = context.WithCancel(context.Background())
		kinds := make([]string, len(cfg.Transports))
		for i, k := range cfg.Transports {
			kinds[i] = k.String()
		}
		multiplexed := cfg.Multiplexed != nil && cfg.Multiplexed()
		c.post(jsEvent{Type: "start", Seed: uint32(seed), Transports: kinds, Multiplexed: multiplexed})
		c.tasks.Go(c.run)
		return c
	}
}

// post tells the engine something.
func (c *jsClient) post(e jsEvent) {
	c.mu.Lock()
	c.events = append(c.events, e)
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// run steps the engine whenever something happened or it wants to be woken.
func (c *jsClient) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-c.kick:
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
		c.mu.Lock()
		events := c.events
		c.events = nil
		c.mu.Unlock()
		deeds, due, err := c.node.step(time.Since(c.began), append([]jsEvent{}, events...))
		if err != nil {
			c.t.Errorf("the engine's process: %v", err)
			c.end(err)
			return
		}
		for i := range deeds {
			c.do(&deeds[i])
		}
		timer.Stop()
		if due > 0 {
			timer.Reset(max(due-time.Since(c.began), 1)) // after whoever can run now
		}
	}
}

// do carries out what the engine wants.
func (c *jsClient) do(d *jsDeed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch d.Type {
	case "exchange":
		c.exchange(d)
	case "dial":
		c.dial(d.ID, d.Text)
	case "write":
		if w := c.sockets[d.ID]; w != nil {
			w <- d.Data
		}
	case "abort", "hangup":
		if stop := c.aborts[d.ID]; stop != nil {
			stop()
		}
	case "over":
		c.err = errors.New(d.Reason + ": " + d.Text)
		close(c.over)
	case "dump":
		c.dumped <- d.Text
	default:
		c.calls[d.ID].take(d)
	}
}

func (c *jsClient) exchange(d *jsDeed) {
	id, sid, batch := d.ID, d.Text, d.Data
	ctx, stop := context.WithCancel(c.ctx)
	c.aborts[id] = stop
	c.tasks.Go(func() {
		body, err := c.carrier.Exchange(ctx, sid, batch)
		if ctx.Err() == nil {
			c.tell(jsEvent{Type: "answer", ID: id, Data: body}, err)
		}
		c.forget(id)
	})
}

// tell posts an event, or that it failed.
func (c *jsClient) tell(e jsEvent, err error) {
	if err != nil {
		e = jsEvent{Type: "failed", ID: e.ID, Text: err.Error()}
	}
	c.post(e)
}

func (c *jsClient) forget(id int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborts[id]()
	delete(c.aborts, id)
	delete(c.sockets, id)
}

// socketQueue is what a WebSocket takes before it waits: the engine is not told
// of what is buffered.
const socketQueue = 1 << 14

func (c *jsClient) dial(id int, sid string) {
	ctx, stop := context.WithCancel(c.ctx)
	writes := make(chan []byte, socketQueue)
	c.aborts[id], c.sockets[id] = stop, writes
	c.tasks.Go(func() {
		defer c.forget(id)
		conn, err := c.carrier.Dial(ctx, sid)
		if err != nil {
			c.post(jsEvent{Type: "lost", ID: id, Text: err.Error()})
			return
		}
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		c.post(jsEvent{Type: "opened", ID: id})
		var writer sync.WaitGroup
		writer.Go(func() {
			for {
				select {
				case b := <-writes:
					if conn.Write(ctx, transport.Batch{b}) != nil {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		})
		for {
			b, err := conn.Read(ctx)
			if err != nil {
				c.post(jsEvent{Type: "lost", ID: id, Text: err.Error()})
				break
			}
			c.post(jsEvent{Type: "received", ID: id, Data: b})
		}
		stop()
		conn.Close()
		writer.Wait()
	})
}

func (c *jsClient) Open(_ context.Context, open wire.Open) (call, error) {
	c.mu.Lock()
	c.lastRPC++
	k := &jsCall{c: c, id: c.lastRPC, changed: make(chan struct{}), sent: make(chan struct{}, 1)}
	c.calls[k.id] = k
	c.mu.Unlock()
	e := jsEvent{Type: "open", ID: k.id, Method: open.Method, SingleRequest: open.SingleRequest, SingleResponse: open.SingleResponse}
	for _, md := range open.Metadata {
		e.Pairs = append(e.Pairs, jsPair{md.Key, []byte(md.Value)})
	}
	c.post(e)
	return k, nil
}

func (c *jsClient) Kill()           { c.post(jsEvent{Type: "kill"}) }
func (c *jsClient) forgetDemotion() { c.post(jsEvent{Type: "forget"}) }

func (c *jsClient) dump() string {
	c.post(jsEvent{Type: "dump"})
	return <-c.dumped
}

func (c *jsClient) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *jsClient) Close(context.Context) error {
	c.post(jsEvent{Type: "close"})
	<-c.over
	c.cancel()
	c.tasks.Wait()
	return nil
}

// end stops everything because the process is of no more use.
func (c *jsClient) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	close(c.over)
	c.cancel()
	for _, k := range c.calls {
		k.finish(&wire.End{Status: 2, Message: err.Error()})
	}
}

// jsCall is an RPC on it.
type jsCall struct {
	c    *jsClient
	id   int
	sent chan struct{} // capacity 1: the message was taken

	// Guarded by c.mu.
	messages [][]byte
	headers  []wire.Metadatum
	known    bool // headers
	status   *wire.End
	changed  chan struct{} // closed at every change
}

// take takes what the engine says of the RPC. Called under the lock.
func (k *jsCall) take(d *jsDeed) {
	switch d.Type {
	case "sent":
		select {
		case k.sent <- struct{}{}:
		default:
		}
	case "message":
		k.messages = append(k.messages, d.Data)
	case "headers":
		k.headers, k.known = fromPairs(d.Metadata), true
	case "end":
		e := &d.End
		k.finish(&wire.End{
			Status: e.Status, Message: e.Message, Details: e.Details, Trailers: fromPairs(e.Trailers),
			Origin: wire.Origin(e.Origin), Reason: e.Reason,
		})
		return
	default:
		k.c.t.Errorf("the engine says %q", d.Type)
	}
	k.signal()
}

func (k *jsCall) finish(end *wire.End) {
	k.status, k.known = end, true
	delete(k.c.calls, k.id)
	k.signal()
}

func (k *jsCall) signal() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// wait waits until ready, which is called under the lock.
func (k *jsCall) wait(ctx context.Context, ready func() bool) error {
	for {
		k.c.mu.Lock()
		ok, changed := ready(), k.changed
		k.c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (k *jsCall) Send(ctx context.Context, m engine.Message) error {
	if k.Status() != nil {
		return io.EOF
	}
	k.c.post(jsEvent{Type: "send", ID: k.id, Data: m.Bytes()})
	over := func() bool { return k.status != nil || len(k.sent) > 0 }
	if err := k.wait(ctx, over); err != nil {
		return err
	}
	select {
	case <-k.sent:
	default:
	}
	return nil
}

func (k *jsCall) CloseSend() error {
	if k.Status() == nil {
		k.c.post(jsEvent{Type: "closeSend", ID: k.id})
	}
	return nil
}

func (k *jsCall) Cancel() { k.c.post(jsEvent{Type: "cancel", ID: k.id}) }

func (k *jsCall) Recv(ctx context.Context) (m engine.Message, err error) {
	err = k.wait(ctx, func() bool { return len(k.messages) > 0 || k.status != nil })
	if err != nil {
		return m, err
	}
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if len(k.messages) == 0 {
		return m, io.EOF
	}
	m.Pieces, k.messages = k.messages[:1], k.messages[1:]
	return m, nil
}

func (k *jsCall) Status() *wire.End {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.status
}

func (k *jsCall) Headers(ctx context.Context) ([]wire.Metadatum, error) {
	err := k.wait(ctx, func() bool { return k.known })
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.headers, err
}
