package session

import "time"

// uplinkTuner learns how long the bodies may be that this network lets up.
// Refused counts what was said to be too long, or broke without a status and is
// longer than what got through; any other failure only in a row, and only where
// exchanges without frames get through.
type uplinkTuner struct {
	size, most int
	passed     int // longest that got through
	ceiling    int // that was refused; 0: none was
	wait       int // bodies that have to get through before the ceiling is tried
	clean      int // that did
	doubts     int // failures in a row that may be due to the length, one more once an exchange without frames got through
	doubted    int // shortest of these
}

const (
	leastUplink = 1 << 10
	// plainFloor is the shortest body of which one break is proof enough.
	plainFloor  = 32 << 10
	mostDoubts  = 3
	leastWait   = 8
	mostWait    = 64
	trialFilled = 4 // a trial is a body that leaves less than a 4th of the size free
)

// took notes that a body of n bytes was acked after d.
func (t *uplinkTuner) took(n int, d time.Duration) {
	t.passed = max(t.passed, n)
	if n >= t.doubted {
		t.doubts = 0
	}
	switch {
	case n <= t.size/2 || d >= quickAck:
		return
	case t.trying():
		if n <= t.size-t.size/trialFilled {
			return
		}
		t.ceiling = 0
	case t.ceiling > 0:
		if t.clean++; t.clean < t.wait {
			return
		}
		t.clean = 0
	}
	t.size = min(t.size*2, t.most)
}

// trying tells that bodies may be as long as one that was refused.
func (t *uplinkTuner) trying() bool { return t.ceiling > 0 && t.size >= t.ceiling }

// refused notes that n bytes were too many.
func (t *uplinkTuner) refused(n int) {
	t.doubts = 0
	half := max(n/2, leastUplink)
	if half >= t.size {
		return
	}
	wait := leastWait
	if t.trying() {
		wait = min(2*t.wait, mostWait)
	}
	if n <= t.passed {
		t.passed = 0 // on another network
	}
	t.size, t.ceiling, t.wait, t.clean = half, 2*half, wait, 0
}

// broke notes that n bytes had no answer at all.
func (t *uplinkTuner) broke(n int) {
	if n > t.passed && (n > plainFloor || t.trying()) {
		t.refused(n)
		return
	}
	t.doubt(n)
}

// doubt notes that n bytes failed in a way that says nothing of their length.
func (t *uplinkTuner) doubt(n int) {
	if n <= leastUplink {
		return
	}
	if t.doubts > mostDoubts {
		t.refused(n)
		return
	}
	if t.doubts == 0 {
		t.doubted = n
	}
	t.doubted = min(t.doubted, n)
	t.doubts = min(t.doubts+1, mostDoubts)
}

// wantsProof tells that the next exchange is to go without frames: if that gets
// through and they again do not, they are too long.
func (t *uplinkTuner) wantsProof() bool { return t.doubts == mostDoubts }

// proof is the outcome of that exchange.
func (t *uplinkTuner) proof(ok bool) {
	t.doubts = 0 // nothing gets through
	if ok {
		t.doubts = mostDoubts + 1
	}
}

// over notes that n bytes were too many for the bridge, which takes limit;
// 0: it did not say.
func (t *uplinkTuner) over(n, limit int) {
	if limit <= 0 || n <= limit {
		t.refused(n)
		return
	}
	t.most = max(min(t.most, limit), leastUplink)
	t.size = min(t.size, t.most)
}
