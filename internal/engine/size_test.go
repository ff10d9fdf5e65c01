package engine

import (
	"testing"
	"unsafe"
)

// TestSizes holds that an unacked frame fits its class of the allocator: a client
// that is away leaves some.
func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(sentFrame{}); n > 176 {
		t.Errorf("a sentFrame has %d bytes, want 176 at most", n)
	}
}
