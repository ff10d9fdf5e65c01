package session

import (
	"runtime"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Session is the resumable link between one client and the bridge. Which role
// it has tells which of bridge and client is set.
type Session struct {
	// Static after construction.
	sid    string
	id     [wire.IDSize]byte
	key    [wire.KeySize]byte
	epoch  time.Time // zero of the session's clock
	bridge *bridgeSide
	client *clientSide

	streamWindow int // first window of a stream towards here
	maxMessage   int // longest message taken
	done         chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	err              *Error // why the session is over
	out              outbox
	filling          filler // of the batch that is being built
	building         wire.Builder
	in               inbox
	streams          map[uint64]*Stream // numbered and not over for the peer
	highest          uint64             // highest stream number used
	peerStreamWindow int
	large            reassembly
	path             tune.Path
	batch            tune.Batch    // of what is sent on a WebSocket
	received         int           // message bytes received and not consumed
	asked            time.Duration // when dropped frames were last asked for; 0: not since frames came
	kick             bool          // links are to be woken in unlock
	fresh            streamList    // whose Handles unlock begins
	after            []func()      // what unlock runs without the lock
}

// ID is the session's public ID as it stands in paths: 22 characters of
// base64url. Safe to log.
func (s *Session) ID() string { return s.sid }

// Done is closed when the session is over; Err then says why.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is nil while the session lives, then an *Error.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil
	}
	return s.err
}

// now reads the session's clock.
func (s *Session) now() time.Duration { return time.Since(s.epoch) }

// wake makes unlock wake the links that may have something to do.
func (s *Session) wake() { s.kick = true }

// wakeFor is wake for what was queued on a stream: nobody need know of what
// waits for more.
func (s *Session) wakeFor(st *Stream) {
	if !st.corked {
		s.wake()
	}
}

func (s *Session) wakeIfGranting() {
	if len(s.out.grants) > 0 {
		s.wake()
	}
}

// later runs f once the lock is free.
func (s *Session) later(f func()) { s.after = append(s.after, f) }

// unlock releases mu after a change: it wakes links and does what was put off.
func (s *Session) unlock() {
	if s.kick {
		s.kick = false
		s.wakeLinks()
	}
	fresh, after := s.fresh, s.after
	s.fresh, s.after = streamList{}, nil
	s.mu.Unlock()
	for st := fresh.pop(); st != nil; st = fresh.pop() {
		s.bridge.reg.serve(st)
	}
	for _, f := range after {
		f()
	}
}

func (s *Session) wakeLinks() {
	if s.bridge != nil {
		s.bridge.wake()
		return
	}
	s.client.wake()
}

// letQueue lets who else is about to queue something go first, so that it goes
// with the same batch. It frees the lock meanwhile.
func (s *Session) letQueue() {
	if !s.expects() {
		return
	}
	s.mu.Unlock()
	runtime.Gosched()
	s.mu.Lock()
}

// expects tells that there is an RPC which may have more to say.
func (s *Session) expects() bool {
	if len(s.streams) > 1 {
		return true
	}
	for _, st := range s.streams {
		return !st.done && !st.send.closed
	}
	return false
}

// hold accounts for received message bytes kept (n > 0) or consumed (n < 0).
func (s *Session) hold(n int) {
	s.received += n
	if s.bridge != nil {
		s.bridge.reg.buffered.Add(int64(n))
	}
}

// scarce tells that each stream is to go on message by message: much waits in
// the outbox (D6) or in the whole bridge (D8).
func (s *Session) scarce() bool { return s.out.full() || s.tight() }

// tight tells that the bridge is at the edge of its budget (D8).
func (s *Session) tight() bool { return s.bridge != nil && s.bridge.reg.tight() }

// congested tells Stream.Send to wait: there is no link to send on, or no room
// in the budget (D8).
func (s *Session) congested() bool {
	return s.tight() && s.out.flying > linklessOutbox || s.bridge != nil && s.bridge.links == 0 && s.out.ready > s.bridge.appetite()
}

