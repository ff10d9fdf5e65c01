package enginetest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// script is what one RPC does. All of it follows from its seed.
type script struct {
	seed     uint64
	kind     string
	up, down int           // messages
	pause    time.Duration // most between two messages
	end      wire.End
}

var rpcKinds = []string{"unary", "server", "client", "bidi"}

// bulky is the bit of a script's seed that makes its messages long.
const bulky = 1 << 63

// scriptOf gives an RPC of up to most messages each way.
func scriptOf(seed uint64, most int) script {
	rng := rand.New(rand.NewPCG(seed, 1))
	sc := script{seed: seed, kind: rpcKinds[rng.IntN(4)], up: 1, down: 1}
	if sc.kind == "client" || sc.kind == "bidi" {
		sc.up = rng.IntN(most + 1)
	}
	if sc.kind == "server" || sc.kind == "bidi" {
		sc.down = rng.IntN(most + 1)
	}
	if rng.IntN(2) == 0 {
		sc.pause = time.Duration(1+rng.IntN(200)) * time.Millisecond
	}
	sc.end = wire.End{
		Status:   uint32(rng.IntN(3) * rng.IntN(17)),
		Message:  fmt.Sprintf("the end of %x", seed),
		Trailers: []wire.Metadatum{{Key: "trailer-bin", Value: string(sc.message(2, 0))}},
	}
	if sc.end.Status != 0 {
		sc.end.Details = sc.message(2, 1)
	}
	return sc
}

// open is the OPEN of the RPC.
func (sc script) open() wire.Open {
	return wire.Open{
		Method:         "/sim/" + sc.kind,
		Metadata:       []wire.Metadatum{{Key: "seed-bin", Value: string(binary.BigEndian.AppendUint64(nil, sc.seed))}},
		SingleRequest:  sc.kind == "unary" || sc.kind == "server",
		SingleResponse: sc.kind == "unary" || sc.kind == "client",
	}
}

func (sc script) headers() []wire.Metadatum {
	return []wire.Metadatum{{Key: "header", Value: fmt.Sprintf("%x", sc.seed)}}
}

// message is the n-th message of one way: its bytes tell where it belongs.
func (sc script) message(way, n int) []byte {
	h := (sc.seed+uint64(way))*0x9e3779b97f4a7c15 ^ uint64(n)*0xbf58476d1ce4e5b9
	h ^= h >> 29
	size := int(h % 300)
	rare, some := uint64(400), uint64(20)
	if sc.seed&bulky != 0 {
		rare, some = 10, 5
	}
	switch {
	case way > 1: // metadata
	case h>>16%rare == 0:
		size = int(h>>32) % 700_000
	case h>>16%some == 0:
		size = int(h>>32) % 20_000
	case h>>16%20 == 1:
		size = 0
	}
	b := make([]byte, 0, size+16)
	for i := uint64(0); len(b) < size; i++ {
		b = binary.BigEndian.AppendUint64(b, h+i)
	}
	return b[:size]
}

// oracle is the application at both ends: it runs scripts and knows what each
// must see.
type oracle struct {
	most int

	mu       sync.Mutex
	starts   map[uint64]int // by seed of the RPC
	failures []error
	ledger   ledger
	passed   atomic.Int64 // messages received where they belong, both ways
}

func newOracle(most int) *oracle { return &oracle{most: most, starts: make(map[uint64]int)} }

func (o *oracle) fail(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, fmt.Errorf(format, args...))
}

