package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// clientSide is the client's half of a Session: its links and what it learnt
// of the way to the bridge.
type clientSide struct {
	// Static after construction.
	s        *Session
	cfg      ClientConfig
	ctx      context.Context
	cancel   context.CancelCauseFunc
	wakeup   chan struct{} // capacity 1: run may look again
	tasks    sync.WaitGroup
	longpoll bool // may use exchanges
	ws       bool // may use WebSockets

	// Guarded by Session.mu.
	unsent      map[*Stream]struct{} // RPCs of which nothing was sent
	welcome     *wire.Welcome
	welcomedAt  time.Duration
	known       bool // a link begun after the Welcome was answered
	incarnation uint64
	token       token
	awake       bool // the first RPC came, or Lazy was not asked for
	nextX       uint64
	lastNow     uint64        // the latest now_us
	opened      uint64        // RPCs opened, to keep their order
	closeSent   bool          // CLOSE was queued
	goingAway   *wire.GoAway  // the bridge asked to move (E3)
	goodAt      time.Duration // when the bridge had a link, for all that was answered (E1)
	goodWall    time.Time     // the same on the wall clock, which runs during sleep
	exchanges   exchanges
	ladder      ladder
	socket      *clientSocket
	state       State         // but for what seen adds
	since       time.Time     // when it began to learn of the network
	nextStep    time.Duration // when run looks again
	told        State         // what OnState heard last
}

// Start opens a session in the client's role. It never waits: RPCs may be
// opened at once. Close, or the end of the session, frees everything.
func Start(cfg ClientConfig) *Session {
	cfg = cfg.withDefaults()
	s := &Session{
		epoch:            time.Now(),
		streamWindow:     cfg.StreamWindow,
		peerStreamWindow: firstStreamWindow,
		maxMessage:       cfg.MaxMessage,
		batch:            tune.Batch{Size: socketBatch, Max: socketBatch},
		done:             make(chan struct{}),
		streams:          make(map[uint64]*Stream),
	}
	_, _ = rand.Read(s.id[:]) // never fails
	_, _ = rand.Read(s.key[:])
	s.sid = wire.EncodeSession(s.id[:])
	s.out.window = defaultSessionWindow
	s.large = reassembly{size: 2 * s.maxMessage}
	c := &clientSide{
		s: s, cfg: cfg, wakeup: make(chan struct{}, 1), nextX: 1, awake: !cfg.Lazy,
		unsent:   make(map[*Stream]struct{}),
		longpoll: slices.Contains(cfg.Transports, transport.Longpoll),
		ws:       slices.Contains(cfg.Transports, transport.WS),
		goodWall: wallNow(),
	}
	c.state = State{Phase: Connecting, Transport: cfg.Transports[0]}
	c.exchanges.init(c)
	c.ladder.init(c)
	c.begin(cfg.Learnt)
	s.client = c
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.tasks.Go(c.run)
	return s
}

// firstStreamWindow is what a client assumes before the Welcome (O4).
const firstStreamWindow = wire.MaxFragment

// defaultSessionWindow holds until the Welcome states the bridge's.
const defaultSessionWindow = 1 << 20

func wallNow() time.Time { return time.Now().Round(0) }

// soon is the time within which run looks again anyway.
const soon = time.Second

func (c *clientSide) wake() {
	if !c.ladder.carries() || c.nextStep > c.s.now()+soon || c.s.err != nil {
		signal(c.wakeup)
	}
	if c.socket != nil && c.socket.due() {
		signal(c.socket.wake)
	}
}

func (c *clientSide) flight() *flight {
	if c.socket == nil {
		return nil
	}
	return &c.socket.flight
}

func (c *clientSide) welcomed() bool { return c.welcome != nil }

// run schedules the session's links until the session is over.
func (c *clientSide) run() {
	if !c.fetchToken() {
		return
	}
	defer c.exchanges.workers.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.s.mu.Lock()
		wait := c.step(c.s.now())
		state := c.seen()
		c.s.unlock()
		c.tell(state)
		if c.ctx.Err() != nil {
			return
		}
		timer.Reset(wait)
		select {
		case <-c.wakeup:
		case <-timer.C:
		case <-c.ctx.Done():
		}
	}
}

