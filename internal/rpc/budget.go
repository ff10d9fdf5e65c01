package rpc

import (
	"sync/atomic"

	"connectrpc.com/connect/v2"
)

// budget bounds the bytes of messages that all calls together hold.
type budget struct {
	limit int64
	used  atomic.Int64
}

// take counts n bytes, and refuses them where that is over the limit.
func (b *budget) take(n int) error {
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		return connect.Errorf(connect.CodeResourceExhausted, "messages under way are over the bridge's limit of %d bytes together", b.limit)
	}
	return nil
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }
