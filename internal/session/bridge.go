package session

import (
	"context"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// bridgeSide is the bridge's half of a Session: who it belongs to, and its
// links.
type bridgeSide struct {
	// Static after construction.
	s     *Session
	reg   *Registry
	owner string // Principal.Name
	// incarnation names this life of the session on this bridge (O2).
	incarnation uint64

	// Guarded by Session.mu.
	highX      uint64        // highest x seen (L1)
	highSocket uint64        // highest x of a WebSocket
	stated     uint64        // now_us of the batch whose prefer counts
	clock      uint64        // now_us of the batch that is taken in
	awaiting   uint64        // lowest exchange that the client waits for (L2)
	prefer     uint64        // the WebSocket that gets new frames; 0: exchanges (L3)
	poll       *poll         // the parked exchange
	socket     *socketLink   // the attached WebSocket
	links      int           // links that keep the session alive
	pause      time.Duration // the resume window that the client asked for; 0: none
	lapse      *time.Timer
	linkless   time.Duration // since when there is none
	took       int           // bytes of the last answer to an exchange
	opened     bool          // more than Hellos came (O4)
	stopped    bool          // an OPEN was not taken (D6)
	told       bool          // go_away was sent (E3)
	credential credential    // what Authenticate said last (O5)
}

// hosted is a session with its bridge's half and what an idle one mostly needs,
// in one piece of memory: small pieces that live long keep the pages that
// garbage lay on.
type hosted struct {
	session Session
	bridge  bridgeSide
	sent    [4]*sentFrame
	turn    [2]*Stream
}

func newBridgeSession(r *Registry, id [wire.IDSize]byte, key []byte, hello *wire.Hello, who Principal) *Session {
	h := new(hosted)
	s := &h.session
	*s = Session{
		sid: wire.EncodeSession(id[:]), id: id, epoch: r.epoch.Add(time.Since(r.epoch).Truncate(pingGrid)),
		streamWindow:     r.cfg.StreamWindow,
		peerStreamWindow: int(hello.StreamWindow),
		maxMessage:       r.cfg.MaxMessage,
		batch:            tune.Batch{Size: socketBatch, Max: socketBatch},
		done:             make(chan struct{}),
	}
	copy(s.key[:], key)
	s.out.window = r.cfg.SessionWindow
	s.out.onBytes = func(n int) { r.buffered.Add(int64(n)) }
	s.large = reassembly{size: 2 * s.maxMessage, global: r.large, total: reassemblyTotal(&r.cfg)}
	s.out.sent.items, s.out.turn.items = h.sent[:0], h.turn[:0]
	s.bridge = &h.bridge
	*s.bridge = bridgeSide{s: s, reg: r, owner: who.Name, credential: credential{principal: who}}
	s.bridge.lapse = time.AfterFunc(s.bridge.window(), s.bridge.onLapse)
	return s
}

// attach gives the batch's link and takes the batch in.
func (br *bridgeSide) attach(hello *transport.Hello, b *wire.Batch) transport.Link {
	s := br.s
	s.mu.Lock()
	defer s.unlock()
	if s.err != nil { // it ended since it was looked up
		return br.reg.refuse(b, unknown())
	}
	if br.highX > 0 && b.X > br.highX && b.Hello == nil && br.links == 0 {
		br.reg.resumes.Add(1)
	}
	if hello.Kind == transport.WS {
		return br.attachSocket(hello, b)
	}
	return br.attachPoll(hello, b)
}

// state applies the header fields that the latest-sent batch decides.
func (br *bridgeSide) state(b *wire.Batch) {
	if b.Awaiting > br.awaiting {
		br.awaiting = b.Awaiting
		br.s.out.markLost(func(f *sentFrame) bool { return !f.on.ws && f.on.x < br.awaiting })
		br.s.wake()
	}
	if b.NowMicros < br.stated {
		return
	}
	br.stated = b.NowMicros
	if b.Prefer != br.prefer {
		br.prefer = b.Prefer
		br.loseSockets(br.prefer)
		br.s.wake()
	}
}

// loseSockets makes frames be sent again that went on another WebSocket than x.
func (br *bridgeSide) loseSockets(x uint64) {
	br.s.out.markLost(func(f *sentFrame) bool { return f.on.ws && f.on.x != x })
}

// renew applies what only the highest link decides (L1, L6).
func (br *bridgeSide) renew(b *wire.Batch) {
	br.highX = b.X
	br.pause = min(time.Duration(b.PauseMillis)*time.Millisecond, br.reg.cfg.PauseMax)
}

// window is how long the session lives without a link (O4, E1).
func (br *bridgeSide) window() time.Duration {
	switch {
	case !br.opened:
		return br.reg.cfg.HelloWindow
	case br.pause > 0:
		return br.pause
	}
	return br.reg.cfg.ResumeWindow
}

// linked counts one more link, unlinked one less.
func (br *bridgeSide) linked() {
	br.links++
	br.s.wakeStalled()
}

func (br *bridgeSide) unlinked() {
	br.links--
	br.touch()
}

// appetite is what is worth having ready while there is no link (D8). Between
// two polls it is twice what the last answer took, so that the next one finds
// as much as the path carries.
func (br *bridgeSide) appetite() int {
	if br.away() {
		return linklessOutbox
	}
	return max(linklessOutbox, 2*br.took)
}

// away tells that there is no link, for longer than between two polls.
func (br *bridgeSide) away() bool {
	return br.links == 0 && br.s.now()-br.linkless > br.s.path.AtLeast(betweenPolls, 4)
}

// touch begins the wait for the next link.
func (br *bridgeSide) touch() {
	if br.links == 0 && br.s.err == nil {
		br.linkless = br.s.now()
		br.lapse.Reset(br.window())
	}
}

// onLapse ends a session that had no link for its window (E1).
func (br *bridgeSide) onLapse() {
	s := br.s
	s.mu.Lock()
	defer s.unlock()
	if s.err != nil || br.links > 0 {
		return
	}
	if rest := br.window() - (s.now() - br.linkless); rest > 0 {
		br.lapse.Reset(rest)
		return
	}
	s.over(&Error{Reason: ReasonExpired, Message: "no link for " + br.window().String()})
}

// over ends the session: its RPCs are cancelled, its links say why, and the
// registry forgets it. A client's session ends its RPCs with one UNAVAILABLE
// each (E2).
func (s *Session) over(why *Error) {
	if s.err != nil {
		return
	}
	s.err = why
	close(s.done)
	if s.client != nil {
		s.client.over(why)
	}
	for _, st := range s.streams {
		st.cancel(why)
		signal(st.readable)
	}
	s.dropAll()
	if br := s.bridge; br != nil {
		br.lapse.Stop()
		if why.Reason == ReasonBreach {
			br.reg.cfg.Logger.Warn("session broke a rule", "session", s.sid, "breach", why.Message)
		}
		s.later(func() { br.reg.remove(s, why.Reason) })
	}
	s.wake()
}

// takeIn takes a batch's ack and frames in. What breaks a rule ends the session.
func (br *bridgeSide) takeIn(b *wire.Batch) {
	s := br.s
	br.clock = b.NowMicros
	br.opened = br.opened || b.Incarnation != 0 || len(b.Frames) > 0
	if b.Resend {
		s.out.markLost(func(*sentFrame) bool { return true })
		s.wake()
	}
	if b.Incarnation == 0 && !earlyOnly(b.Frames) {
		s.over(breach("a frame that is not early before the Welcome"))
		return
	}
	if err := s.receive(b); err != nil {
		s.over(err)
		return
	}
	if br.reg.overfull() {
		s.later(br.reg.shed)
	}
}

// earlyOnly tells that frames may come before the Welcome (O4).
func earlyOnly(frames []wire.Frame) bool {
	for i := range frames {
		if o := frames[i].Open; frames[i].Type == wire.TypeOpen && (o == nil || !o.Early) {
			return false
		}
	}
	return true
}

// takeOpen starts an RPC, or refuses it, or leaves it for later (D6).
func (s *Session) takeOpen(f *wire.Frame) (bool, *Error) {
	br := s.bridge
	if br == nil || f.Open == nil {
		return false, breach("an OPEN that is none")
	}
	if f.Stream <= s.highest {
		return false, breach("stream %d was used before", f.Stream)
	}
	if s.out.full() {
		br.stopped = true
		return false, nil
	}
	s.highest = f.Stream
	st := newStream(s, f.Open)
	st.id = f.Stream
	// Only of a unary RPC nobody waits for the headers: a caller that streams
	// may go by them.
	st.corked = f.Open.SingleRequest && f.Open.SingleResponse
	st.send.held = st.corked
	br.contextFor(st)
	if s.streams == nil {
		s.streams = make(map[uint64]*Stream)
	}
	st.over = st.ctx.Done()
	refusal := br.refuseStream(f.Open)
	s.streams[st.id] = st
	if refusal != nil {
		st.fail(*refusal)
		return true, nil
	}
	st.serving = true
	s.fresh.push(st)
	return true, nil
}

// refuseStream applies the limits of section 7.
func (br *bridgeSide) refuseStream(o *wire.Open) *wire.End {
	cfg, s := &br.reg.cfg, br.s
	refuse := func(code uint32, reason, format string, args ...any) *wire.End {
		end := bridgeEnd(code, reason, format, args...)
		return &end
	}
	switch size := wire.MetadataSize(o.Metadata); {
	case br.credential.lapsed():
		return refuse(statusUnauthenticated, ReasonUnauthenticated, "%s", br.credential.why())
	case len(s.streams) >= cfg.MaxStreams:
		return refuse(statusResourceExhausted, ReasonLimit, "more than %d RPCs are open in this session", cfg.MaxStreams)
	case size > cfg.MaxMetadata:
		return refuse(statusResourceExhausted, ReasonLimit, "metadata of %d bytes is over the limit of %d", size, cfg.MaxMetadata)
	case br.reg.tight():
		return refuse(statusResourceExhausted, ReasonOverloaded, "the bridge's buffers are full (%d bytes)", cfg.MaxBufferedBytes)
	}
	return nil
}

// contextFor gives the stream its context, with the deadline of rule D7.
func (br *bridgeSide) contextFor(st *Stream) {
	o := st.request
	// Without a parent: the session's end is what cancels it.
	st.ctx, st.cancel = context.WithCancelCause(context.Background())
	if !o.HasTimeout {
		return
	}
	age := uint64(0)
	if br.clock > o.CreatedMicros {
		age = br.clock - o.CreatedMicros
	}
	left := time.Duration(0)
	if o.TimeoutMicros > age {
		left = time.Duration(min(o.TimeoutMicros-age, uint64(maxTimeout/time.Microsecond))) * time.Microsecond
	}
	ctx, stop := context.WithDeadlineCause(st.ctx, time.Now().Add(left),
		&Error{Reason: ReasonDeadline, Message: "deadline exceeded"})
	cancel := st.cancel
	st.ctx = ctx
	st.cancel = func(cause error) {
		cancel(cause)
		stop()
	}
}

// maxTimeout is the longest that gRPC can state, 10^8 hours, cut to what fits.
const maxTimeout = 1 << 62 * time.Nanosecond

// takeCancel applies the client's CANCEL (D5).
func (s *Session) takeCancel(st *Stream) {
	if s.bridge == nil || st.done {
		s.dropEndOnly(st)
		return
	}
	st.dropQueue()
	st.dropReceived()
	why := &Error{Reason: ReasonCancelled, Message: "cancelled by the client"}
	st.cancel(why)
	if s.fresh.remove(st) { // its OPEN came in this batch: not started
		st.serving = false
		st.end(bridgeEnd(statusCancelled, ReasonCancelled, "cancelled by the client"))
	}
}

// dropEndOnly drops what a stream that has ended still had to send, but END.
func (s *Session) dropEndOnly(st *Stream) {
	if s.bridge == nil || st.status == nil || st.send.queue.len() == 0 {
		return
	}
	st.dropQueue()
	st.enqueue(outItem{kind: wire.TypeEnd, end: st.status})
	s.wake()
}

// takeClose ends the session in order: the client asked for it (L6).
func (s *Session) takeClose(*wire.Frame) {
	if s.bridge == nil {
		return
	}
	s.over(&Error{Reason: ReasonClosed, Message: "closed by the client"})
}

func (br *bridgeSide) flight() *flight {
	if br.socket == nil {
		return nil
	}
	return &br.socket.flight
}

// wake wakes the links that may have something to say.
func (br *bridgeSide) wake() {
	if br.poll != nil {
		br.poll.wake()
	}
	if br.socket != nil {
		br.socket.look()
	}
}
