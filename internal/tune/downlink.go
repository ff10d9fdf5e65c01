package tune

import "time"

// quickAck is how soon what was sent must be answered for more to be tried.
const quickAck = time.Second

// Downlink learns how long the answers may be that a network lets down. A length
// counts as refused when an answer was cut; after any other failure only in a row, and
// only where a short answer then gets through with more to come.
type Downlink struct {
	Size int // longest, bytes
	Max  int // longest that Size grows to

	failures int           // in a row that may be due to the length, each of an exchange that began after the last
	failed   time.Duration // when the latest was
	ceiling  int           // length that was refused so; 0: none was
	wait     int           // answers that have to get through before the ceiling is tried
	clean    int           // those that did
}

// Bound has answers be no longer than the bridge gives.
func (d *Downlink) Bound(limit int) {
	d.Max = max(min(d.Max, limit), minBatch)
	d.Size = min(d.Size, d.Max)
}

// Ask returns how long the next answer may be: short where the length is suspected.
func (d *Downlink) Ask() int {
	if d.failures >= maxSuspects {
		return minBatch
	}
	return d.Size
}

// Cut notes that an answer began and was cut.
func (d *Downlink) Cut() { d.Size = max(d.Size/2, minBatch) }

// Failed notes that an exchange that was sent then had no answer, whatever came in its
// place.
func (d *Downlink) Failed(sent, now time.Duration) {
	if d.failures == 0 || sent >= d.failed {
		d.failures, d.failed = d.failures+1, now
	}
}

// Proof notes that an answer came from which the bridge had kept back a long frame: it
// is no proof that those come which have it.
func (d *Downlink) Proof() {
	if d.failures >= maxSuspects {
		d.failures = 0
		d.refused()
	}
}

// Passed notes that an answer of n bytes came after took; more: it brought frames, or
// some wait.
func (d *Downlink) Passed(n int, took time.Duration, more bool) {
	if more && d.failures >= maxSuspects {
		d.Proof()
		return
	}
	d.failures = 0
	if n <= d.Size/2 || took >= quickAck {
		return
	}
	switch {
	case d.ceiling == 0:
	case d.trying():
		if n <= d.Size-d.Size/trialFilled {
			return
		}
		d.ceiling = 0
	default:
		if d.clean++; d.clean < d.wait {
			return
		}
		d.clean = 0
	}
	d.Size = min(2*d.Size, d.Max)
}

// trying reports whether answers may be as long as what was refused.
func (d *Downlink) trying() bool { return d.ceiling > 0 && d.Size >= d.ceiling }

func (d *Downlink) refused() {
	wait := minWait
	if d.trying() {
		wait = min(2*d.wait, maxWait)
	}
	d.Size, d.ceiling, d.wait, d.clean = max(d.Size/2, minBatch), d.Size, wait, 0
}
