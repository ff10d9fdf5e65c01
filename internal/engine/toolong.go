package engine

import (
	"fmt"

	"github.com/pollbridge/pollbridge/internal/tune"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// This file is for frames that are too long to get through (D5). A frame is never
// cut anew once it has its number: pieces of messages are short until longer batches
// have passed, and the RPC of a frame that is too long for a network ends.

const (
	// smallestPiece is the least cut off a message for a batch of its own: with it the
	// batch is short on every network (tune.MinUplink).
	smallestPiece = smallestCut / 2
	// firstPiece is the most cut off before longer batches have got through.
	firstPiece = 4 << 10
	// pieceMargin is how much longer than its longest piece a batch may be.
	pieceMargin = 4 * fragmentOverhead
)

// longestPiece is the most to cut off a message for a link of that kind: with it a
// batch is no longer than one that got through. Lasting links are trusted before one
// broke.
func (e *Endpoint) longestPiece(kind transport.Kind) int {
	return min(max(firstPiece, int(*e.longestPassed(kind))-pieceMargin), wire.MaxFragment)
}

// longestPassed is the length of the longest batch that got through on links of that
// kind since a long piece was lost there, in bytes.
func (e *Endpoint) longestPassed(kind transport.Kind) *uint32 {
	if kind.Lasting() {
		return &e.lastingPassed
	}
	return &e.oneShotPassed
}

const (
	// maxVain is how often a frame is sent again on lasting links in a batch that is
	// longer than any should be, before that is certain: on a bad network it may be
	// lost by chance.
	maxVain = 6
	// maxProofs is how often in a row a frame must fail, and an answer without it pass,
	// before it is certain that its length is the cause. By chance that happens to one
	// in 65,000 frames at most, whatever part of all answers is lost.
	maxProofs = 8
	// firstProof is after how many losses of a frame the first answer goes without it.
	firstProof = 2
)

// giveUp ends the RPC of a lost frame that does not get through. What is learnt of
// lengths on lasting links comes from nothing but links that broke; on exchanges a
// bridge looks at the first lost frame, once the client asks for shorter answers (see
// withholds), and what a client sends is told by the failures of exchanges. It reports whether the frame is to go alone.
func (fl *filler) giveUp(f *sentFrame, first bool) bool {
	n := wire.FrameSize(&f.Frame)
	switch {
	case fl.link.Kind.Lasting():
		if f.msg == nil && !f.metadata() || n <= fl.e.batch.Size {
			return false
		}
		if f.vain++; f.vain > maxVain {
			fl.e.refuseFrame(f, n, fmt.Sprintf("it was sent %d times", f.vain))
		}
	case first && fl.e.accepts() && f.long():
		alone := f.proofs > 0 || f.asked > 0
		if !alone && n <= fl.limit {
			return false
		}
		f.vain++
		if f.proofs < maxProofs {
			return alone
		}
		fl.e.refuseFrame(f, n, fmt.Sprintf("%d times it did not get through, and shorter responses did", maxProofs))
	}
	return false
}

// withholds reports whether an exchange is to be answered without frames, since the
// first one that the client lacks is long and was lost: the pong to this answer tells
// that short ones get through.
func (e *Endpoint) withholds(h *wire.Batch) bool {
	f := e.longGap()
	if f == nil || f.vain < firstProof || f.proofs >= maxProofs || f.asked > 0 {
		return false
	}
	f.vain, f.asked = firstProof-1, h.X
	h.Ping = h.X
	h.WaitingBytes = max(h.WaitingBytes, uint64(f.cost))
	return true
}

// Ponged takes from a request which ping of an answer it has the pong to, and which
// exchange it awaits.
func (e *Endpoint) Ponged(pong, awaiting uint64) {
	if e.out.sent.len() == 0 {
		return
	}
	f := *e.out.sent.at(0)
	switch {
	case f.asked == 0:
	case f.asked == pong:
		f.asked = 0
		f.proofs++
	case f.asked < awaiting: // that answer was lost as well
		f.asked, f.proofs = 0, 0
	}
}

// longGap is the frame that a client must take next, if that is long and was lost;
// nil: there is none.
func (e *Endpoint) longGap() *sentFrame {
	if !e.accepts() || !e.out.hasGap() {
		return nil
	}
	if f := *e.out.sent.at(0); f.long() {
		return f
	}
	return nil
}

// long reports whether a frame may be too long for a network.
func (f *sentFrame) long() bool { return f.cost > firstPiece+wire.FrameCost }

func (f *sentFrame) metadata() bool { return f.Open != nil || f.Headers != nil || f.End != nil }

// FrameRefused ends the RPC of an unacked frame that does not get through, in a
// batch of n bytes. A CANCEL takes its number, so that what is behind it goes on. A
// frame of up to tune.MinUplink is never the cause.
func (e *Endpoint) FrameRefused(seq uint64, n int, why string) {
	if seq <= e.out.acked {
		return
	}
	if f := *e.out.sent.at(int(seq - e.out.acked - 1)); f.cost > tune.MinUplink {
		e.refuseFrame(f, n, why)
	}
}

// refuseFrame is FrameRefused for a frame. A bridge's END takes its number, after
// which the client ignores what else comes of the RPC.
func (e *Endpoint) refuseFrame(f *sentFrame, n int, why string) {
	opens := f.Open != nil
	end := BridgeEnd(StatusResourceExhausted, ReasonLimit, "%s: a batch of %d bytes is too long for the network: %s", f.contents(), n, why)
	by := wire.Frame{Stream: f.Stream, Type: wire.TypeCancel}
	if e.accepts() {
		by.Type, by.End = wire.TypeEnd, &end
	}
	e.replace(f, by)
	e.replaceLost(f, by)
	st := e.streams[f.Stream]
	if st == nil {
		return
	}
	st.owner.Fail(end)
	if opens { // no END comes of what was not taken
		st.ended = true
		e.forget(st)
	}
}

// replace puts another frame in the place of an unacked one.
func (e *Endpoint) replace(f *sentFrame, by wire.Frame) {
	by.Seq = f.Seq
	e.attached.remove(f)
	e.out.replace(f, by)
	e.attached.add(f)
}

// replaceLost puts another frame in the place of the lost parts of messages of a
// refused frame's RPC: nobody wants them, and they may be as long.
func (e *Endpoint) replaceLost(refused *sentFrame, by wire.Frame) {
	for i := range e.out.sent.len() {
		if f := *e.out.sent.at(i); f.Stream == refused.Stream && f.msg != nil && f.lost {
			e.replace(f, by)
		}
	}
}

// contents says what a frame carries, for the status of its RPC.
func (f *sentFrame) contents() string {
	switch {
	case f.Open != nil:
		return "request metadata"
	case f.Headers != nil:
		return "response headers"
	case f.End != nil:
		return "trailers and status details"
	}
	return "a part of a message"
}
