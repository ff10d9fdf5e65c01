package tune

import "time"

// Batch learns how long the batches may be that a network lets through.
type Batch struct {
	Size int // longest, bytes
	Max  int // longest that Size grows to
}

// quickAck is how soon a batch must be acked for a longer one to be tried.
const quickAck = time.Second

// Failed halves the size.
func (b *Batch) Failed() { b.Size = max(b.Size/2, minBatch) }

// Grow doubles the size.
func (b *Batch) Grow() { b.Size = min(b.Size*2, b.Max) }

// Reduced reports whether batches are shorter than they might be, after a
// failure.
func (b *Batch) Reduced() bool { return b.Size < b.Max }

// Passed notes that a batch of n bytes was acked after d.
func (b *Batch) Passed(n int, d time.Duration) {
	if n > b.Size/2 && d < quickAck {
		b.Grow()
	}
}