// tell calls OnState after a change.
func (c *clientSide) tell(state State) {
	seen := state
	seen.RTT = 0
	if seen == c.told {
		return
	}
	if seen.Network != c.told.Network {
		c.cfg.Logger.Debug("learnt of the network", "session", c.s.sid, "network", seen.Network)
	}
	c.told = seen
	if c.cfg.OnState != nil {
		c.cfg.OnState(state)
	}
}

// longest is how long run sleeps when nothing is due.
const longest = time.Hour

// step does what is due and tells how long until the next.
func (c *clientSide) step(now time.Duration) time.Duration {
	if c.s.err != nil || !c.awake {
		return longest
	}
	next := c.checkLapse(now)
	if c.s.err != nil {
		return longest
	}
	next = min(next, c.ladder.step(now))
	next = min(next, c.exchanges.step(now))
	c.nextStep = next
	return max(next-now, 0)
}

// connectTimeout bounds the wait for the first Welcome.
const connectTimeout = 20 * time.Second

// checkLapse gives the session up when the bridge must have forgotten it (E1),
// by the larger of two clocks. It tells when to look again.
func (c *clientSide) checkLapse(now time.Duration) time.Duration {
	age, limit := c.unanswered(now)
	if age < limit {
		return now + limit - age
	}
	reason, why := ReasonUnreachable, "no answer from the bridge"
	if c.welcomed() {
		reason, why = ReasonExpired, "no link"
	}
	message := fmt.Sprintf("%s for %v", why, age.Round(time.Second))
	if c.state.LastError != nil {
		message += "; last seen: " + c.state.LastError.Error()
	}
	c.s.over(&Error{Reason: reason, Message: message})
	return longest
}

// unanswered is how long the bridge was not heard, by the larger of two clocks,
// and for how long that may be (E1).
func (c *clientSide) unanswered(now time.Duration) (age, limit time.Duration) {
	limit = connectTimeout
	if c.welcomed() {
		limit = c.resumeWindow() * 8 / 10
	}
	return max(now-c.goodAt, wallNow().Sub(c.goodWall)), limit
}

// retryAt is when to try again what should wait that long. No wait takes more
// than half of what is left until the session is given up, so that a network
// that comes back before is found in time.
func (c *clientSide) retryAt(now, wait time.Duration) time.Duration {
	age, limit := c.unanswered(now)
	return now + min(wait, max((limit-age)/2, soonAfter))
}

// resumeWindow is how long the bridge keeps the session without a link: not
// long while it saw only Hellos of it (O4). RPCs that were sent may have been
// seen, and are not given up before.
func (c *clientSide) resumeWindow() time.Duration {
	if !c.known && len(c.s.streams) == 0 {
		return helloWindow
	}
	w := time.Duration(c.welcome.ResumeMillis) * time.Millisecond
	if w == 0 {
		w = defaultResumeWindow
	}
	w = min(w, longestWindow)
	if c.cfg.Pause > 0 {
		w = min(c.cfg.Pause, time.Duration(c.welcome.PauseMaxMillis)*time.Millisecond)
	}
	return w
}

// A bridge's resume window, where its Welcome states none, and the longest that
// is believed.
const (
	defaultResumeWindow = 120 * time.Second
	longestWindow       = 24 * time.Hour
)

// good notes that the bridge had a link at that time or later (E1).
func (c *clientSide) good(at time.Duration) {
	if at >= c.goodAt {
		c.goodAt = at
		c.goodWall = wallNow().Add(at - c.s.now())
	}
	if c.welcomed() {
		c.state.Phase = Open
	}
}

// weather notes that a link failed, and how.
func (c *clientSide) weather(err error) {
	c.state.LastError = err
	if c.state.Phase == Open {
		c.state.Phase = Retrying
	}
	c.cfg.Logger.Debug("link failed", "session", c.s.sid, "err", err)
}