// linklessOutbox is what a session without a link still takes (D8).
const linklessOutbox = 64 << 10

// betweenPolls is how long the gap between two polls may be.
const betweenPolls = 2 * time.Second

// wakeStalled lets Sends that wait for room in the outbox look again.
func (s *Session) wakeStalled() {
	if s.congested() {
		return
	}
	for s.out.stalled.len() > 0 {
		signal(s.out.stalled.pop().writable)
	}
}

// receive takes a batch in: its ack, then its frames in order (D1). An error
// is a breach.
func (s *Session) receive(b *wire.Batch) *Error {
	if b.Ack > s.out.acked && !s.acked(b.Ack) {
		return breach("ack of frame %d, only %d were sent", b.Ack, s.out.lastSeq())
	}
	for i := range b.Frames {
		if !s.in.accept(&b.Frames[i]) {
			continue
		}
		ok, err := s.takeInOrder(b.Frames[i])
		if err != nil || s.err != nil {
			return err
		}
		if !ok {
			s.in.dropped = max(s.in.dropped, b.Frames[len(b.Frames)-1].Seq)
			break
		}
	}
	if len(b.Frames) > 0 {
		s.asked = 0
		s.wake()
	}
	return nil
}

// askAgain is how long a request to send frames again has for its answer.
const askAgain = time.Second

// asks tells that dropped frames are to be asked for (D1, D6).
func (s *Session) asks() bool { return s.in.lacks() && !s.out.full() }

// asksNow tells that a batch should be sent for it.
func (s *Session) asksNow() bool {
	return s.asks() && (s.asked == 0 || s.now() >= s.asked+askAgain)
}

// askIfDue is the header field `resend` of the batch that is being built.
func (s *Session) askIfDue() bool {
	if !s.asks() {
		return false
	}
	s.asked = s.now()
	return true
}

// takeInOrder takes f and the frames behind it that were ahead of order.
// It reports false when the session takes no more for now (D6).
func (s *Session) takeInOrder(f wire.Frame) (bool, *Error) {
	for {
		ok, err := s.take(&f)
		if err != nil || !ok {
			s.in.dropped = max(s.in.dropped, f.Seq)
			return false, err
		}
		s.in.taken++
		if f, ok = s.in.next(); !ok {
			return true, nil
		}
	}
}

// acked drops what the peer has taken. It reports false for what was never
// sent.
func (s *Session) acked(seq uint64) bool {
	now, socket := s.now(), s.socketFlight()
	ok := s.out.ack(seq, now, func(f *sentFrame) {
		if !socket.remove(f) {
			return
		}
		socket.acked(f.cost, &s.batch)
		if f.once {
			delivered, took := s.out.latest.since(f.then, f.at)
			s.path.Sample(now, now-f.at, delivered, took)
		}
	})
	if !ok {
		return false
	}
	s.wakeStalled()
	s.wake()
	return true
}

// fits tells that a WebSocket with that flight takes more frames.
func (s *Session) fits(fl *flight) bool {
	return roomFor(fl.flying, s.bound()) || s.out.gapped()
}

// bound is the most that should be in flight on a WebSocket. After one has
// broken it is a batch, so that something is acked before the next breaks.
func (s *Session) bound() int {
	if s.batch.Reduced() {
		return s.batch.Size
	}
	return s.path.MaxInFlight() + frameRoom // the last frame may go beyond it
}

// batchBound is how long a WebSocket's batch may be: a quarter of what may be
// in flight, since nothing of a batch is acked before its end. With halves the
// path would stand idle, and be taken for a slower one.
func (s *Session) batchBound() int {
	if s.batch.Reduced() {
		return s.batch.Size
	}
	return min(s.batch.Size, s.path.MaxInFlight()/4)
}

func (s *Session) socketFlight() *flight {
	if s.bridge != nil {
		return s.bridge.flight()
	}
	return s.client.flight()
}

