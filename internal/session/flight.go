package session

import "github.com/pollbridge/pollbridge/internal/tune"

// flight is what was handed to a WebSocket and is not acked.
type flight struct {
	x      uint64
	flying int
	passed int // acked since the batches last grew
}

// growAfter is how many batches must have been acked until they grow.
const growAfter = 4

// acked notes that n bytes of the flight arrived: batches may be longer.
func (fl *flight) acked(n int, batch *tune.Batch) {
	if fl.passed += n; fl.passed >= growAfter*batch.Size {
		fl.passed = 0
		batch.Grow()
	}
}

func (fl *flight) add(f *sentFrame) {
	if fl != nil && f.on.ws && f.on.x == fl.x {
		fl.flying += f.cost
	}
}

// remove reports whether the frame was in this flight.
func (fl *flight) remove(f *sentFrame) bool {
	if fl == nil || !f.on.ws || f.on.x != fl.x {
		return false
	}
	fl.flying -= f.cost
	return true
}
