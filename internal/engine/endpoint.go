package engine

import (
	"iter"
	"maps"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Endpoint is one end of a session: what either side sends and receives, apart
// from the links that carry it. Init prepares it.
//
// Done, Err, Now, Lock and the methods of Stream that say so may be called at
// any time. All else is for the endpoint's role, with the lock held.
type Endpoint struct {
	// Static after Init.
	role         Role
	epoch        time.Time   // zero of the endpoint's clock
	streamWindow tune.Window // of a stream towards here, at first
	receiveLimit int         // bytes by which windows towards here may be wider than at first, in all
	maxMessage   int         // longest message taken
	share        *Share      // of the bridge's budget; nil: none
	done         chan struct{}

	mu sync.Mutex
	// Guarded by mu.

	id [wire.IDSize]byte

	// Path is what is learnt of the way to the peer.
	Path tune.Path
	// PeerStreamWindow is the first window of a stream towards the peer.
	PeerStreamWindow int

	err           *Error // why the session is over
	out           outbox
	in            inbox
	streams       map[uint64]*Stream   // numbered and not over for the peer
	unsent        map[*Stream]struct{} // of which nothing was sent
	highest       uint64               // highest stream number used
	large         reassembly
	attached      *Lasting      // the lasting link on which frames may go
	prefer        uint64        // number of the lasting link that gets new frames (L3)
	batch         tune.Lasting  // of what is sent on a lasting link
	received      int           // message bytes received and not consumed
	widened       int           // bytes by which windows towards here are wider than at first, in all
	sessionWindow int           // limit of out.window
	turnaround    time.Duration // smoothed, between a frame on a one-shot link and its ack; 0: not measured
	creditAt      time.Duration // when readers have had a moment for what came last
	refillAt      time.Duration // when senders have had a moment since a full body left
	askedAt       time.Duration
	oneShotPassed uint32   // longest batch that got through on a one-shot link, bytes (see longestPassed)
	lastingPassed uint32   // and on a lasting one
	oneShotLimit  uint32   // of the last batch for a one-shot link, bytes
	oneShots      uint8    // in flight
	kick          bool     // links are to be woken in Unlock
	looking       bool     // a look for room in the budget is due (D4)
	after         []func() // what Unlock runs without the lock

	firstSent [4]*sentFrame // the room for out.sent, mostly
	firstTurn [2]*Stream    // the room for out.turn, mostly
}

// Config configures an Endpoint. All fields but Share are required.
type Config struct {
	Role             Role
	ID               [wire.IDSize]byte
	Epoch            time.Time // zero of the endpoint's clock
	StreamWindow     int       // first window of a stream towards here, bytes
	MaxStreamWindow  int       // most that it grows to
	ReceiveWindow    int       // most by which all of a session's windows together grow
	PeerStreamWindow int       // first window of a stream towards the peer, bytes
	SessionWindow    int       // most bytes of frames sent and not acked
	MaxMessage       int       // longest message taken, bytes
	Share            *Share    // of the bridge's budget; nil: none
}

// Init prepares the endpoint.
func (e *Endpoint) Init(cfg Config) {
	*e = Endpoint{
		role: cfg.Role, epoch: cfg.Epoch,
		streamWindow: tune.Window{Size: cfg.StreamWindow, Min: min(cfg.StreamWindow, floorWindow), Max: cfg.MaxStreamWindow},
		receiveLimit: cfg.ReceiveWindow, PeerStreamWindow: cfg.PeerStreamWindow, maxMessage: cfg.MaxMessage,
		share: cfg.Share, done: make(chan struct{}),
		batch: tune.Lasting{Size: tune.FirstBatch, Max: tune.MaxLasting}, lastingPassed: tune.FirstBatch,
	}
	e.SetID(cfg.ID)
	e.SetSessionWindow(cfg.SessionWindow)
	e.out.share = cfg.Share
	e.out.sent.items, e.out.turn.items = e.firstSent[:0], e.firstTurn[:0]
}

// SetSessionWindow sets how many bytes may be sent and not acked at most (D2): two
// frames at least.
func (e *Endpoint) SetSessionWindow(n int) {
	e.sessionWindow = max(n, 2*frameRoom)
	e.followPath()
}

// Exchanges that a client has in flight (section 5): always as many as MinExchanges,
// and MaxExchanges at most.
const (
	MinExchanges = 2
	MaxExchanges = 8
)

// OneShots notes how many one-shot links are in flight.
func (e *Endpoint) OneShots(n int) { e.oneShots = uint8(min(max(n, MinExchanges), MaxExchanges)) }

// firstSessionWindow is the session's window before more is known of the path.
const firstSessionWindow = 1 << 20

// followPath lets as much be sent and not acked as fills the path twice (D2): the
// bodies in flight, and as many whose acks are under way.
func (e *Endpoint) followPath() {
	e.out.window = min(e.sessionWindow, max(firstSessionWindow, 2*e.Path.MaxInFlight(), 2*int(e.oneShots)*int(e.oneShotLimit)))
}

// bodyLength is how many bytes one batch, or a good part of what may be in flight,
// takes on the link that frames go on: as much is worth having ready of a stream.
func (e *Endpoint) bodyLength() int {
	if e.Carries() {
		return min(e.Path.MaxInFlight()/4, tune.MaxBatch)
	}
	return int(e.oneShotLimit)
}

// leavesAtOnce is how many bytes links may take at once: on one-shot links all bodies
// in flight, but of more than two one that is on its way meanwhile.
func (e *Endpoint) leavesAtOnce() int {
	if e.Carries() {
		return e.bodyLength()
	}
	return max(int(e.oneShots)-1, MinExchanges) * e.bodyLength()
}

// roundTrip is the round-trip time that windows go by; 0: not measured.
func (e *Endpoint) roundTrip() time.Duration {
	if rtt := e.Path.SmoothedRTT(); rtt > 0 {
		return rtt
	}
	return e.turnaround
}

// RTT is the round-trip time to the peer, smoothed: on a lasting link as its acks
// tell it, else between a frame and its ack. 0: not measured.
func (e *Endpoint) RTT() time.Duration { return e.roundTrip() }

// maxTurnaround bounds what a wait of the peer's adds to a turnaround.
const maxTurnaround = time.Second

// turned takes the time between a frame on a one-shot link and its ack.
func (e *Endpoint) turned(d time.Duration) {
	d = min(d, maxTurnaround)
	if e.turnaround == 0 {
		e.turnaround = d
	}
	e.turnaround += (d - e.turnaround) / 8
}

// widen has windows towards here be n bytes wider in all, if there is room; less
// than 0: narrower.
func (e *Endpoint) widen(n int) bool {
	if n > 0 && e.widened+n > e.receiveLimit || !e.share.widen(n) {
		return false
	}
	e.widened += n
	return true
}

// SetID gives the session another ID, before the peer knows of it.
func (e *Endpoint) SetID(id [wire.IDSize]byte) { e.id = id }

// SessionID returns the session's ID as it stands in batches. Read-only.
func (e *Endpoint) SessionID() []byte { return e.id[:] }

// Done is closed when the session is over; Err then says why.
func (e *Endpoint) Done() <-chan struct{} { return e.done }

// Err returns nil while the session lives, then an *Error.
func (e *Endpoint) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		return nil
	}
	return e.err
}

