package tune

import "time"

// Window sizes a stream's window towards its receiver, as quic-go's
// baseFlowController does (maybeAdjustWindowSize): it doubles when half of it was
// consumed in less than two round trips, since then it may be what holds the
// sender up; twice when that took one. It halves when that took sixteen.
type Window struct {
	Size     int // bytes
	Min, Max int // of Size

	epoch    time.Duration // when the last credit was given
	consumed uint64        // before
}

// From returns the window with its first epoch begun now.
func (w Window) From(now time.Duration) Window {
	w.epoch = now
	return w
}

const (
	// minWindowRTT is the round trip that a busy machine's scheduling makes.
	minWindowRTT = 10 * time.Millisecond
	// A window grows that was consumed in less than growTrips round trips, and
	// shrinks that was not in shrinkTrips.
	growTrips   = 4
	shrinkTrips = 32
)

// Next returns the size for the credit that is about to be given, where so much
// was consumed in all. It changes nothing but the epoch: the caller sets Size, if
// there is room.
func (w *Window) Next(now, rtt time.Duration, consumed uint64) int {
	took, n := now-w.epoch, consumed-w.consumed
	if n < uint64(w.Size/2) {
		return w.Size
	}
	w.epoch, w.consumed = now, consumed
	trips := float64(took) / float64(max(rtt, minWindowRTT)) * float64(w.Size) / float64(n)
	switch {
	case trips <= growTrips/2: // it surely held the sender up
		return min(4*w.Size, max(w.Max, w.Size))
	case trips < growTrips:
		return min(2*w.Size, max(w.Max, w.Size))
	case trips > shrinkTrips:
		return max(w.Size/2, min(w.Min, w.Size))
	}
	return w.Size
}
