package wire

import "fmt"

// Head is what a batch says of where it belongs, in fields that never change (W2).
type Head struct {
	Session     []byte
	X           uint64
	Incarnation uint64 // 0: none, as before the Welcome (O2)
}

// Instance returns what names the bridge in the incarnation (O2). 0: none.
func (h Head) Instance() uint32 { return uint32(h.Incarnation >> 32) }

// ParseHead reads the head of the one batch, in its envelope, that src is. Session
// aliases src. The frames are not looked at: a batch with a head may be garbled
// beside. The error is as ParseBatch's.
func ParseHead(src []byte) (Head, error) {
	body, err := open(src)
	if err != nil {
		return Head{}, err
	}
	var h Head
	r := reader{rest: body}
	for r.next() {
		switch r.tag {
		case tagBatchSession:
			h.Session = r.bytes
		case tagBatchX:
			h.X = r.num
		case tagBatchIncarnation:
			h.Incarnation = r.num
		}
	}
	if r.err != nil {
		return Head{}, fmt.Errorf("%w: body: %w", ErrGarbled, r.err)
	}
	return h, nil
}
