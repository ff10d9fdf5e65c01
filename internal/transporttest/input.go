package transporttest

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// badInput sends what strangers send beside a living session, and looks that
// each gets its answer and the session none of it.
func badInput(t *testing.T, r *rig) {
	st, err := r.open(t.Context(), methodEcho, "victim")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Headers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.echo(t.Context(), "first", []int{1}); err != nil { // all of the session's secrets were sent
		t.Fatal(err)
	}
	sid, own := r.recorder.session()

	// A batch of the session's own, with a change. Its x is the lowest, so that
	// it displaces nothing.
	like := func(change func(b *wire.Batch)) []byte {
		b := wire.Batch{
			Session: own.Session, Key: own.Key, Incarnation: own.Incarnation, X: 1,
			Versions: &wire.Versions{Lowest: 1, Highest: 1},
		}
		change(&b)
		return wire.AppendBatch(nil, &b)
	}
	good := like(func(*wire.Batch) {})
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 4
	stranger := bytes.Repeat([]byte{7}, wire.IDSize)
	tests := []struct {
		name, sid string
		batch     []byte
		code      wire.CloseCode
		limit     uint64
	}{
		{"empty", sid, nil, wire.CodeGarbled, 0},
		{"garbage", sid, []byte("\x00\xff garbage"), wire.CodeGarbled, 0},
		{"page", sid, []byte("<html><body>Log in</body></html>"), wire.CodeGarbled, 0},
		{"truncated", sid, good[:len(good)-1], wire.CodeGarbled, 0},
		{"one byte more", sid, append(bytes.Clone(good), 0), wire.CodeGarbled, 0},
		{"bit flipped", sid, flipped, 0, 0},
		{"path of nobody", "x", good, wire.CodeGarbled, 0},
		{"path of another", wire.EncodeSession(stranger), good, wire.CodeGarbled, 0},
		{"key wrong", sid, like(func(b *wire.Batch) { b.Key = stranger }), wire.CodeUnknown, 0},
		{"key missing", sid, like(func(b *wire.Batch) { b.Key = nil }), wire.CodeUnknown, 0},
		{"incarnation stale", sid, like(func(b *wire.Batch) { b.Incarnation++ }), wire.CodeUnknown, 0},
		{"incarnation missing", sid, like(func(b *wire.Batch) { b.Incarnation = 0 }), wire.CodeUnknown, 0},
		{"session unknown", wire.EncodeSession(stranger), like(func(b *wire.Batch) { b.Session = stranger }), wire.CodeUnknown, 0},
		{"version", wire.EncodeSession(stranger), like(func(b *wire.Batch) {
			b.Session, b.Incarnation, b.Hello = stranger, 0, &wire.Hello{}
			b.Versions = &wire.Versions{Lowest: 9, Highest: 9}
		}), wire.CodeVersion, 0},
		{"too large", sid, make([]byte, 2<<20+1), wire.CodeTooLarge, 2 << 20},
	}
	before := r.reg.Stats()
	for _, tt := range tests {
		answer, err := r.ask(t.Context(), tt.sid, tt.batch)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if answer.Close == nil || tt.code != 0 && answer.Close.Code != tt.code || answer.Close.Limit != tt.limit {
			t.Errorf("%s: answered %+v, want code %d and limit %d", tt.name, answer.Close, tt.code, tt.limit)
		}
		if len(answer.Frames) > 0 || answer.Welcome != nil {
			t.Errorf("%s: the answer says something of a session: %+v", tt.name, answer)
		}
	}
	after, refused := r.reg.Stats(), uint64(0)
	for name, n := range after.Refusals {
		refused += n - before.Refusals[name]
	}
	if refused != uint64(len(tests)) || after.Sessions != before.Sessions {
		t.Errorf("%d refusals and %d sessions, want %d and %d", refused, after.Sessions, len(tests), before.Sessions)
	}

	if err := sendAll(t.Context(), st, "victim", mixed[:6]); err != nil {
		t.Fatal(err)
	}
	if err := recvAll(t.Context(), st, "victim", mixed[:6]); err != nil {
		t.Fatal(err)
	}
	r.startedOnce(t, 2)
}

// ask sends one batch on a link of its own and returns the answer.
func (r *rig) ask(ctx context.Context, sid string, batch []byte) (wire.Batch, error) {
	var b wire.Batch
	var answer []byte
	var err error
	if !r.kind.Lasting() {
		answer, err = r.carrier.Exchange(ctx, sid, batch)
	} else {
		answer, err = r.askSocket(ctx, sid, batch)
	}
	if err != nil {
		return b, err
	}
	if err := wire.ParseBatch(answer, &b); err != nil {
		return b, fmt.Errorf("%q: %w", answer, err)
	}
	return b, nil
}

func (r *rig) askSocket(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	s, err := r.carrier.Dial(ctx, sid)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Write(ctx, transport.Batch{batch}); err != nil {
		return nil, err
	}
	return s.Read(ctx)
}
