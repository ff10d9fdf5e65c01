package enginetest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/transport"
)

// middlebox is a Carrier that notes how long messages of WebSockets are, and resets a
// WebSocket with one over a limit.
type middlebox struct {
	dialer.Carrier
	limit int // bytes; 0: none

	mu      sync.Mutex
	dials   int
	longest int // message that got through, since the last of them
}

func (m *middlebox) Dial(ctx context.Context, session string) (dialer.Conn, error) {
	m.mu.Lock()
	m.dials++
	m.longest = 0
	m.mu.Unlock()
	conn, err := m.Carrier.Dial(ctx, session)
	return measuredConn{conn, m}, err
}

// pass reports whether a message of n bytes gets through.
func (m *middlebox) pass(n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.limit > 0 && n > m.limit {
		return false
	}
	m.longest = max(m.longest, n)
	return true
}

type measuredConn struct {
	dialer.Conn
	middlebox *middlebox
}

var errTooLong = errors.New("reset by a middlebox")

func (c measuredConn) Read(ctx context.Context) ([]byte, error) {
	batch, err := c.Conn.Read(ctx)
	if err == nil && !c.middlebox.pass(len(batch)) {
		c.Close()
		return nil, errTooLong
	}
	return batch, err
}

func (c measuredConn) Write(ctx context.Context, batch transport.Batch) error {
	if !c.middlebox.pass(batch.Len()) {
		c.Close()
		return errTooLong
	}
	return c.Conn.Write(ctx, batch)
}

// A batch on a WebSocket is as long as the path carries in 2 ms, 64 to 256 KiB, since
// what is short waits behind it. Where the network lets none over 64 KiB through, one
// WebSocket breaks.
func TestRule_longBatches(t *testing.T) {
	for name, c := range map[string]struct {
		mbit, limit int
		least, most int // of the longest batch, KiB
		dials       int
	}{
		"50 Mbit/s":                {50, 0, 32, 64, 1},
		"200 Mbit/s":               {200, 0, 32, 64, 1},
		"500 Mbit/s":               {500, 0, 90, 160, 1}, // 122 KiB, and what the rate is taken too high for
		"1.5 Gbit/s":               {1500, 0, 192, 256, 1},
		"1.5 Gbit/s, 100 KiB pass": {1500, 100 << 10, 32, 64, 2},
	} {
		for way, up := range map[string]bool{"up": true, "down": false} {
			t.Run(name+"/"+way, func(t *testing.T) {
				box := &middlebox{limit: c.limit}
				far{
					rtt: 20 * time.Millisecond, mbit: c.mbit, kind: transport.WS, up: up,
					carrier: func(inner dialer.Carrier) dialer.Carrier { box.Carrier = inner; return box },
				}.run(t, 500*time.Millisecond, 100*time.Millisecond)
				t.Logf("longest batch %d bytes, %d WebSockets", box.longest, box.dials)
				if box.longest < c.least<<10 || box.longest > c.most<<10 || box.dials != c.dials {
					t.Errorf("longest batch %d bytes, %d WebSockets, want %d to %d KiB, %d", box.longest, box.dials, c.least, c.most, c.dials)
				}
			})
		}
	}
}

// A client sends no longer batches than the bridge takes, however fast the path is.
func TestRule_longestBatch(t *testing.T) {
	const takes = 100 << 10
	box := new(middlebox)
	far{
		rtt: 20 * time.Millisecond, mbit: 1500, kind: transport.WS, up: true, takes: takes,
		carrier: func(inner dialer.Carrier) dialer.Carrier { box.Carrier = inner; return box },
	}.run(t, 500*time.Millisecond, 100*time.Millisecond)
	if box.longest < takes*9/10 || box.longest > takes || box.dials != 1 {
		t.Errorf("longest batch %d bytes, %d WebSockets, want nearly %d, 1", box.longest, box.dials, takes)
	}
}