// check compares the n-th message of one way.
func (o *oracle) check(sc script, way, n int, got engine.Message) error {
	want := sc.message(way, n)
	if bytes.Equal(got.Bytes(), want) {
		o.passed.Add(1)
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger.misplaced(sc, way, n, got.Bytes())
	return fmt.Errorf("message %d of way %d: %d bytes, want %d others", n, way, got.Len(), len(want))
}

// missing notes messages that did not come though their RPC ended well.
func (o *oracle) missing(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger.lost += n
}

// report fails the test for what was seen.
func (o *oracle) report(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, err := range o.failures[:min(len(o.failures), 3)] {
		t.Error(err)
	}
	if n := len(o.failures); n > 3 {
		t.Errorf("and %d failures more", n-3)
	}
}

// handle serves an RPC as its script says.
func (o *oracle) handle(st *registry.Stream) {
	seed := binary.BigEndian.Uint64([]byte(st.Request().Metadata[0].Value))
	o.mu.Lock()
	o.starts[seed]++
	n := o.starts[seed]
	o.ledger.rpcs++
	o.mu.Unlock()
	if n > 1 {
		o.fail("RPC %x started %d times", seed, n)
	}
	sc := scriptOf(seed, o.most)
	if err := o.serve(st, sc); err != nil {
		st.End(wire.End{Status: 13, Message: err.Error()})
		return
	}
	st.End(sc.end)
}

func (o *oracle) serve(st *registry.Stream, sc script) error {
	ctx := st.Context()
	if err := st.SendHeaders(sc.headers()); err != nil {
		return err
	}
	sent := 0
	send := func(upTo int) error {
		for ; sent < upTo; sent++ {
			if err := st.Send(ctx, message(sc.message(1, sent))); err != nil {
				return err
			}
		}
		return nil
	}
	for got := 0; ; got++ {
		m, err := st.Recv(ctx)
		if errors.Is(err, io.EOF) && got == sc.up {
			return send(sc.down)
		}
		if errors.Is(err, io.EOF) {
			o.missing(sc.up - got)
		}
		if err != nil {
			return fmt.Errorf("after %d of %d requests: %w", got, sc.up, err)
		}
		if err := o.check(sc, 0, got, m); err != nil {
			o.fail("RPC %x at the bridge: %w", sc.seed, err)
			return err
		}
		if sc.kind == "bidi" {
			if err := send(min(got+1, sc.down)); err != nil {
				return err
			}
		}
	}
}

// caller is a client's engine, of any language.
type caller interface {
	Open(ctx context.Context, open wire.Open) (call, error)
	Close(ctx context.Context) error
	Kill()
	Err() error
	forgetDemotion() // as when the network changed
	dump() string
}

// call is the client's side of an RPC.
type call interface {
	Send(ctx context.Context, m engine.Message) error
	CloseSend() error
	Recv(ctx context.Context) (engine.Message, error)
	Cancel()
	Status() *wire.End
	Headers(ctx context.Context) ([]wire.Metadatum, error)
}

// goEngine is the Go engine as a caller.
type goEngine struct{ *dialer.Session }

func (e goEngine) Open(ctx context.Context, open wire.Open) (call, error) {
	return e.Session.Open(ctx, open)
}
func (e goEngine) forgetDemotion() { e.Retry() }
func (e goEngine) dump() string    { return fmt.Sprintf("%+v", e.State()) }

// call runs one RPC on the client and checks its whole transcript.
func (o *oracle) call(ctx context.Context, s caller, sc script) {
	if err := o.try(ctx, s, sc); err != nil {
		o.fail("%s RPC %x (%d up, %d down): %w", sc.kind, sc.seed, sc.up, sc.down, err)
	}
}

func (o *oracle) try(ctx context.Context, s caller, sc script) error {
	st, err := s.Open(ctx, sc.open())
	if err != nil {
		return err
	}
	var sender sync.WaitGroup
	sender.Go(func() { sc.send(ctx, st) })
	defer sender.Wait()
	got := 0
	for ; ; got++ {
		m, err := st.Recv(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			st.Cancel()
			return fmt.Errorf("after %d replies: %w", got, err)
		}
		if err := o.check(sc, 1, got, m); err != nil {
			st.Cancel()
			return err
		}
	}
	if end := st.Status(); !same(*end, sc.end) {
		return fmt.Errorf("after %d replies: end %.200s, want %.60s", got, fmt.Sprint(*end), fmt.Sprint(sc.end))
	}
	if got != sc.down {
		o.missing(sc.down - got)
		return fmt.Errorf("%d replies and a good status", got)
	}
	headers, err := st.Headers(ctx)
	if err != nil || !slices.Equal(headers, sc.headers()) {
		return fmt.Errorf("headers %v, %w", headers, err)
	}
	return nil
}

// same compares two ends.
func same(a, b wire.End) bool {
	return a.Status == b.Status && a.Message == b.Message && a.Origin == b.Origin && a.Reason == b.Reason &&
		bytes.Equal(a.Details, b.Details) && slices.Equal(a.Trailers, b.Trailers)
}

// send sends the requests. That it fails shows in the status.
func (sc script) send(ctx context.Context, st call) {
	rng := rand.New(rand.NewPCG(sc.seed, 2))
	for i := range sc.up {
		if st.Send(ctx, message(sc.message(0, i))) != nil {
			return
		}
		if sc.pause > 0 && rng.IntN(4) == 0 {
			_ = sleep(ctx, time.Duration(rng.Int64N(int64(sc.pause))))
		}
	}
	_ = st.CloseSend()
}