// header fills in what every batch of the client carries.
func (c *clientSide) header(x uint64) wire.Batch {
	s := c.s
	c.lastNow = max(c.lastNow+1, uint64(s.now().Microseconds()))
	h := wire.Batch{
		X: x, Incarnation: c.incarnation, Ack: s.in.taken, Resend: s.askIfDue(),
		NowMicros: c.lastNow, Awaiting: c.exchanges.awaiting(), Prefer: c.ladder.prefer,
		PauseMillis: millis(c.cfg.Pause),
	}
	s.in.owed = 0
	if !c.welcomed() {
		h.Hello = &wire.Hello{
			Release: c.cfg.Release, StreamWindow: uint32(s.streamWindow), MaxMessageBytes: uint64(s.maxMessage),
		}
		h.Versions = &wire.Versions{Lowest: wire.LowestVersion, Highest: wire.HighestVersion}
		h.Token = c.token.value
	} else if c.token.due {
		h.Token = c.token.value
	}
	return h
}

// take takes an answer's header and frames in. sent is when its link, or what
// it answers, was begun.
func (c *clientSide) take(b *wire.Batch, sent time.Duration) {
	s := c.s
	if b.Close != nil {
		c.closed(b)
		return
	}
	if c.incarnation != 0 && b.Incarnation != c.incarnation {
		c.weather(fmt.Errorf("an answer of another bridge instance"))
		return
	}
	switch {
	case b.Welcome != nil && !c.welcomed():
		c.takeWelcome(b)
		c.welcomedAt = s.now()
	case c.welcomed() && sent >= c.welcomedAt:
		c.known = true
	}
	c.good(sent)
	if b.GoAway != nil && c.goingAway == nil {
		c.goingAway = b.GoAway
	}
	if err := s.receive(b); err != nil {
		s.over(err)
	}
}

// takeWelcome takes the bridge's limits and lets waiting RPCs go (O2, O4).
func (c *clientSide) takeWelcome(b *wire.Batch) {
	s := c.s
	w := *b.Welcome
	c.welcome, c.incarnation = &w, b.Incarnation
	s.out.window = max(int(w.SessionWindow), 2*frameRoom)
	s.peerStreamWindow = int(w.StreamWindow)
	c.releaseUnsent()
}

// releaseUnsent looks again which RPCs may be sent, in the order in which they
// were opened.
func (c *clientSide) releaseUnsent() {
	waiting := slices.SortedFunc(maps.Keys(c.unsent), func(a, b *Stream) int { return int(a.order) - int(b.order) })
	for _, st := range waiting {
		st.send.limit = max(st.send.limit, uint64(c.s.peerStreamWindow))
		st.send.held = st.corked || c.s.holdsBack(st)
		st.activate()
	}
	c.s.wake()
}

// closed handles a refusal, or the session's end as the bridge tells it.
func (c *clientSide) closed(b *wire.Batch) {
	why := errorOf(b.Close)
	switch b.Close.Code {
	case wire.CodeGarbled, wire.CodeBusy, wire.CodeTooLarge:
		c.weather(fmt.Errorf("refused by the bridge: %s", b.Close.Message))
		return
	case wire.CodeUnknown:
		if c.incarnation != 0 && b.Incarnation&^livesMask != c.incarnation&^livesMask {
			why.Reason, why.Message = ReasonRestarted, "the bridge was restarted"
		}
	default: // over, for the reason given
	}
	c.s.over(why)
}

// over ends every RPC with one UNAVAILABLE (E2).
func (c *clientSide) over(why *Error) {
	s := c.s
	c.state.Phase = Closed
	for st := range c.unsent {
		st.dropQueue()
		st.finish(bridgeEnd(statusUnavailable, why.Reason, "session lost before the RPC was sent: %s", why.Message))
	}
	clear(c.unsent)
	for _, st := range s.streams {
		st.dropQueue()
		st.finish(bridgeEnd(statusUnavailable, why.Reason, "session lost, the RPC may have run: %s", why.Message))
	}
	c.cancel(why)
	s.later(func() { c.closeLinks() })
}

