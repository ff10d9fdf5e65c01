package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "github.com/pollbridge/pollbridge/internal/cluster/clusterpb"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	// uplinkWindow is how many batches of a link may be on their way to its owner.
	uplinkWindow = 4
	// shortBatch is the most bytes of a batch after which the owner may send two.
	shortBatch = 4 << 10
	// idleAfter is how long Next waits in its caller's goroutine before the link
	// goes idle.
	idleAfter = time.Second
	// answerLimit is how long an owner has to answer a link whose hold was ended.
	answerLimit = 2 * time.Second
)

// errGone is why a link ends whose session's owner is no more.
var errGone = errors.New("cluster: the session's owner is gone")

// outLink is a link that landed here, of a session that lives at another bridge.
type outLink struct {
	c     *Cluster
	peer  *peer
	id    uint64
	head  wire.Head
	kind  transport.Kind
	hello *transport.Hello // for Authenticate; nil: it is not asked
	wake  func()           // nil: Next never returns ErrIdle
	lane  lane

	mu        sync.Mutex
	open      *pb.Message // what opens it at the owner; nil: it was sent
	credit    uint64      // how many batches the owner may send in all
	most      int         // bytes of one
	inlet     inlet
	batches   [][]byte // that Next is to return
	returned  uint64   // how many it has
	short     bool     // the last of them was
	delivered uint64
	taken     uint64 // of those delivered
	err       error  // why nothing more comes
	over      bool   // the owner knows that the link is over, or nobody is left to be told
	idle      bool   // Next has returned ErrIdle
	changed   chan struct{}
	room      chan struct{}
	asking    context.CancelFunc // Authenticate runs; nil: it does not
}

