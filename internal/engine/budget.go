package engine

import (
	"context"
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
	reserved int                      // for messages being put together
	waiting  map[chan struct{}]demand // who waits for room

	numWaiting atomic.Int32 // of waiting
}

// demand is what room is awaited for.
type demand struct {
	share *Share
	bytes int
}

// NewBudget returns a Budget of limit bytes.
func NewBudget(limit int64) *Budget {
	return &Budget{limit: limit, waiting: make(map[chan struct{}]demand)}
}

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

// Init prepares the Share of one more principal.
func (s *Share) Init(b *Budget) { s.budget = b }

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
		if n < 0 && s.budget.numWaiting.Load() > 0 {
			s.budget.roomMade()
		}
	}
}

// HasRoom reports whether there is room for n bytes more: the share has it, or less
// than a quarter of the budget is used at all.
func (s *Share) HasRoom(n int) bool {
	if s == nil {
		return true
	}
	b, by := s.budget, int64(n)
	own, all := s.held.Load()+by, b.held.Load()+by
	return !OverShare(own, all, b.limit) || all-by <= b.limit/4
}

// take holds n bytes if there is room for them.
func (s *Share) take(n int) bool {
	s.Hold(n)
	if s == nil || s.HasRoom(0) || s.budget.held.Load()-int64(n) <= s.budget.limit/4 {
		return true
	}
	s.Hold(-n)
	return false
}

// await waits until it holds n bytes more. It reports false if done is closed
// before that, and returns the cause of ctx if that ends.
func (s *Share) await(ctx context.Context, done <-chan struct{}, n int) (bool, error) {
	if s.take(n) {
		return true, nil
	}
	c := make(chan struct{}, 1)
	s.budget.wait(c, &demand{s, n})
	defer s.budget.wait(c, nil)
	for !s.take(n) {
		select {
		case <-c:
		case <-done:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
	return true, nil
}

// wait has c signalled when there is room for what d says. Nil: no more.
func (b *Budget) wait(c chan struct{}, d *demand) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d == nil {
		delete(b.waiting, c)
	} else {
		b.waiting[c] = *d
	}
	b.numWaiting.Store(int32(len(b.waiting)))
}

// roomMade signals those who wait for no more than there is.
func (b *Budget) roomMade() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c, d := range b.waiting {
		if d.share.HasRoom(d.bytes) {
			signal(c)
		}
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
