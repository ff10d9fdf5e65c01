package enginetest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// dice makes choices out of a fuzzer's bytes. Used up, it gives zeros.
type dice struct{ rest []byte }

func (d *dice) done() bool { return len(d.rest) == 0 }

func (d *dice) byte() byte {
	if d.done() {
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *dice) one(in byte) bool { return d.byte()%in == 0 }

// num gives a number near one that matters, small, or anything.
func (d *dice) num(near uint64) uint64 {
	switch b := d.byte(); b % 8 {
	case 0, 1, 2, 3:
		return near
	case 4:
		return near + uint64(b>>3)
	case 5:
		return uint64(b >> 3)
	case 6:
		return math.MaxUint64 - uint64(b>>3)
	}
	var raw [8]byte
	for i := range raw {
		raw[i] = d.byte()
	}
	return binary.BigEndian.Uint64(raw[:])
}

// bytes gives up to most bytes.
func (d *dice) bytes(most int) []byte {
	return make([]byte, (int(d.byte())<<8|int(d.byte()))%(most+1))
}

// frame gives any frame at all. seq is what should come next.
func (d *dice) frame(seq uint64) wire.Frame {
	f := wire.Frame{Seq: d.num(seq), Stream: d.num(uint64(d.byte() % 6)), Type: wire.FrameType(d.num(uint64(d.byte() % 10))), Critical: d.one(4)}
	switch f.Type {
	case wire.TypeOpen:
		f.Open = &wire.Open{
			Method: "/hostile/Echo", Early: d.one(2), HasTimeout: d.one(4), TimeoutMicros: d.num(0), CreatedMicros: d.num(0),
			SingleRequest: d.one(2), SingleResponse: d.one(2), Metadata: []wire.Metadatum{{Key: "k", Value: string(d.bytes(5000))}},
		}
	case wire.TypeMessage:
		f.Data = d.bytes(17_000)
		f.First = !d.one(3)
		f.Length = d.num(uint64(len(f.Data)))
	case wire.TypeWindow:
		f.Limit = d.num(1 << 16)
	case wire.TypeHeaders:
		f.Headers = &wire.Headers{Metadata: []wire.Metadatum{{Key: "k", Value: string(d.bytes(100))}}}
	case wire.TypeEnd:
		f.End = &wire.End{Status: uint32(d.num(0)), Message: "end", Trailers: []wire.Metadatum{{Key: "k"}}}
	case wire.TypeClose:
		f.Close = &wire.Close{Code: wire.CloseCode(d.num(16)), Message: "close"}
	}
	return f
}

// batch gives a batch with any header and frames. b comes with what a link
// needs to be taken at all.
func (d *dice) batch(b *wire.Batch, seq *uint64) *wire.Batch {
	b.Ack = d.num(b.Ack)
	b.NowMicros, b.Awaiting, b.Prefer = d.num(b.NowMicros), d.num(b.X), d.num(0)
	b.HoldMillis, b.MaxBytes, b.PauseMillis = uint32(d.num(100)), uint32(d.num(0)), uint32(d.num(0))
	b.Resend, b.Stopped, b.Ping, b.Pong = d.one(8), d.one(8), d.num(0), d.num(0)
	b.Padding = d.bytes(100)
	for range d.byte() % 6 {
		f := d.frame(*seq + 1)
		if f.Seq == *seq+1 {
			*seq++
		}
		b.Frames = append(b.Frames, f)
	}
	return b
}

// hostileClient is a client of whose batches only the envelope is sound.
type hostileClient struct {
	dice
	t      *testing.T
	reg    *registry.Registry
	id     []byte
	in     uint64 // incarnation
	x, seq uint64
	acked  uint64
}

func (h *hostileClient) next() *wire.Batch {
	h.x++
	b := &wire.Batch{Session: h.id, Key: h.id, X: h.num(h.x), Incarnation: h.in, Ack: h.acked, NowMicros: h.x}
	if h.one(16) {
		b.Incarnation = h.num(0)
	}
	if h.in == 0 || h.one(16) {
		withHello(b)
		b.Hello.StreamWindow = uint32(h.num(1 << 16))
	}
	return h.batch(b, &h.seq)
}

// exchange makes one exchange, at most for a virtual while.
func (h *hostileClient) exchange() {
	link := h.reg.Accept(h.t.Context(), hello(transport.Longpoll, wire.EncodeSession(h.id), wire.AppendBatch(nil, h.next())))
	defer link.Close()
	ctx, cancel := context.WithTimeout(h.t.Context(), 3*time.Second)
	defer cancel()
	if raw, err := next(ctx, link, 1<<20); err == nil {
		h.hear(raw)
	}
}

func (h *hostileClient) hear(raw []byte) {
	var b wire.Batch
	if err := wire.ParseBatch(raw, &b); err != nil {
		h.t.Errorf("the bridge's batch: %v", err)
	}
	if b.Welcome != nil {
		h.in = b.Incarnation
	}
	for _, f := range b.Frames {
		h.acked = max(h.acked, f.Seq)
	}
}

// socket opens a WebSocket, and says a few things on it.
func (h *hostileClient) socket() {
	first := h.next()
	link := h.reg.Accept(h.t.Context(), hello(transport.WS, wire.EncodeSession(h.id), wire.AppendBatch(nil, first)))
	defer link.Close()
	for range h.byte() % 8 {
		ctx, cancel := context.WithTimeout(h.t.Context(), 50*time.Millisecond)
		for range 4 {
			raw, err := next(ctx, link, 64<<10)
			if err != nil {
				break
			}
			h.hear(raw)
		}
		cancel()
		b := h.next()
		if !h.one(8) {
			b.X = first.X
		}
		if link.Deliver(h.t.Context(), wire.AppendBatch(nil, b)) != nil {
			break
		}
	}
}

// reasons are what may end a session that a hostile peer has.
var reasons = []string{engine.ReasonViolation, engine.ReasonExpired, engine.ReasonClosed, engine.ReasonOverloaded}

// hostileMost bounds the message bytes of one hostile session: what its
// windows, reassembly and outbox allow with the limits that attack sets.
const hostileMost = 4 << 20

// attack lets a hostile client loose on a Registry, which stays within its
// bounds, and is as if nothing had been when the client is gone.
func attack(t *testing.T, script []byte) {
	synctest.Test(t, func(t *testing.T) {
		reg := enginetest.NewRegistry(registry.Config{
			Handle: echo, StreamWindow: 16 << 10, SessionWindow: 64 << 10, MaxMessage: 256 << 10, MaxStreams: 4,
		})
		h := &hostileClient{dice: dice{script}, t: t, reg: reg, id: make([]byte, wire.IDSize)}
		for !h.done() {
			switch h.byte() % 8 {
			case 0:
				h.socket()
			case 1: // not even a batch
				link := reg.Accept(t.Context(), hello(transport.Longpoll, wire.EncodeSession(h.id), h.rest[:min(len(h.rest), 40)]))
				_, _ = next(t.Context(), link, 1<<20)
				link.Close()
			case 2:
				time.Sleep(time.Duration(h.byte()) * time.Second)
			default:
				h.exchange()
			}
			if n := reg.Stats().BufferedBytes; n > hostileMost {
				t.Fatalf("%d bytes buffered", n)
			}
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		checkIdle(t, reg)
		for reason := range reg.Stats().SessionsClosed {
			if !slices.Contains(reasons, reason) {
				t.Errorf("a session ended for %q", reason)
			}
		}
		reg.Close()
	})
}

func FuzzHostileClient(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(noise(seed, 400))
	}
	f.Fuzz(attack)
}

// TestHostileClient is the same with many seeds.
func TestHostileClient(t *testing.T) {
	for seed := range uint64(300) {
		attack(t, noise(seed, 600))
	}
}

func noise(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 6))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// hostileBridge is a Carrier to a bridge of whose answers only the envelope is
// sound.
type hostileBridge struct {
	mu  sync.Mutex // two exchanges may be in flight
	d   *dice
	seq uint64
}

