package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	pb "github.com/pollbridge/pollbridge/internal/cluster/clusterpb"
	"github.com/pollbridge/pollbridge/transport"
)

// errForgotten is why a link's context ends whose client is gone.
var errForgotten = errors.New("cluster: the link is gone where it landed")

// inKey names a link that landed elsewhere.
type inKey struct {
	from uint32
	link uint64
}

// inLink is a link that landed at another bridge, of a session that may live here.
// Two goroutines serve it while there is something to do: one takes in, one
// answers.
type inLink struct {
	c         *Cluster
	peer      *peer
	id        uint64
	lane      lane
	ctx       context.Context // of Accept and Deliver; ends with the link
	end       context.CancelCauseFunc
	hold      context.Context // of Next; ends also when it is to answer now
	answerNow context.CancelCauseFunc

	mu      sync.Mutex
	inlet   inlet
	waiting []*pb.Message  // to be taken in
	taking  bool           // a goroutine takes in
	link    transport.Link // nil: not accepted yet
	kind    transport.Kind
	credit  uint64 // how many batches are wanted in all
	sent    uint64 // of them
	longest int    // of a batch, in bytes
	answers bool   // a goroutine answers
	idle    bool   // Next has returned ErrIdle, and is called again when Wake is
	woken   bool   // Wake was called since it began to
	taken   uint64
	said    uint64 // of those taken, to the other side
	over    bool

	questions uint64
	answered  chan *pb.Answer // to the latest of them; nil: none waits
}

func newInLink(c *Cluster, p *peer, id uint64) *inLink {
	l := &inLink{c: c, peer: p, id: id}
	l.ctx, l.end = context.WithCancelCause(withAsker(context.Background(), l))
	l.hold, l.answerNow = context.WithCancelCause(l.ctx)
	return l
}

// receive takes in what the other side says. It does not wait.
func (l *inLink) receive(m *pb.Message) {
	l.mu.Lock()
	defer l.unlock()
	if m.Number == 0 { // it is gone on the other side
		l.overNow()
		return
	}
	m, err := l.inlet.take(m, l.c.cfg.MaxBatch)
	if err == nil && m != nil && len(l.waiting) > uplinkWindow {
		err = errTooLong
	}
	switch {
	case l.over:
		return
	case err != nil:
		l.c.failed(failBroken)
		l.finish(pb.Done_REASON_BROKEN)
		return
	case m == nil:
		return
	case m.Done != nil:
		l.overNow()
		return
	}
	if m.Answer != nil && l.answered != nil && m.Answer.Number == l.questions {
		l.answered <- m.Answer // it has room for one
		l.answered = nil
	}
	if m.Credit > l.credit {
		l.credit, l.longest = m.Credit, int(min(m.Longest, uint32(l.c.cfg.MaxBatch)))
	}
	if m.AnswerNow {
		l.idle = false
		l.answerNow(transport.ErrAnswerNow)
	}
	if m.Open != nil || len(m.Batch) > 0 {
		l.waiting = append(l.waiting, m)
		l.startTaking()
	}
	l.startAnswering()
}

// startTaking begins to take in what waits. l.mu is held.
func (l *inLink) startTaking() {
	if !l.taking && len(l.waiting) > 0 {
		l.taking = l.c.start(l.take)
	}
}

// take takes in what waits, and then answers if nobody else does.
func (l *inLink) take() {
	l.mu.Lock()
	for len(l.waiting) > 0 && !l.over {
		m, link := l.waiting[0], l.link
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		var err error
		if link == nil {
			link, err = l.accept(m)
		} else {
			err = link.Deliver(l.ctx, m.Batch)
		}
		l.mu.Lock()
		l.link = link
		if m.Open == nil {
			l.taken++
		}
		if link == nil {
			l.finish(pb.Done_REASON_BROKEN)
		}
		if err != nil { // Next has the last word
			l.waiting = nil
		}
	}
	l.taking = false
	if l.taken-l.said >= uplinkWindow/2 && !l.over {
		l.say(&pb.Message{})
	}
	begin := l.mayAnswer()
	l.answers = l.answers || begin
	l.unlock()
	if begin {
		l.answer()
	}
}

