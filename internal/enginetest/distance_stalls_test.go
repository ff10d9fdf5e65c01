package enginetest_test

import (
	"context"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	stallPeriod = 500 * time.Millisecond
	stallTime   = 200 * time.Millisecond
)

// stalling is the one connection of all exchanges, which stands still for stallTime of
// each stallPeriod, as TCP does where something is lost: then all that came is there at
// once.
type stalling struct {
	dialer.Carrier
	began time.Time
}

func (s stalling) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	answer, err := s.Carrier.Exchange(ctx, sid, batch)
	if into := time.Since(s.began) % stallPeriod; err == nil && into < stallTime {
		err = sleep(ctx, stallTime-into)
	}
	return answer, err
}

// A connection that stands still again and again leaves most of a path filled.
func TestDistance_stalls(t *testing.T) { stalls(t, nil) }

// stalls holds a client's engine to it; nil: Go's.
func stalls(t *testing.T, start func(dialer.Config) caller) {
	for _, up := range []bool{false, true} {
		f := far{rtt: 100 * time.Millisecond, mbit: 50, kind: transport.Longpoll, shared: true, up: up, start: start}
		f.carrier = func(c dialer.Carrier) dialer.Carrier { return stalling{c, time.Now()} }
		t.Run(f.String(), func(t *testing.T) { f.fills(t, 20*time.Second) })
	}
}