func (h *hostileBridge) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	if err := sleep(ctx, 50*time.Millisecond); err != nil {
		return nil, err
	}
	var req wire.Batch
	if err := wire.ParseBatch(batch, &req); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.d.done() {
		return nil, errors.New("the bridge has vanished")
	}
	b := &wire.Batch{Session: req.Session, X: h.d.num(req.X), Incarnation: h.d.num(7)}
	if req.Hello != nil || h.d.one(8) {
		b.Welcome = &wire.Welcome{
			Version: uint32(h.d.num(1)), HoldMillis: uint32(h.d.num(25_000)), ResumeMillis: uint32(h.d.num(120_000)), PauseMaxMillis: uint32(h.d.num(0)),
			StreamWindow: uint32(h.d.num(1 << 16)), SessionWindow: uint32(h.d.num(1 << 20)), MaxMessageBytes: h.d.num(1 << 24),
			MaxBatchBytes: uint32(h.d.num(1 << 20)), MaxMetadataBytes: uint32(h.d.num(1 << 16)), MaxStreams: uint32(h.d.num(100)),
		}
	}
	if h.d.one(16) {
		b.Close = &wire.Close{Code: wire.CloseCode(h.d.num(uint64(h.d.byte() % 21))), RetryAfterMillis: uint32(h.d.num(10)), Limit: h.d.num(100)}
	}
	b.HeldMicros = h.d.num(0)
	b.Ack = uint64(len(req.Frames))
	return wire.AppendBatch(nil, h.d.batch(b, &h.seq)), nil
}

func (h *hostileBridge) Dial(context.Context, string) (dialer.Conn, error) {
	return nil, errors.New("no WebSocket here")
}

// deceive lets a client's session loose on a hostile bridge. Whatever comes,
// its RPCs end and nothing is left.
func deceive(t *testing.T, script []byte) {
	synctest.Test(t, func(t *testing.T) {
		s := dialer.Start(dialer.Config{
			Carrier: &hostileBridge{d: &dice{script}}, Transports: transports()["longpoll"], StreamWindow: 16 << 10, MaxMessage: 256 << 10,
		})
		patience, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		for range 4 {
			st, err := s.Open(patience, wire.Open{Method: "/hostile/Echo"})
			if err != nil {
				break
			}
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				_ = st.Send(patience, message(make([]byte, 40_000)))
				_ = st.CloseSend()
			}()
			for err = error(nil); err == nil; {
				_, err = st.Recv(t.Context())
			}
			<-sent
			if st.Status() == nil {
				t.Errorf("an RPC has no status after %v", err)
			}
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		_ = s.Close(ctx)
	})
}

func FuzzHostileBridge(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(noise(seed, 400))
	}
	f.Fuzz(deceive)
}

// TestHostileBridge is the same with many seeds.
func TestHostileBridge(t *testing.T) {
	for seed := range uint64(300) {
		deceive(t, noise(seed, 600))
	}
}
