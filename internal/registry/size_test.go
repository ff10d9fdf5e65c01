package registry

import (
	"testing"
	"unsafe"
)

// TestSizes holds that what there is of each session, principal and RPC fits its
// class of the allocator: a byte more costs a bridge with 10,000 sessions a MiB.
func TestSizes(t *testing.T) {
	const header = 8 // the allocator's, of objects above 512 bytes
	for name, tt := range map[string]struct{ size, class uintptr }{
		"Session":     {unsafe.Sizeof(Session{}) + header, 1152},
		"principal":   {unsafe.Sizeof(principal{}), 176},
		"lastingLink": {unsafe.Sizeof(lastingLink{}), 224},
		"Stream":      {unsafe.Sizeof(Stream{}) + header, 576},
	} {
		if tt.size > tt.class {
			t.Errorf("%s: %d bytes, want %d at most", name, tt.size, tt.class)
		}
	}
}
