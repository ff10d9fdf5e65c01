package engine

import (
	"sync"
	"sync/atomic"
)

// Budget bounds the bytes that all sessions of a bridge hold (D8), and a quarter as
// many for messages larger than a window that are being put together (D4). They are
// held by way of Shares.
type Budget struct {
	limit   int64
	held    atomic.Int64
	widened atomic.Int64 // bytes by which windows are wider than at first

	mu       sync.Mutex
	reserved int // for messages being put together
}

// NewBudget returns a Budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Held is how many bytes are held now.
func (b *Budget) Held() int64 { return b.held.Load() }

// Scarce reports whether three quarters are used, by whomever.
func (b *Budget) Scarce() bool { return b.held.Load() >= b.limit/4*3 }

// Exceeded reports whether more is held than there should be.
func (b *Budget) Exceeded() bool { return b.held.Load() > b.limit }

// Reserved is how many bytes are reserved for messages being put together.
func (b *Budget) Reserved() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reserved
}

// Share is what one principal holds of a Budget. A nil Share has room for
// everything.
type Share struct {
	budget   *Budget
	held     atomic.Int64
	widened  atomic.Int64
	reserved int // guarded by budget.mu
}

// NewShare returns the Share of one more principal.
func (b *Budget) NewShare() *Share { return &Share{budget: b} }

// OverShare reports whether one who has own of what all have, of which there is
// limit, has its share: three times what is left. So one alone gets three quarters,
// two get three sevenths each, and there is always something left for one more.
func OverShare(own, all, limit int64) bool { return own >= 3*(limit-all) }

// Held is how many bytes the principal holds now.
func (s *Share) Held() int64 { return s.held.Load() }

// Tight reports whether the share is used up: RPCs that are open go on slowly, new
// ones are refused. The rest is for what was granted before.
func (s *Share) Tight() bool {
	return s != nil && OverShare(s.held.Load(), s.budget.held.Load(), s.budget.limit)
}

// Hold accounts for bytes kept (n > 0) or let go (n < 0).
func (s *Share) Hold(n int) {
	if s != nil && n != 0 {
		s.held.Add(int64(n))
		s.budget.held.Add(int64(n))
	}
}

// widen has windows be n bytes wider in all, less than 0: narrower. It reports
// false if there is no room: all together they may take a quarter of the budget.
func (s *Share) widen(n int) bool {
	if s == nil {
		return true
	}
	b, by := s.budget, int64(n)
	if n > 0 && (s.Tight() || OverShare(s.widened.Load()+by, b.widened.Load()+by, b.limit/4)) {
		return false
	}
	s.widened.Add(by)
	b.widened.Add(by)
	return true
}

// reserve reserves n bytes for a message if there is room. Nothing reserved yet
// means room for any one message.
func (s *Share) reserve(n int) bool {
	if s == nil {
		return true
	}
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	limit, all := int(b.limit/4), b.reserved+n
	if b.reserved > 0 && all > limit || s.reserved > 0 && s.reserved+n > 3*(limit-all) {
		return false
	}
	b.reserved = all
	s.reserved += n
	return true
}

func (s *Share) unreserve(n int) {
	if s == nil {
		return
	}
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.budget.reserved -= n
	s.reserved -= n
}
