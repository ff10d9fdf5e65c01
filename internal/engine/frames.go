package engine

import (
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// Receive takes a batch in: its ack, then its frames in order (D1). An error is
// a protocol violation, for which the session is to end.
func (e *Endpoint) Receive(b *wire.Batch) *Error {
	if b.Ack > e.out.acked && !e.takeAck(b.Ack) {
		return Violation("ack of frame %d, but only %d were sent", b.Ack, e.out.lastSeq())
	}
	now := e.Now()
	for i := range b.Frames {
		if !e.in.accept(&b.Frames[i], now, e.share) {
			continue
		}
		ok, err := e.takeInOrder(b.Frames[i])
		if err != nil || e.err != nil {
			return err
		}
		if !ok {
			e.in.dropped = max(e.in.dropped, b.Frames[len(b.Frames)-1].Seq)
			break
		}
	}
	if len(b.Frames) > 0 {
		e.askedAt, e.creditAt = 0, now+creditWait
		e.Wake()
	}
	return nil
}

// takeAck drops what the peer has taken. It reports false for what was never
// sent.
func (e *Endpoint) takeAck(seq uint64) bool {
	now, link := e.Now(), e.attached
	ok := e.out.ack(seq, now, func(f *sentFrame) {
		passed := e.longestPassed(f.on.Kind)
		*passed = max(*passed, uint32(f.ends))
		if !link.remove(f) {
			if f.once && !f.on.Kind.Lasting() {
				e.turned(now - f.at)
			}
			return
		}
		link.delivered(f)
		if f.once {
			delivered, took := e.out.latest.since(f.then, f.at)
			e.Path.Sample(now, now-f.at, f.cost, delivered, took)
		}
	})
	if !ok {
		return false
	}
	e.followPath()
	e.WakeStalled()
	e.Wake()
	return true
}

// takeInOrder takes f and the frames behind it that were ahead of order.
// It reports false when the session takes no more for now (D6).
func (e *Endpoint) takeInOrder(f wire.Frame) (bool, *Error) {
	for {
		ok, err := e.take(&f)
		if err != nil || !ok {
			e.in.dropped = max(e.in.dropped, f.Seq)
			return false, err
		}
		e.in.taken++
		if f, ok = e.in.next(e.share); !ok {
			return true, nil
		}
	}
}

// take applies one frame. It reports false if the frame must come again later.
func (e *Endpoint) take(f *wire.Frame) (bool, *Error) {
	switch f.Type {
	case wire.TypeOpen:
		return e.takeOpen(f)
	case wire.TypeClose:
		if r, ok := e.role.(requestRole); ok {
			r.Closed()
		}
		return true, nil
	default: // a stream's
	}
	st := e.streams[f.Stream]
	if st == nil {
		return true, nil // over, or never was: ignored (D5)
	}
	switch f.Type {
	case wire.TypeMessage:
		if st.done || st.recv.ended {
			return true, nil
		}
		return true, st.takeMessage(f)
	case wire.TypeHalfClose:
		if _, ok := st.owner.(requestOwner); ok {
			st.recv.ended = true
			signal(st.readable)
		}
	case wire.TypeWindow:
		if f.Limit > st.send.limit {
			st.raise(f.Limit)
		}
	case wire.TypeCancel:
		if o, ok := st.owner.(requestOwner); ok {
			o.Cancelled()
		}
	case wire.TypeHeaders:
		if o, ok := st.owner.(responseOwner); ok {
			o.Responded(headersOf(f))
		}
	case wire.TypeEnd:
		if o, ok := st.owner.(responseOwner); ok {
			e.takeEnd(st, o, f)
		}
	default:
		if f.Critical { // a type from the future (W3)
			st.owner.Fail(BridgeEnd(StatusUnimplemented, ReasonVersion, "frame type %d is not known here", f.Type))
		}
	}
	return true, nil
}

// takeOpen starts an RPC, or leaves it for later when too much waits to be sent
// (D6).
func (e *Endpoint) takeOpen(f *wire.Frame) (bool, *Error) {
	r, ok := e.role.(requestRole)
	switch {
	case !ok:
		return false, Violation("OPEN from the bridge")
	case f.Open == nil:
		return false, Violation("OPEN frame of stream %d without its open field", f.Stream)
	case f.Stream <= e.highest:
		return false, Violation("OPEN of stream %d after that of stream %d", f.Stream, e.highest)
	case e.out.full():
		r.NotTaken()
		return false, nil
	}
	e.highest = f.Stream
	r.Open(f.Stream, f.Open)
	return true, nil
}

func (e *Endpoint) takeEnd(st *Stream, o responseOwner, f *wire.Frame) {
	delete(e.streams, st.id)
	st.ended = true
	if st.done {
		return // given up before
	}
	st.DropSend()
	var end wire.End
	if f.End != nil {
		end = *f.End
	}
	o.Ended(end)
}

func headersOf(f *wire.Frame) []wire.Metadatum {
	if f.Headers == nil {
		return nil
	}
	return f.Headers.Metadata
}

// takeMessage takes a MESSAGE frame.
func (st *Stream) takeMessage(f *wire.Frame) *Error {
	r := &st.recv
	if f.First && r.part != nil {
		return Violation("stream %d: a message begins before the end of the one before it", st.id)
	}
	if !f.First && r.part == nil {
		return Violation("stream %d: a fragment of a message that has no beginning", st.id)
	}
	if len(f.Data) > wire.MaxFragment {
		return Violation("stream %d: fragment of %d bytes exceeds the limit of %d", st.id, len(f.Data), wire.MaxFragment)
	}
	if f.First {
		r.charged += wire.FrameCost
		if f.Length > uint64(st.ep.maxMessage) {
			st.owner.Fail(BridgeEnd(StatusResourceExhausted, ReasonLimit,
				"message of %d bytes is over the limit of %d", f.Length, st.ep.maxMessage))
			return nil
		}
		st.beginMessage(int(f.Length))
	}
	r.charged += uint64(len(f.Data))
	if r.charged > r.limit {
		return Violation("stream %d: %d bytes beyond the window's limit of %d", st.id, r.charged-r.limit, r.limit)
	}
	m := r.part
	if len(f.Data) == 0 && m.length > 0 {
		return Violation("stream %d: empty fragment of a message of %d bytes", st.id, m.length)
	}
	if m.got+len(f.Data) > m.length {
		return Violation("stream %d: %d bytes of a message of %d", st.id, m.got+len(f.Data), m.length)
	}
	if len(f.Data) > 0 {
		m.pieces = append(m.pieces, f.Data)
		m.got += len(f.Data)
		st.ep.hold(len(f.Data))
	}
	if m.got == m.length {
		r.part = nil
		r.queue.push(m)
		signal(st.readable)
		return nil
	}
	st.extend()
	return nil
}

// askAgain is how long a request to send frames again has for its answer.
const askAgain = time.Second

// asks reports whether dropped frames are to be asked for (D1, D6).
func (e *Endpoint) asks() bool { return e.in.hasGap() && !e.out.full() }

// AsksNow reports whether a batch should be sent to ask for dropped frames.
func (e *Endpoint) AsksNow() bool {
	return e.asks() && (e.askedAt == 0 || e.Now() >= e.askedAt+askAgain)
}

// askIfDue returns the header field `resend` of the batch that is being built.
func (e *Endpoint) askIfDue() bool {
	if !e.asks() {
		return false
	}
	e.askedAt = e.Now()
	return true
}