// Now reads the endpoint's clock.
func (e *Endpoint) Now() time.Duration { return time.Since(e.epoch) }

// Time returns the time at which the endpoint's clock shows t.
func (e *Endpoint) Time(t time.Duration) time.Time { return e.epoch.Add(t) }

// Lock takes the endpoint's lock.
func (e *Endpoint) Lock() { e.mu.Lock() }

// Unlock releases the lock after a change: it wakes links, and runs what Later
// put off.
func (e *Endpoint) Unlock() {
	if e.kick {
		e.kick = false
		e.role.Wake()
	}
	after := e.after
	e.after = nil
	e.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// Later runs f once the lock is free.
func (e *Endpoint) Later(f func()) { e.after = append(e.after, f) }

// Wake has Unlock wake the links that may have something to send.
func (e *Endpoint) Wake() { e.kick = true }

// wakeFor is Wake for what was queued on a stream. A corked one does not wake
// links: it waits for more.
func (e *Endpoint) wakeFor(st *Stream) {
	if !st.corked {
		e.Wake()
	}
}

func (e *Endpoint) wakeIfGranting() {
	if len(e.out.grants) > 0 {
		e.Wake()
	}
}

// letOthersQueue yields once, so that other goroutines can add to the batch that
// is about to be built. It frees the lock meanwhile.
func (e *Endpoint) letOthersQueue() {
	if e.expectsMore() {
		e.yield()
	}
}

// LetOthersConsume yields once if messages wait to be taken, so that the batch that
// is about to be built can give credit for them. It frees the lock meanwhile.
func (e *Endpoint) LetOthersConsume() {
	if e.received > 0 {
		e.yield()
	}
}

func (e *Endpoint) yield() {
	e.mu.Unlock()
	runtime.Gosched()
	e.mu.Lock()
}

// expectsMore reports whether there is an RPC that may have more to send.
func (e *Endpoint) expectsMore() bool {
	if len(e.streams) > 1 {
		return true
	}
	for _, st := range e.streams {
		return !st.done && !st.send.closed
	}
	return false
}

// Ended returns why the session is over; nil while it lives.
func (e *Endpoint) Ended() *Error { return e.err }

// Over ends the session: its role ends the RPCs and says so to the peer, and what
// is held for them is dropped. The first call counts.
func (e *Endpoint) Over(why *Error) {
	if e.err != nil {
		return
	}
	e.err = why
	close(e.done)
	e.role.Over(why)
	for _, st := range e.streams {
		st.cancel(why)
		signal(st.readable)
		st.DropSend()
		st.DropReceived()
	}
	e.out.drop()
	e.in.drop(e.share)
	e.Wake()
}

// Streams ranges over the RPCs that have a number and are not over for the peer.
func (e *Endpoint) Streams() iter.Seq[*Stream] { return maps.Values(e.streams) }

// NumStreams is how many RPCs have a number and are not over for the peer.
func (e *Endpoint) NumStreams() int { return len(e.streams) }

// Unsent ranges over the RPCs of which nothing was sent, in no order.
func (e *Endpoint) Unsent() iter.Seq[*Stream] { return maps.Keys(e.unsent) }

// NumUnsent is how many RPCs there are of which nothing was sent.
func (e *Endpoint) NumUnsent() int { return len(e.unsent) }

// Opened is how many RPCs got a number.
func (e *Endpoint) Opened() uint64 { return e.highest }

// number gives a stream its number when its OPEN is first sent.
func (e *Endpoint) number(st *Stream) {
	e.highest++
	delete(e.unsent, st)
	e.add(st, e.highest)
}

func (e *Endpoint) add(st *Stream, id uint64) {
	st.id = id
	if e.streams == nil {
		e.streams = make(map[uint64]*Stream)
	}
	e.streams[id] = st
}

// forget removes a stream that is over for the peer and for its owner (D5).
func (e *Endpoint) forget(st *Stream) {
	if !st.ended || st.kept {
		return
	}
	delete(e.streams, st.id)
	if len(e.streams) == 0 {
		e.streams = nil
	}
}

// hold accounts for received message bytes kept (n > 0) or consumed (n < 0).
func (e *Endpoint) hold(n int) {
	e.received += n
	e.share.Hold(n)
}

// BytesHeld is how many bytes of messages are held, sent or received.
func (e *Endpoint) BytesHeld() int { return e.out.bytes + e.received }

// scarce reports whether each stream is to go on message by message: much waits
// in the outbox (D6), or for the whole principal (D8).
func (e *Endpoint) scarce() bool { return e.out.full() || e.share.Tight() }

// congested reports whether Stream.Send is to wait: nothing of what is ready can
// be sent soon, or there is no room in the budget (D8).
func (e *Endpoint) congested() bool {
	return e.share.Tight() && e.out.bytesInFlight > LinklessOutbox || e.out.ready > e.role.Appetite()
}

// LinklessOutbox is what a session without a link still takes (D8).
const LinklessOutbox = 64 << 10

// Unlimited is more than any limit of bytes, and keeps sums within an int.
const Unlimited = min(1<<40, math.MaxInt>>2)

// WakeStalled lets Sends that wait for room in the outbox look again.
func (e *Endpoint) WakeStalled() {
	if e.congested() {
		return
	}
	for e.out.stalled.len() > 0 {
		signal(e.out.stalled.pop().writable)
	}
}

// LivesMask covers the part of an incarnation that counts the sessions of a
// bridge's instance: a session that is made again after it expired has another
// (O3). The rest names the instance.
const LivesMask = 1<<32 - 1