// closeLinks drops the links that are left.
func (c *clientSide) closeLinks() {
	c.s.mu.Lock()
	defer c.s.unlock()
	if c.socket != nil {
		c.socket.drop()
	}
}

// Open starts an RPC. Client only. It never waits; sending waits for the
// Welcome where rule O4 says so. When ctx ends the RPC is cancelled. With
// open.SingleRequest the OPEN leaves together with the message and the
// half-close, so Send and CloseSend must follow. It fails with an *Error when
// the session is over or going away; such an RPC was never sent.
func (s *Session) Open(ctx context.Context, open wire.Open) (*Stream, error) {
	s.mu.Lock()
	defer s.unlock()
	c := s.client
	switch {
	case s.err != nil:
		return nil, &Error{Reason: s.err.Reason, Message: s.err.Message, NotStarted: true}
	case c.goingAway != nil, s.out.closing != nil:
		return nil, &Error{Reason: ReasonDrained, Message: "the session takes no more RPCs", NotStarted: true}
	}
	open.CreatedMicros = uint64(s.now().Microseconds())
	st := newStream(s, &open)
	st.answered = make(chan struct{})
	st.ctx, st.cancel = context.WithCancelCause(ctx)
	st.corked = open.SingleRequest
	st.send.held = st.corked || s.holdsBack(st)
	c.opened++
	st.order = c.opened
	c.unsent[st] = struct{}{}
	st.unfollow = context.AfterFunc(ctx, func() { st.abandon(ctx) })
	st.enqueue(outItem{kind: wire.TypeOpen, open: &open})
	if !c.awake {
		c.awake, c.goodAt, c.goodWall = true, s.now(), wallNow()
		s.wake()
	}
	s.wakeFor(st)
	return st, nil
}

// abandon gives the RPC up because its caller's context has ended.
func (st *Stream) abandon(ctx context.Context) {
	st.s.mu.Lock()
	defer st.s.unlock()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		st.giveUp(bridgeEnd(statusDeadlineExceeded, ReasonDeadline, "context deadline exceeded"))
		return
	}
	st.giveUp(bridgeEnd(statusCancelled, ReasonCancelled, "context canceled"))
}

// GoingAway reports whether the bridge asked for new RPCs to go to another
// session, and over what time clients should spread that. Client only.
func (s *Session) GoingAway() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client.goingAway == nil {
		return 0, false
	}
	return time.Duration(s.client.goingAway.SpreadMillis) * time.Millisecond, true
}

// State reads the state. Client only.
func (s *Session) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client.seen()
}

// seen is the state as others see it.
func (c *clientSide) seen() State {
	state := c.state
	state.RTT, state.Network = c.s.path.SmoothedRTT(), c.network()
	return state
}

// Close ends the session in order: all that was sent is delivered first, until
// ctx ends; then at once. Open RPCs end. Client only.
func (s *Session) Close(ctx context.Context) error {
	s.mu.Lock()
	c := s.client
	if s.err == nil && (c.nextX == 1 || !c.awake) {
		s.over(&Error{Reason: ReasonClosed, Message: "closed before it was opened"})
	}
	if s.err == nil && s.out.closing == nil && !c.closeSent {
		c.closeSent = true
		s.out.closing = &wire.Close{Code: wire.CodeDone}
		s.wake()
	}
	s.unlock()
	var err error
	select {
	case <-s.done:
	case <-ctx.Done():
		err = context.Cause(ctx)
		s.mu.Lock()
		s.over(&Error{Reason: ReasonClosed, Message: "closed"})
		s.unlock()
	}
	c.tasks.Wait()
	return err
}

// Kill drops every link at once, as a network would. Client only, for tests
// and demonstrations.
func (s *Session) Kill() {
	s.mu.Lock()
	defer s.unlock()
	s.client.exchanges.abandon(errKilled)
	if s.client.socket != nil {
		s.client.socket.drop()
	}
	s.wake()
}

var errKilled = errors.New("dropped on purpose")
