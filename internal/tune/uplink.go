package tune

import "time"

// Uplink learns how long the bodies may be that a network lets up. A length
// counts as refused when it was said to be too long, or when it broke without a
// status and is longer than what got through; after any other failure only in a
// row, and only where exchanges without frames get through.
type Uplink struct {
	Size int // longest, bytes
	Max  int // longest that Size grows to

	passed    int // longest that got through
	ceiling   int // length that was refused; 0: none was
	wait      int // bodies that have to get through before the ceiling is tried
	clean     int // those that did
	suspects  int // failures in a row that may be due to the length, one more once an exchange without frames got through
	suspected int // shortest of these
	inferred  int // times in a row that a frame longer than Size was found too long so
}

const (
	// MinUplink is the length that is never called too long.
	MinUplink = 1 << 10
	// minRefusable is the shortest body of which one break is proof enough.
	minRefusable = 32 << 10
	maxSuspects  = 3
	// maxInferred is how often in a row a frame must fail, and an exchange without
	// frames get through, before its length is certainly the cause. By chance that
	// happens to one in 65,000 frames at most, whatever part of all exchanges fails.
	maxInferred = 8
	minWait     = 8
	maxWait     = 64
	trialFilled = 4 // a trial is a body that leaves less than a 4th of the size free
	asLong      = 8 // a body is as long as another that is longer by less than an 8th of itself
)

// Passed notes that a body of n bytes was acked after d.
func (t *Uplink) Passed(n int, d time.Duration) {
	t.passed = max(t.passed, n)
	if n+n/asLong >= t.suspected {
		t.suspects, t.inferred = 0, 0
	}
	switch {
	case n <= t.Size/2 || d >= quickAck:
		return
	case t.trying():
		if n <= t.Size-t.Size/trialFilled {
			return
		}
		t.ceiling = 0
	case t.ceiling > 0:
		if t.clean++; t.clean < t.wait {
			return
		}
		t.clean = 0
	}
	t.Size = min(t.Size*2, t.Max)
}

// Alone reports whether only one body is to be in flight, since lengths are
// suspected or tried: two that fail together tell no more than one.
func (t *Uplink) Alone() bool { return t.suspects > 0 || t.trying() }

// trying reports whether bodies may be as long as one that was refused.
func (t *Uplink) trying() bool { return t.ceiling > 0 && t.Size >= t.ceiling }

// Learnt returns the longest body that may be sent, as another session should know
// it: one as long as was refused before, and is only tried again, does not count.
func (t *Uplink) Learnt() int {
	if t.trying() {
		return t.ceiling / 2
	}
	return t.Size
}

// Refused notes that n bytes were too many.
func (t *Uplink) Refused(n int) {
	t.suspects = 0
	if n > MaxBatch { // by a proxy, most likely, which will not change
		t.Max = MaxBatch
	}
	half := max(n/2, MinUplink)
	if half >= t.Size {
		return
	}
	wait := minWait
	if t.trying() {
		wait = min(2*t.wait, maxWait)
	}
	if n <= t.passed {
		t.passed = 0 // on another network
	}
	t.Size, t.ceiling, t.wait, t.clean = half, 2*half, wait, 0
}

// Broke notes that n bytes broke without any answer.
func (t *Uplink) Broke(n int) {
	if n-n/asLong > t.passed && (n > minRefusable || t.trying()) {
		t.Refused(n)
		return
	}
	t.Failed(n)
}

// Failed notes that n bytes failed in a way that says nothing of their length. It
// reports whether they are certainly too many.
func (t *Uplink) Failed(n int) bool {
	if n <= MinUplink {
		return false
	}
	if t.suspects > maxSuspects {
		return t.infer(n)
	}
	if t.suspects == 0 {
		t.suspected = n
	}
	t.suspected = min(t.suspected, n)
	t.suspects = min(t.suspects+1, maxSuspects)
	return false
}

// infer takes it that n bytes are too many, and reports whether that is certain: one
// frame is longer than bodies should be, and failed time and again while exchanges
// without frames got through in between.
func (t *Uplink) infer(n int) bool {
	again := n > t.Size
	t.Refused(n)
	if !again {
		return false
	}
	if t.inferred++; t.inferred == maxInferred {
		t.inferred = 0
		return true
	}
	t.suspects = maxSuspects
	return false
}

// WantsProof reports whether the next exchange is to go without frames: if that
// gets through and frames again do not, they are too long.
func (t *Uplink) WantsProof() bool { return t.suspects == maxSuspects }

// Proof takes the outcome of that exchange.
func (t *Uplink) Proof(ok bool) {
	if ok {
		t.suspects = maxSuspects + 1
		return
	}
	t.suspects, t.inferred = 0, 0 // nothing gets through
}

// OverLimit notes that n bytes were too many for the bridge, which takes limit;
// 0: it did not say.
func (t *Uplink) OverLimit(n, limit int) {
	if limit <= 0 || n <= limit {
		t.Refused(n)
		return
	}
	t.Bound(limit)
}

// Bound has bodies be no longer than the bridge takes.
func (t *Uplink) Bound(limit int) {
	t.Max = max(min(t.Max, limit), MinUplink)
	t.Size = min(t.Size, t.Max)
}