// take applies one frame, in order. It reports false if the frame must come
// again later.
func (s *Session) take(f *wire.Frame) (bool, *Error) {
	switch f.Type {
	case wire.TypeOpen:
		return s.takeOpen(f)
	case wire.TypeClose:
		s.takeClose(f)
		return true, nil
	default: // a stream's
	}
	st := s.streams[f.Stream]
	if st == nil {
		return true, nil // over, or never was: ignored (D5)
	}
	switch f.Type {
	case wire.TypeMessage:
		if st.done || st.recv.ended {
			return true, nil
		}
		return true, st.onMessage(f)
	case wire.TypeHalfClose:
		s.takeHalfClose(st)
	case wire.TypeWindow:
		if f.Limit > st.send.limit {
			st.send.limit = f.Limit
			st.activate()
		}
	case wire.TypeCancel:
		s.takeCancel(st)
	case wire.TypeHeaders:
		s.takeHeaders(st, f)
	case wire.TypeEnd:
		s.takeEnd(st, f)
	default:
		s.takeUnknown(st, f)
	}
	return true, nil
}

// takeHalfClose ends what the client sends. From a bridge it means nothing: there
// END ends all.
func (s *Session) takeHalfClose(st *Stream) {
	if s.bridge == nil {
		return
	}
	st.recv.ended = true
	signal(st.readable)
}

// takeUnknown applies rule W3 to a frame type from the future.
func (s *Session) takeUnknown(st *Stream, f *wire.Frame) {
	if f.Critical {
		st.fail(bridgeEnd(statusUnimplemented, ReasonVersion, "frame type %d is not known here", f.Type))
	}
}

func (s *Session) takeHeaders(st *Stream, f *wire.Frame) {
	if s.client == nil || st.answer {
		return
	}
	if f.Headers != nil {
		st.headers = f.Headers.Metadata
	}
	st.answer = true
	close(st.answered)
}

func (s *Session) takeEnd(st *Stream, f *wire.Frame) {
	if s.client == nil {
		return
	}
	delete(s.streams, st.id)
	st.ended = true
	if st.done {
		return // given up before
	}
	end := wire.End{}
	if f.End != nil {
		end = *f.End
	}
	st.dropQueue()
	st.finish(end)
	s.client.refused(&end)
}

// filler gives the filler for a batch on a link.
func (s *Session) filler(b *wire.Builder, on carriage, limit, room int) *filler {
	s.filling = filler{
		s: s, o: &s.out, b: b, on: on, now: s.now(), max: limit, room: room, socket: s.socketFlight(),
	}
	return &s.filling
}

// number gives a stream its number when its OPEN is first sent.
func (s *Session) number(st *Stream) {
	s.highest++
	st.id = s.highest
	s.streams[st.id] = st
	delete(s.client.unsent, st)
}

// endSent forgets a stream whose END has left.
func (s *Session) endSent(st *Stream) {
	st.ended = true
	s.forget(st)
}

// forget removes a stream that is over for the peer and for Handle (D5).
func (s *Session) forget(st *Stream) {
	if st.ended && !st.serving {
		delete(s.streams, st.id)
		if len(s.streams) == 0 {
			s.streams = nil
		}
	}
}

// holdsBack tells that a stream may not be sent yet (O4, O5).
func (s *Session) holdsBack(st *Stream) bool {
	return s.client != nil && (!s.client.welcomed() && !st.request.Early || s.client.token.fetching)
}

// dropAll lets go of every byte when the session is over.
func (s *Session) dropAll() {
	for _, st := range s.streams {
		st.dropQueue()
		st.dropReceived()
	}
	for s.out.sent.len() > 0 {
		f := s.out.sent.pop()
		if f.msg != nil {
			s.out.hold(-len(f.Data))
			f.msg.pending--
			f.msg.dropped = true
			f.msg.settle()
		}
		freeFrame(f)
	}
	for s.out.stalled.len() > 0 {
		signal(s.out.stalled.pop().writable)
	}
	s.out.turn.reset()
	s.out.flying, s.out.lost, s.out.cancels, s.out.grants = 0, 0, nil, nil
	s.in.ahead = nil
}