// accept opens the link.
func (l *inLink) accept(m *pb.Message) (transport.Link, error) {
	kind := transport.Kind(m.Open.GetKind())
	if m.Open == nil || kind != transport.Longpoll && kind != transport.WS {
		return nil, errors.New("a link that was not opened, or is of no known kind")
	}
	hello := transport.Hello{
		Kind: kind, Session: m.Open.Session, Batch: m.Batch, RemoteAddr: m.Open.RemoteAddr, Group: m.Open.Group, Wake: l.wake,
	}
	if digest := m.Open.Authorization; len(digest) > 0 {
		hello.Header = http.Header{"Authorization": {fmt.Sprintf("%x", digest)}}
	}
	l.mu.Lock()
	l.kind = kind
	l.mu.Unlock()
	return l.c.cfg.Local.Accept(l.ctx, hello), nil
}

// say says m to the other side, with how much was taken in. l.mu is held.
func (l *inLink) say(m *pb.Message) {
	m.Link, m.Taken, l.said = l.id, l.taken, l.taken
	// If it fails, the link ends with the disconnection that is its cause.
	_ = l.lane.send(l.c, l.peer, m)
}

// probe says something, by which the other side finds out what it has missed.
func (l *inLink) probe() {
	l.mu.Lock()
	defer l.unlock()
	if !l.over {
		l.say(&pb.Message{})
	}
}

// startAnswering has a goroutine answer if there may be something to say. l.mu is
// held.
func (l *inLink) startAnswering() {
	if l.mayAnswer() {
		l.answers = l.c.start(l.answer)
	}
}

// mayAnswer reports whether there may be something to say, and nobody who says it.
// l.mu is held.
func (l *inLink) mayAnswer() bool {
	return !l.answers && !l.idle && !l.over && l.link != nil && l.sent < l.credit
}

// wake is the Wake of the link here.
func (l *inLink) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = false
	if l.answers {
		l.woken = true
		return
	}
	l.startAnswering()
}

// answer sends batches for as long as there is credit, until the link is idle or
// over.
func (l *inLink) answer() {
	l.mu.Lock()
	l.woken = false
	for !l.over && l.sent < l.credit {
		link, longest := l.link, l.longest
		l.mu.Unlock()
		batch, err := link.Next(l.hold, longest)
		l.mu.Lock()
		switch {
		case l.over:
		case errors.Is(err, transport.ErrIdle) && l.woken:
			l.woken = false
		case errors.Is(err, transport.ErrIdle):
			l.answers, l.idle = false, true
			l.unlock()
			return
		case err != nil:
			l.finish(reasonOf(err))
		case l.kind.Lasting():
			l.sent++
			l.say(&pb.Message{Batch: batch.AppendTo(nil)})
		default:
			l.say(&pb.Message{Batch: batch.AppendTo(nil), Done: &pb.Done{}})
			l.overNow()
		}
	}
	l.answers = false
	l.unlock()
}

// finish says that the link is over. l.mu is held.
func (l *inLink) finish(why pb.Done_Reason) {
	l.say(&pb.Message{Done: &pb.Done{Reason: why}})
	l.overNow()
}

// forget ends the link; the other side is not told.
func (l *inLink) forget() {
	l.mu.Lock()
	defer l.unlock()
	l.overNow()
}

// overNow ends the link. l.mu is held.
func (l *inLink) overNow() {
	if l.over {
		return
	}
	l.over = true
	l.waiting = nil
	l.end(errForgotten)
	l.c.removeIn(l)
}

// unlock releases l.mu, and closes the link that is over once no goroutine uses it:
// without l.mu, which another link's Close may want.
func (l *inLink) unlock() {
	var unused transport.Link
	if l.over && !l.taking && !l.answers {
		unused, l.link = l.link, nil
	}
	l.mu.Unlock()
	if unused != nil {
		unused.Close()
	}
}
