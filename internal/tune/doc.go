// Package tune holds what an endpoint learns of the way to its peer: round-trip
// time and rate, how long bodies may be and how long exchanges may be held, and
// how long to wait after a failure. The learners are plain values without locks,
// clocks or goroutines: whoever owns one passes in the time, as an offset on a
// clock of its own, and guards it.
package tune

// Lengths of batches, in bytes.
const (
	FirstBatch = 64 << 10  // longest at first
	MaxLasting = 256 << 10 // longest that is tried on a lasting link
	MaxBatch   = 1 << 20   // longest that is tried on a one-shot link
	LongBatch  = 2 << 20   // longest where no more than two can be in flight
	minBatch   = 4 << 10
)
