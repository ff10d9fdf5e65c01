package dialer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Session is the client's end of a session: its links, and what it has learnt of
// the way to the bridge.
type Session struct {
	// Static after construction.
	ep     engine.Endpoint
	cfg    Config
	ctx    context.Context
	cancel context.CancelCauseFunc
	wakeup chan struct{} // capacity 1: run may look again
	tasks  sync.WaitGroup

	sid atomic.Pointer[string] // the ID as it stands in paths

	// Guarded by ep's lock.
	id           [wire.IDSize]byte
	key          [wire.KeySize]byte
	moves        int // how often a bridge was busy before the Welcome
	welcome      *wire.Welcome
	incarnation  uint64
	token        token
	active       bool          // the first RPC came, or Lazy was not asked for
	nextNumber   uint64        // of the next link
	lastMicros   uint64        // the latest now_us
	opened       uint64        // RPCs opened, to keep their order
	closeSent    bool          // CLOSE was queued
	goingAway    *wire.GoAway  // the bridge asked to move (E3)
	reachedAt    time.Duration // when the bridge had a link, for all that was answered (E1)
	heard        time.Duration // when it was heard last
	asking       bool          // RPCs wait until it is heard (E2)
	strangers    int           // answers of what knows of no bridge
	strangerAt   time.Duration // when the first of them came
	startedWall  time.Time     // when the endpoint's clock began, on the wall
	wallAhead    time.Duration // by how much the clock on the wall is ahead of the endpoint's
	exchanges    exchanges
	ladder       ladder
	link         *lastingLink  // the attached lasting link
	state        State         // but for what seen adds
	learntSince  time.Time     // when it began to learn of the network
	nextStep     time.Duration // when run looks again
	lastReported State         // to OnState
}

// Start opens a session. It never waits: RPCs may be opened at once. Close, or the
// end of the session, frees everything.
func Start(cfg Config) *Session {
	cfg = cfg.withDefaults()
	s := &Session{cfg: cfg, wakeup: make(chan struct{}, 1), nextNumber: 1, active: !cfg.Lazy, startedWall: cfg.Wall().Round(0)}
	s.drawID()
	s.ep.Init(engine.Config{
		Role: (*role)(s), ID: s.id, Epoch: time.Now(),
		StreamWindow:     cfg.StreamWindow,
		MaxStreamWindow:  maxStreamWindow,
		ReceiveWindow:    maxReceiveWindow,
		PeerStreamWindow: firstStreamWindow,
		SessionWindow:    defaultSessionWindow,
		MaxMessage:       cfg.MaxMessage,
	})
	s.state = State{Phase: Connecting, Transport: cfg.Transports[0]}
	s.exchanges.init(s)
	s.ladder.init(s)
	s.recall(cfg.Learnt)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.tasks.Go(s.run)
	return s
}

// firstStreamWindow is what a client assumes before the Welcome (O4).
const firstStreamWindow = wire.MaxFragment

// Most that the windows of one stream, and of all of a session's streams together,
// grow by (D3), in bytes.
const (
	maxStreamWindow  = 8 << 20
	maxReceiveWindow = 16 << 20
)

// defaultSessionWindow holds until the Welcome states the bridge's.
const defaultSessionWindow = 1 << 20

func wallNow() time.Time { return time.Now().Round(0) }

// signal has who waits on c look again.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// ID is the session's public ID as it stands in paths: 22 characters of base64url.
// Safe to log.
func (s *Session) ID() string { return *s.sid.Load() }

// drawID draws an ID and a key.
func (s *Session) drawID() {
	_, _ = rand.Read(s.id[:]) // never fails
	_, _ = rand.Read(s.key[:])
	sid := wire.EncodeSession(s.id[:])
	s.sid.Store(&sid)
}

// Done is closed when the session is over; Err then says why.
func (s *Session) Done() <-chan struct{} { return s.ep.Done() }

// Err returns nil while the session lives, then an *engine.Error.
func (s *Session) Err() error { return s.ep.Err() }

// role is what the endpoint asks of a Session.
type role Session

// soon is the time within which run looks again anyway.
const soon = time.Second

// Wake implements engine.Role.
func (r *role) Wake() {
	if !r.ep.Carries() || r.nextStep > r.ep.Now()+soon || r.ep.Ended() != nil {
		signal(r.wakeup)
	}
	if r.link != nil {
		r.link.Notify()
	}
}

// Appetite implements engine.Role: what waits for a link is bounded by each
// stream's queue.
func (r *role) Appetite() int { return engine.Unlimited }

// Over implements engine.Role.
func (r *role) Over(why *engine.Error) {
	s := (*Session)(r)
	s.state.Phase = Closed
	s.endStreams(why)
	s.cancel(why)
	if s.link != nil {
		s.link.drop()
	}
}

func (s *Session) welcomed() bool { return s.welcome != nil }