func newOutLink(c *Cluster, hello transport.Hello, head wire.Head) *outLink {
	l := &outLink{
		c: c, head: wire.Head{Session: slices.Clone(head.Session), X: head.X}, kind: hello.Kind, wake: hello.Wake,
		open: &pb.Message{Batch: hello.Batch, Open: &pb.Open{
			Kind: uint32(hello.Kind), Session: hello.Session, RemoteAddr: hello.RemoteAddr, Group: hello.Group, Authorization: digestOf(hello.Header),
		}},
		changed: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	if c.cfg.Authenticate != nil {
		hello.Batch, hello.Wake = nil, nil
		l.hello = &hello
	}
	return l
}

// Deliver implements transport.Link.
func (l *outLink) Deliver(ctx context.Context, batch []byte) error {
	if !l.kind.Lasting() {
		return transport.ErrLinkDone
	}
	for {
		l.mu.Lock()
		if l.err != nil {
			defer l.mu.Unlock()
			return l.ending()
		}
		if l.delivered-l.taken < uplinkWindow {
			l.delivered++
			m := &pb.Message{Batch: batch}
			l.giveCredit(m)
			l.mu.Unlock()
			if err := l.send(m); err != nil {
				l.fail(err)
				return transport.ErrUnavailable
			}
			return nil
		}
		l.mu.Unlock()
		select {
		case <-l.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// giveCredit adds to m what the owner may send by now: one batch more than Next has
// returned, or two if the last was short. So where messages go to and fro, credit
// goes with those that go to the owner. l.mu is held.
func (l *outLink) giveCredit(m *pb.Message) {
	credit := l.returned + 1
	if l.short && l.kind.Lasting() {
		credit++
	}
	if l.most > 0 && credit > l.credit {
		l.credit = credit
		m.Credit, m.Longest = credit, uint32(l.most)
	}
}

// send says m to the owner, after what opens the link there.
func (l *outLink) send(m *pb.Message) error {
	l.mu.Lock()
	open := l.open
	l.open = nil
	l.mu.Unlock()
	if open != nil && m.Batch == nil { // one message is enough
		m.Open, m.Batch, open = open.Open, open.Batch, nil
	}
	for _, m := range []*pb.Message{open, m} {
		if m == nil {
			continue
		}
		m.Link, m.ToOwner = l.id, true
		if err := l.lane.send(l.c, l.peer, m); err != nil {
			return err
		}
	}
	return nil
}

// Next implements transport.Link.
func (l *outLink) Next(ctx context.Context, most int) (transport.Batch, error) {
	w := waiting{ctx: ctx}
	defer w.stop()
	for {
		l.mu.Lock()
		if len(l.batches) > 0 {
			batch := l.batches[0]
			l.batches = l.batches[1:]
			l.returned++
			l.short = len(batch) <= shortBatch
			l.mu.Unlock()
			return transport.Batch{batch}, nil
		}
		if l.err != nil {
			l.mu.Unlock()
			return l.end(ctx, most)
		}
		l.most = most
		m := new(pb.Message)
		if l.credit == l.returned { // nothing could come
			l.giveCredit(m)
		}
		l.mu.Unlock()
		if m.Credit > 0 {
			if err := l.send(m); err != nil {
				l.fail(err)
				continue
			}
		}
		if err := l.wait(&w); err != nil {
			return nil, err
		}
	}
}

// waiting is one Next that waits.
type waiting struct {
	ctx       context.Context
	answerNow bool // the owner was told to
	timer     *time.Timer
}

func (w *waiting) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// wait waits for something to say. It returns the error that Next returns if there
// is nothing.
func (l *outLink) wait(w *waiting) error {
	if w.timer == nil && l.wake != nil {
		w.timer = time.NewTimer(idleAfter)
	}
	done := w.ctx.Done()
	if w.answerNow {
		done = nil
	}
	var fires <-chan time.Time
	if w.timer != nil {
		fires = w.timer.C
	}
	select {
	case <-l.changed:
		return nil
	default:
	}
	select {
	case <-l.changed:
	case <-fires:
		if w.answerNow {
			return transport.ErrUnavailable
		}
		return l.goIdle()
	case <-done:
		if l.kind.Lasting() || !errors.Is(context.Cause(w.ctx), transport.ErrAnswerNow) {
			return context.Cause(w.ctx)
		}
		w.stop()
		w.answerNow, w.timer = true, time.NewTimer(answerLimit)
		if err := l.send(&pb.Message{AnswerNow: true}); err != nil {
			l.fail(err)
		}
	}
	return nil
}

// goIdle returns ErrIdle unless there is something to say by now.
func (l *outLink) goIdle() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.batches) > 0 || l.err != nil {
		return nil
	}
	l.idle = true
	return transport.ErrIdle
}

// end returns what Next returns of a link of which nothing more comes: once, of a
// session whose owner is gone, that it is unknown (W6).
func (l *outLink) end(ctx context.Context, most int) (transport.Batch, error) {
	l.mu.Lock()
	unknown := errors.Is(l.err, errGone)
	if unknown {
		l.err = transport.ErrLinkDone
	}
	err := l.ending()
	l.mu.Unlock()
	if unknown {
		return l.c.cfg.Local.Unknown(l.head).Next(ctx, most)
	}
	return nil, err
}

// ending returns the error of a link that is over. l.mu is held.
func (l *outLink) ending() error {
	if errors.Is(l.err, transport.ErrLinkDone) {
		return l.err
	}
	return transport.ErrLinkDone
}

// receive takes in what the owner says. It does not wait.
func (l *outLink) receive(m *pb.Message) {
	if m.Number == 0 { // the owner knows nothing of it
		l.c.failed(failBroken)
		l.fail(transport.ErrUnavailable)
		return
	}
	l.mu.Lock()
	m, err := l.inlet.take(m, max(l.most, l.c.cfg.MaxBatch))
	if err == nil && m != nil && len(m.Batch) > 0 && l.returned+uint64(len(l.batches)) >= l.credit {
		err = errNotWanted
	}
	if err != nil {
		l.mu.Unlock()
		l.c.failed(failBroken)
		l.tellOver(pb.Done_REASON_BROKEN)
		l.fail(fmt.Errorf("%w: %w", transport.ErrUnavailable, err))
		return
	}
	if m == nil || l.err != nil {
		l.mu.Unlock()
		return
	}
	if m.Taken > l.taken && m.Taken <= l.delivered {
		l.taken = m.Taken
		signal(l.room)
	}
	if len(m.Batch) > 0 {
		l.batches = append(l.batches, m.Batch)
	}
	if m.Done != nil {
		l.err, l.over = errorOf(m.Done.Reason), true
		signal(l.room)
	}
	news := len(l.batches) > 0 || l.err != nil
	l.mu.Unlock()
	if m.Question != nil {
		l.answer(m.Question)
	}
	if news {
		l.notify()
	}
}

// probe says something, by which the owner finds out what it has missed.
func (l *outLink) probe() {
	l.mu.Lock()
	quiet := l.open != nil || l.over
	l.mu.Unlock()
	if quiet {
		return
	}
	if err := l.send(&pb.Message{}); err != nil {
		l.fail(err)
	}
}

// notify has Next look, or called.
func (l *outLink) notify() {
	l.mu.Lock()
	idle := l.idle
	l.idle = false
	l.mu.Unlock()
	if idle {
		l.wake()
		return
	}
	signal(l.changed)
}

// fail ends the link. The owner is not told.
func (l *outLink) fail(err error) {
	l.mu.Lock()
	if l.err == nil {
		l.err = err
	}
	l.mu.Unlock()
	signal(l.room)
	l.notify()
}

// Close implements transport.Link.
func (l *outLink) Close() {
	l.mu.Lock()
	told := l.over || l.open != nil
	l.over = true
	if l.err == nil {
		l.err = transport.ErrLinkDone
	}
	asking := l.asking
	l.mu.Unlock()
	if asking != nil {
		asking()
	}
	l.c.removeOut(l)
	if !told {
		l.tellOver(pb.Done_REASON_UNSPECIFIED)
	}
}

// tellOver tells the owner that the link is over.
func (l *outLink) tellOver(why pb.Done_Reason) {
	// If it fails, the owner finds out that this bridge cannot be reached.
	_ = l.lane.send(l.c, l.peer, &pb.Message{Link: l.id, ToOwner: true, Done: &pb.Done{Reason: why}})
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// The reasons for which a link is done, as they are told.
func errorOf(why pb.Done_Reason) error {
	switch why {
	case pb.Done_REASON_REPLACED:
		return transport.ErrReplaced
	case pb.Done_REASON_MUTE:
		return transport.ErrMute
	case pb.Done_REASON_SESSION_OVER:
		return transport.ErrSessionOver
	case pb.Done_REASON_BROKEN:
		return transport.ErrUnavailable
	default: // also what this release does not know
		return transport.ErrLinkDone
	}
}

func reasonOf(err error) pb.Done_Reason {
	switch {
	case errors.Is(err, transport.ErrReplaced):
		return pb.Done_REASON_REPLACED
	case errors.Is(err, transport.ErrMute):
		return pb.Done_REASON_MUTE
	case errors.Is(err, transport.ErrSessionOver):
		return pb.Done_REASON_SESSION_OVER
	}
	return pb.Done_REASON_UNSPECIFIED
}
