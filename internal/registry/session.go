package registry

import (
	"time"
	"unique"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// Session is the bridge's end of a session: whom it belongs to, and its links.
type Session struct {
	// Static after construction.
	ep        engine.Endpoint
	reg       *Registry
	key       [wire.KeySize]byte
	principal *principal // that it belongs to
	// remote is the address that the session was opened from.
	remote string
	client unique.Handle[string] // its release, as it told in its Hello
	opened time.Duration
	// incarnation names this life of the session on this bridge (O2).
	incarnation uint64

	place int // in principal.sessions; guarded by Registry.mu

	// Guarded by ep's lock.
	highest        uint64        // highest number of a link (L1)
	before         uint64        // which of the numbers before highest were of links: bit 0 is that just before
	highestLasting uint64        // highest number of a lasting link
	stated         uint64        // now_us of the batch whose prefer counts
	clock          uint64        // now_us of the batch that is taken in
	awaiting       uint64        // lowest exchange that the client waits for (L2)
	parked         *exchange     // the parked exchange
	overtaken      []*exchange   // parked just before, with frames to take before it does
	lasting        *lastingLink  // the attached lasting link
	links          int           // links that keep the session alive
	pause          time.Duration // the resume window that the client asked for; 0: none
	expiry         *time.Timer
	linklessSince  time.Duration
	lastAnswer     int         // bytes of the last answer to an exchange
	credential     *credential // what Authenticate returned last (O5); nil: it is not asked
	resumed        uint64      // links that came after the session had lost all
	note           any         // Note's
	received       tune.Meter  // batches
	sent           tune.Meter
	events         []event
	fresh          streamList     // whose Handles unlock begins
	used           bool           // an RPC came (O4)
	notTaken       bool           // an OPEN was not taken (D6)
	goAwaySent     bool           // (E3)
	lastLasting    bool           // the latest link was one
	carrier        transport.Kind // that events told last
	firstCarrier   transport.Kind // that carried frames first; 0: nothing was sent yet
}

func newSession(r *Registry, id [wire.IDSize]byte, key []byte, hello *wire.Hello, who Principal, p *principal) *Session {
	s := &Session{reg: r, principal: p}
	if r.cfg.Authenticate != nil {
		s.credential = &credential{principal: who}
	}
	s.ep.Init(engine.Config{
		Role: (*role)(s), ID: id,
		Epoch:            r.epoch.Add(time.Since(r.epoch).Truncate(pingGrid)),
		StreamWindow:     r.cfg.StreamWindow,
		MaxStreamWindow:  r.cfg.MaxStreamWindow,
		ReceiveWindow:    r.cfg.SessionWindow,
		PeerStreamWindow: int(hello.StreamWindow),
		SessionWindow:    r.cfg.SessionWindow,
		MaxMessage:       r.cfg.MaxMessage,
		Share:            &p.share,
	})
	copy(s.key[:], key)
	s.client = unique.Make(hello.Release[:min(len(hello.Release), maxRelease)])
	s.opened = s.ep.Now()
	s.expiry = time.AfterFunc(s.window(), s.expire)
	return s
}

// ID is the session's public ID as it stands in paths: 22 characters of base64url,
// which never change. Safe to log.
func (s *Session) ID() string { return wire.EncodeSession(s.ep.SessionID()) }

// Done is closed when the session is over; Err then says why.
func (s *Session) Done() <-chan struct{} { return s.ep.Done() }

// Err returns nil while the session lives, then an *engine.Error.
func (s *Session) Err() error { return s.ep.Err() }

// Transport returns the kind of link that carries frames now, and how often the
// session came back after it had lost all its links: the gap between two
// exchanges does not count.
func (s *Session) Transport() (kind transport.Kind, resumed uint64) {
	s.ep.Lock()
	defer s.unlock()
	return s.kind(), s.resumed
}

// kind is the kind of link that carries frames now.
func (s *Session) kind() transport.Kind {
	if s.ep.Preferred() != 0 && s.lasting != nil {
		return transport.WS
	}
	return transport.Longpoll
}

// Note returns the application's own value of the session, which first makes.
func (s *Session) Note(first func() any) any {
	s.ep.Lock()
	defer s.unlock()
	if s.note == nil {
		s.note = first()
	}
	return s.note
}

// unlock releases ep's lock and begins the RPCs that were opened under it.
func (s *Session) unlock() {
	fresh := s.fresh
	s.fresh = streamList{}
	s.ep.Unlock()
	for st := fresh.pop(); st != nil; st = fresh.pop() {
		s.reg.serve(st)
	}
}

// role is what the endpoint asks of a Session.
type role Session

// Wake implements engine.Role.
func (r *role) Wake() {
	if r.parked != nil {
		r.parked.notify()
	}
	for _, x := range r.overtaken {
		x.notify()
	}
	if r.lasting != nil {
		r.lasting.Notify()
	}
}

// Appetite implements engine.Role.
func (r *role) Appetite() int { return (*Session)(r).appetite() }

// Over implements engine.Role: the registry forgets the session.
func (r *role) Over(why *engine.Error) {
	s := (*Session)(r)
	s.expiry.Stop()
	if why.Reason == engine.ReasonViolation {
		s.reg.violation(s, why)
	}
	s.ep.Later(func() { s.reg.remove(s, why) })
}

// Closed ends the session: the client asked for it (L6).
func (r *role) Closed() {
	r.ep.Over(&engine.Error{Reason: engine.ReasonClosed, Message: "closed by the client"})
}

// NotTaken notes that an OPEN was left for later (D6).
func (r *role) NotTaken() { r.notTaken = true }

// attach returns the batch's link and takes the batch in.
func (s *Session) attach(hello *transport.Hello, b *wire.Batch) transport.Link {
	s.ep.Lock()
	defer s.unlock()
	if s.ep.Ended() != nil { // since it was looked up
		return s.reg.refuse(b, unknown())
	}
	if s.highest > 0 && b.X > s.highest && b.Hello == nil && s.links == 0 {
		s.reg.resumes.Add(1)
		if s.lastLasting || s.away() {
			s.resumed++
			s.happened("resumed", "without a link for "+(s.ep.Now()-s.linklessSince).Round(time.Millisecond).String())
		}
	}
	s.lastLasting = hello.Kind.Lasting()
	s.reg.links[hello.Kind].Add(1)
	s.took(hello.Kind, len(hello.Batch))
	if hello.Kind.Lasting() {
		return s.attachLasting(hello, b)
	}
	return s.attachExchange(hello, b)
}

// takeHeader applies the header fields that the latest-sent batch decides.
func (s *Session) takeHeader(b *wire.Batch) {
	if b.Awaiting > s.awaiting {
		s.awaiting = b.Awaiting
		s.ep.MarkLost(func(on engine.LinkID, _ time.Duration) bool {
			return !on.Kind.Lasting() && on.Number < s.awaiting
		})
		s.ep.Wake()
	}
	if b.NowMicros < s.stated {
		return
	}
	s.stated = b.NowMicros
	if b.Prefer != s.ep.Preferred() {
		s.ep.Prefer(b.Prefer)
		s.loseLasting(b.Prefer)
		s.ep.Wake()
	}
}

// loseLasting has frames sent again that went on another lasting link than that
// of the given number.
func (s *Session) loseLasting(but uint64) {
	s.ep.MarkLost(func(on engine.LinkID, _ time.Duration) bool {
		return on.Kind.Lasting() && on.Number != but
	})
}

// takeIn takes a batch's ack and frames in. A protocol violation ends the session.
func (s *Session) takeIn(b *wire.Batch) {
	s.clock = b.NowMicros
	if b.Resend {
		s.ep.MarkLost(func(engine.LinkID, time.Duration) bool { return true })
		s.ep.Wake()
	}
	if b.Incarnation == 0 && !earlyOnly(b.Frames) {
		s.ep.Over(engine.Violation("OPEN without early before the Welcome"))
		return
	}
	if err := s.ep.Receive(b); err != nil {
		s.ep.Over(err)
		return
	}
	if s.reg.budget.Exceeded() {
		s.ep.Later(s.reg.evictOver)
	}
	if s.reg.scarce() {
		s.ep.Later(s.reg.shortenPauses)
	}
}

// earlyOnly reports whether frames may come before the Welcome (O4).
func earlyOnly(frames []wire.Frame) bool {
	for i := range frames {
		if o := frames[i].Open; frames[i].Type == wire.TypeOpen && (o == nil || !o.Early) {
			return false
		}
	}
	return true
}

// renew applies what only the highest link decides (L1, L6).
func (s *Session) renew(b *wire.Batch) {
	ahead := b.X - s.highest
	s.before = s.before<<ahead | 1<<(ahead-1)
	s.highest = b.X
	s.pause = min(time.Duration(b.PauseMillis)*time.Millisecond, s.reg.cfg.PauseMax)
}

// isFirst reports whether a link's number, which is lower than the highest, is new: a
// copy of a request may come late. What is 64 below the highest is not.
func (s *Session) isFirst(number uint64) bool {
	bit := uint64(1) << (s.highest - number - 1)
	known := bit == 0 || s.before&bit != 0
	s.before |= bit
	return !known
}

// window is how long the session lives without a link (O4, E1).
func (s *Session) window() time.Duration {
	switch {
	case !s.used:
		return s.reg.cfg.HelloWindow
	case s.pause > s.reg.cfg.ResumeWindow && s.reg.scarce(): // (D8)
		return s.reg.cfg.ResumeWindow
	case s.pause > 0:
		return s.pause
	}
	return s.reg.cfg.ResumeWindow
}

// linked counts one more link that keeps the session alive.
func (s *Session) linked() {
	s.links++
	s.ep.WakeStalled()
}

// unlinked counts one less, and begins the wait for the next one.
func (s *Session) unlinked() {
	s.links--
	if s.links == 0 && s.ep.Ended() == nil {
		s.linklessSince = s.ep.Now()
		s.expiry.Reset(s.window())
	}
}

// expire ends a session that had no link for its window (E1).
func (s *Session) expire() {
	s.ep.Lock()
	defer s.unlock()
	if s.ep.Ended() != nil || s.links > 0 {
		return
	}
	if left := s.window() - (s.ep.Now() - s.linklessSince); left > 0 {
		s.expiry.Reset(left)
		return
	}
	s.ep.Over(&engine.Error{Reason: engine.ReasonExpired, Message: "session expired: no connection for " + s.window().String()})
}

// goAwayDue reports whether the client is to be asked to move (E3).
func (s *Session) goAwayDue() bool { return !s.goAwaySent && s.reg.isDraining() }

// goAwaySpread is over how many milliseconds clients spread their move (E3).
const goAwaySpread = 1000

// header returns what every batch of the bridge carries.
func (s *Session) header(welcome bool) wire.Batch {
	h := wire.Batch{
		Incarnation: s.incarnation, Stopped: s.notTaken, WaitingBytes: uint64(s.ep.ReadyBytes()),
	}
	s.notTaken = false
	if welcome {
		h.Welcome = s.reg.welcome()
	}
	if s.reg.isDraining() {
		if !s.goAwaySent {
			s.happened("told to go elsewhere", "")
		}
		s.goAwaySent = true
		h.GoAway = &wire.GoAway{SpreadMillis: goAwaySpread}
	}
	if why := s.ep.Ended(); why != nil {
		h.Close = &wire.Close{Code: engine.CloseCode(why), Message: why.Message}
	}
	return h
}

func (r *Registry) welcome() *wire.Welcome {
	cfg := &r.cfg
	return &wire.Welcome{
		Version:          wire.HighestVersion,
		Release:          cfg.Release,
		HoldMillis:       millis(cfg.Hold),
		ResumeMillis:     millis(cfg.ResumeWindow),
		PauseMaxMillis:   millis(cfg.PauseMax),
		StreamWindow:     uint32(cfg.StreamWindow),
		SessionWindow:    uint32(cfg.SessionWindow),
		MaxMessageBytes:  uint64(cfg.MaxMessage),
		MaxBatchBytes:    uint32(cfg.MaxBatch),
		MaxMetadataBytes: uint32(cfg.MaxMetadata),
		MaxStreams:       uint32(cfg.MaxStreams),
		IgnoresTokens:    cfg.IgnoresTokens,
		MaxExchanges:     engine.MaxExchanges,
	}
}

func millis(d time.Duration) uint32 { return uint32(d.Milliseconds()) }