// run schedules the session's links until the session is over.
func (s *Session) run() {
	if !s.fetchToken() {
		return
	}
	defer s.exchanges.workers.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s.ep.Lock()
		wait := s.step(s.ep.Now())
		state := s.seen()
		s.ep.Unlock()
		s.report(state)
		if s.ctx.Err() != nil {
			return
		}
		timer.Reset(wait)
		select {
		case <-s.wakeup:
		case <-timer.C:
		case <-s.ctx.Done():
		}
	}
}

// report calls OnState after a change.
func (s *Session) report(state State) {
	seen := state
	seen.RTT = 0
	if seen == s.lastReported {
		return
	}
	if seen.Network != s.lastReported.Network {
		s.cfg.Logger.Debug("network learnt", "session", s.ID(), "network", seen.Network)
	}
	s.lastReported = seen
	if s.cfg.OnState != nil {
		s.cfg.OnState(state)
	}
}

// longest is how long run sleeps when nothing is due.
const longest = engine.LongestWait

// step does what is due and returns how long until the next.
func (s *Session) step(now time.Duration) time.Duration {
	if s.ep.Ended() != nil || !s.active {
		return longest
	}
	s.checkClock(now)
	next := s.checkExpiry(now)
	if s.ep.Ended() != nil {
		return longest
	}
	next = min(next, s.ladder.step(now))
	next = min(next, s.exchanges.step(now))
	s.nextStep = next
	return max(next-now, 0)
}

// connectTimeout bounds the wait for the first Welcome.
const connectTimeout = 20 * time.Second

// clockJump is how far the clock on the wall goes ahead when the machine slept, or
// somebody set it.
const clockJump = 5 * time.Second

// checkClock has the bridge asked at once when the clock on the wall went ahead of
// the endpoint's, which stands still on some machines while they sleep. It decides
// nothing else: it can be set.
func (s *Session) checkClock(now time.Duration) {
	before := s.wallAhead
	s.wallAhead = s.cfg.Wall().Round(0).Sub(s.startedWall) - now
	if s.wallAhead-before < clockJump || !s.welcomed() {
		return
	}
	if l := s.link; l != nil && l.open && l.Pinged == 0 {
		l.ask(0)
	}
	s.exchanges.askNow(now)
}

// checkExpiry gives the session up when the bridge has forgotten it, or nearly so
// (E1). It returns when to look again.
func (s *Session) checkExpiry(now time.Duration) time.Duration {
	if s.ep.Ended() != nil {
		return longest
	}
	age, limit := s.unreached(now)
	if age < limit {
		return now + limit - age
	}
	reason := engine.ReasonUnreachable
	if s.welcomed() {
		reason = engine.ReasonExpired
	}
	message := fmt.Sprintf("no answer from %s for %v", s.cfg.Bridge, age.Round(time.Second))
	if s.state.LastError != nil {
		message += "; last seen: " + s.state.LastError.Error()
	}
	s.ep.Over(&engine.Error{Reason: reason, Message: message})
	return longest
}

// unreached returns for how long the bridge was not reached, and for how long that
// may be (E1).
func (s *Session) unreached(now time.Duration) (age, limit time.Duration) {
	age = now - s.reachedAt
	switch {
	case !s.welcomed():
		return age, connectTimeout
	case s.ep.NumStreams()+s.ep.NumUnsent() == 0:
		// The next RPC is not to meet a session that the bridge has just forgotten.
		return age, s.resumeWindow() * 8 / 10
	}
	return age, s.resumeWindow() + s.grace()
}

// grace is how long beyond its window a session with RPCs is not given up: the
// bridge may have had a link for a hold longer than is known here.
func (s *Session) grace() time.Duration {
	if !s.welcomed() || s.ep.NumStreams()+s.ep.NumUnsent() == 0 {
		return 0
	}
	return min(time.Duration(s.welcome.HoldMillis)*time.Millisecond, defaultResumeWindow)
}

// retryAt returns when to try again what should wait that long. No wait takes more
// than half of what is left of the resume window, or then until the session is
// given up, so that a network that comes back before is found in time; nor more than
// half of what it takes to be certain of no bridge.
func (s *Session) retryAt(now, wait time.Duration) time.Duration {
	if s.strangers > 0 && !s.isCertain(now) {
		wait = min(wait, noBridgeTime/2)
	}
	age, limit := s.unreached(now)
	left := limit - age
	if inWindow := left - s.grace(); inWindow > 0 {
		left = inWindow
	}
	return now + min(wait, max(left/2, firstRetry))
}

// A bridge's resume window, where its Welcome states none, and the longest that
// is believed.
const (
	defaultResumeWindow = 120 * time.Second
	longestResumeWindow = 24 * time.Hour
)

// helloWindow is how long a bridge keeps a session from which no RPC came (O4).
const helloWindow = 30 * time.Second

// resumeWindow is how long the bridge keeps the session without a link: not long
// before it has seen an RPC (O4). Those that were sent may have been seen, and are
// not given up before.
func (s *Session) resumeWindow() time.Duration {
	if s.ep.SentTo() == 0 {
		return helloWindow
	}
	w := time.Duration(s.welcome.ResumeMillis) * time.Millisecond
	if w == 0 {
		w = defaultResumeWindow
	}
	w = min(w, longestResumeWindow)
	if s.cfg.Pause > 0 {
		w = min(s.cfg.Pause, time.Duration(s.welcome.PauseMaxMillis)*time.Millisecond)
	}
	return w
}

