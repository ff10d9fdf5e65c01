package transporttest

import (
	"bytes"
	"context"
	"sync"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// recorder is a Carrier that keeps what it carries in mind.
type recorder struct {
	dialer.Carrier

	mu       sync.Mutex
	inFlight int
	most     int        // exchanges in flight at once
	own      wire.Batch // the session's ID, key and incarnation, as sent
	sid      string
}

func (r *recorder) mostInFlight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}

// session returns what identifies the session: its ID in paths and in batches,
// its key and its incarnation.
func (r *recorder) session() (string, wire.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sid, r.own
}

// saw keeps what identifies the session, which no two batches need hold at
// once.
func (r *recorder) saw(sid string, batch []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b wire.Batch
	if err := wire.ParseBatch(bytes.Clone(batch), &b); err != nil {
		return
	}
	r.sid = sid
	if b.Key != nil {
		r.own.Session, r.own.Key = b.Session, b.Key
	}
	if b.Incarnation != 0 {
		r.own.Incarnation = b.Incarnation
	}
}

func (r *recorder) count(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight += n
	r.most = max(r.most, r.inFlight)
}

// Exchange implements dialer.Carrier.
func (r *recorder) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	r.saw(sid, batch)
	r.count(1)
	defer r.count(-1)
	return r.Carrier.Exchange(ctx, sid, batch)
}

// Dial implements dialer.Carrier.
func (r *recorder) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	conn, err := r.Carrier.Dial(ctx, sid)
	if err != nil {
		return nil, err
	}
	return recordedConn{conn, r, sid}, nil
}

type recordedConn struct {
	dialer.Conn
	recorder *recorder
	sid      string
}

// Write implements dialer.Conn.
func (c recordedConn) Write(ctx context.Context, batch transport.Batch) error {
	c.recorder.saw(c.sid, batch.AppendTo(nil))
	return c.Conn.Write(ctx, batch)
}
