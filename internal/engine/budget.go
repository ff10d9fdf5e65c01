package engine

import (
	"sync"
	"sync/atomic"
)

// Budget bounds the bytes of messages that all sessions of a bridge hold (D8),
// and a quarter as many for messages larger than a window that are being put
// together (D4). A nil Budget has room for everything.
type Budget struct {
	limit int64
	held  atomic.Int64

	mu       sync.Mutex
	reserved int // for messages being put together
}

// NewBudget returns a Budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Held is how many bytes are held now.
func (b *Budget) Held() int64 { return b.held.Load() }

// Tight reports whether three quarters are used: RPCs that are open go on slowly,
// new ones are refused. The rest is for what was granted before.
func (b *Budget) Tight() bool { return b != nil && b.held.Load() >= b.limit/4*3 }

// Exceeded reports whether more is held than there should be.
func (b *Budget) Exceeded() bool { return b.held.Load() > b.limit }

// Reserved is how many bytes are reserved for messages being put together.
func (b *Budget) Reserved() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reserved
}

func (b *Budget) add(n int) {
	if b != nil && n != 0 {
		b.held.Add(int64(n))
	}
}

// reserve reserves n bytes for a message if there is room. Nothing reserved yet
// means room for any one message.
func (b *Budget) reserve(n int) bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reserved > 0 && b.reserved+n > int(b.limit/4) {
		return false
	}
	b.reserved += n
	return true
}

func (b *Budget) unreserve(n int) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved -= n
}