// reached notes that the bridge had a link at that time or later (E1).
func (s *Session) reached(at time.Duration) {
	s.reachedAt = max(s.reachedAt, at)
	if s.welcomed() {
		s.state.Phase = Open
	}
}

// linkFailed notes that a link failed, and how.
func (s *Session) linkFailed(err error) {
	s.state.LastError = err
	if s.state.Phase == Open {
		s.state.Phase = Retrying
	}
	s.cfg.Logger.Debug("link failed", "session", s.ID(), "err", err)
	if s.welcomed() || s.ep.Ended() != nil {
		return
	}
	switch {
	case errors.Is(err, ErrUntrusted):
		s.ep.Over(&engine.Error{Reason: engine.ReasonUnreachable, Message: "cannot reach " + s.cfg.Bridge + ": " + err.Error()})
	case errors.Is(err, ErrNoBridge) && s.isNoBridge(s.ep.Now()):
		s.ep.Over(&engine.Error{Reason: engine.ReasonUnreachable, Message: s.cfg.Bridge + " is not there: " + err.Error() +
			"; are URL and prefix the bridge's, and does a proxy before it pass both on?"})
	}
}

// What is no bridge has to say so as often as that, and for so long, before a first
// Welcome is not waited for any more: what swallows requests of one form or kind
// may let others pass, which are tried in that time.
const (
	noBridgeTimes = 5
	noBridgeTime  = 700 * time.Millisecond
)

// isNoBridge counts an answer that knows of no bridge, and reports whether that is
// certain now: no lasting link is on its way either.
func (s *Session) isNoBridge(now time.Duration) bool {
	if s.strangers++; s.strangers == 1 {
		s.strangerAt = now
	}
	return s.isCertain(now) && !s.cfg.Known && s.ladder.dialing == 0 && s.link == nil
}

// isCertain reports whether there were answers enough, for long enough.
func (s *Session) isCertain(now time.Duration) bool {
	return s.strangers >= noBridgeTimes && now >= s.strangerAt+noBridgeTime
}

// Welcomed reports whether the bridge was there.
func (s *Session) Welcomed() bool {
	s.ep.Lock()
	defer s.ep.Unlock()
	return s.welcomed()
}

// GoingAway reports whether the bridge asked for new RPCs to go to another
// session, and over what time clients should spread that.
func (s *Session) GoingAway() (time.Duration, bool) {
	s.ep.Lock()
	defer s.ep.Unlock()
	if s.goingAway == nil {
		return 0, false
	}
	return time.Duration(s.goingAway.SpreadMillis) * time.Millisecond, true
}

// State reads the state.
func (s *Session) State() State {
	s.ep.Lock()
	defer s.ep.Unlock()
	return s.seen()
}

// seen is the state as others see it.
func (s *Session) seen() State {
	state := s.state
	state.RTT, state.Network = s.ep.Path.SmoothedRTT(), s.network()
	return state
}

// Close ends the session in order: all that was sent is delivered first, until
// ctx ends; then at once. Open RPCs end.
func (s *Session) Close(ctx context.Context) error {
	s.ep.Lock()
	if s.nextNumber == 1 || !s.active {
		s.ep.Over(&engine.Error{Reason: engine.ReasonClosed, Message: "closed before it was opened"})
	}
	if s.ep.Ended() == nil && !s.closeSent {
		s.closeSent = true
		s.ep.QueueClose(&wire.Close{Code: wire.CodeDone})
	}
	s.ep.Unlock()
	var err error
	select {
	case <-s.Done():
	case <-ctx.Done():
		err = context.Cause(ctx)
		s.ep.Lock()
		s.ep.Over(&engine.Error{Reason: engine.ReasonClosed, Message: "closed"})
		s.ep.Unlock()
	}
	s.tasks.Wait()
	return err
}

// Kill drops every link at once, as a network would. For tests and
// demonstrations.
func (s *Session) Kill() {
	s.ep.Lock()
	defer s.ep.Unlock()
	s.exchanges.abandon(errKilled)
	if s.link != nil {
		s.link.drop()
	}
	s.ep.Wake()
}

var errKilled = errors.New("dropped on purpose")

// Retry tries a lasting link at once, as when the network has changed. For tests.
func (s *Session) Retry() {
	s.ep.Lock()
	defer s.ep.Unlock()
	s.ladder.retry.Reset()
	s.ladder.nextDial = s.ep.Now()
	s.ep.Wake()
}

// Switch moves new frames to the lasting link, or back to exchanges, with both
// alive. It reports whether there is a lasting link. For tests.
func (s *Session) Switch(lasting bool) bool {
	s.ep.Lock()
	defer s.ep.Unlock()
	if s.link == nil || !s.link.open {
		return false
	}
	if lasting {
		s.ladder.choose(s.link)
	} else {
		s.ladder.leave()
	}
	return true
}
