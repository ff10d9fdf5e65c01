package tune

// Lasting learns how long the batches may be that lasting links let through. That
// a link breaks says nothing of lengths; a length counts as refused when links
// broke several times in a row with batches under way that were longer than all
// that had got through on them, and none as long got through in between. Of those over
// FirstBatch one link that broke is enough, and they are not tried again.
type Lasting struct {
	Size int // longest, bytes
	Max  int // longest that Size grows to

	suspected int   // shortest batch that does
	ceiling   int   // length that was refused; 0: none was
	breaks    int16 // links in a row whose break a length explains
	wait      int16 // batches that have to get through before the ceiling is tried
	clean     int16 // those that did
	barren    int16 // links in a row that broke with all that was sent on them unacked
}

const (
	maxBreaks       = 3
	maxBarren       = 2
	minLastingWait  = 4
	maxLastingWait  = 64
	nearlySuspected = 4 // a batch that lacks less than a 4th disproves a length
)

// Opened notes that a link was opened. It reports whether only one batch is to be
// in flight until something is acked on it: links broke before.
func (l *Lasting) Opened() bool { return l.barren >= maxBarren }

// Passed notes that a batch of n bytes was acked.
func (l *Lasting) Passed(n int) {
	if n >= l.suspected-l.suspected/nearlySuspected {
		l.breaks, l.suspected = 0, 0
	}
	if n >= l.ceiling-l.ceiling/nearlySuspected {
		l.ceiling = 0
	}
	if l.Size == l.Max || n <= l.Size/2 || l.barren >= maxBarren || l.ceiling > 0 && l.Size >= l.ceiling {
		return
	}
	if l.clean++; l.ceiling > 0 && l.clean < l.wait {
		return
	}
	l.clean = 0
	l.Size = min(2*l.Size, l.Max)
}

// Acked notes how many bytes were acked on a link so far.
func (l *Lasting) Acked(n int) {
	if n >= minInFlight {
		l.barren = 0
	}
}

// Broke notes that a link broke on which so many bytes had been acked, and on which
// the shortest batch under way that was longer than all that had got through has n
// bytes; 0: there was none.
func (l *Lasting) Broke(acked, n int) {
	if acked == 0 && n > 0 {
		l.barren++
	}
	if n <= minBatch {
		return
	}
	if n > FirstBatch { // one break is enough: little is lost
		l.Max, l.Size = min(l.Max, FirstBatch), min(l.Size, FirstBatch)
		return
	}
	if l.suspected == 0 || n < l.suspected {
		l.suspected = n
	}
	tried := l.ceiling > 0 && n >= l.ceiling
	if l.breaks++; l.breaks < maxBreaks && !tried {
		return
	}
	if tried {
		l.wait = min(2*l.wait, maxLastingWait)
	} else {
		l.wait = minLastingWait
	}
	l.ceiling, l.clean = l.suspected, 0
	l.Size = max(min(l.Size, l.suspected)/2, minBatch)
	l.suspected = l.Size
}
