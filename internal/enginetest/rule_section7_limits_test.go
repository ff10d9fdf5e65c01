package enginetest_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// Section 7: the limits that hold unless others are set, as a Welcome states
// them.
func TestRule_defaultLimits(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		w := newPeer(t, reg).open()
		equal(t, "message", w.MaxMessageBytes, uint64(16<<20))
		equal(t, "metadata", w.MaxMetadataBytes, uint32(64<<10))
		equal(t, "streams", w.MaxStreams, uint32(4096))
		equal(t, "exchanges", w.MaxExchanges, uint32(8))
		equal(t, "batch", w.MaxBatchBytes, uint32(2<<20))
	})
}

// Section 7: each limit of sessions and batches has its own error, which names
// it, and harms no session that is there.
func TestRule_limitsOfSessions(t *testing.T) {
	bubble(t, registry.Config{Authenticate: byToken, Handle: untilCancelled, MaxSessions: 3, MaxPerPrincipal: 2}, func(t *testing.T, reg *registry.Registry) {
		hello := func(p *peer, name string) *wire.Close {
			return (<-p.park(p.batch(func(b *wire.Batch) {
				withHello(b)
				b.Token = name
			}))).Close
		}
		first, second := newClient(t, reg, "ann"), newClient(t, reg, "ann")
		equal(t, "ann's RPCs", first.begin()+second.begin(), "")
		if c := hello(newPeer(t, reg), "ann"); c == nil || c.Code != wire.CodeBusy || c.Message != "this principal has 2 sessions, its limit" {
			t.Errorf("ann's third: %+v", c)
		}
		equal(t, "bob's first", hello(newPeer(t, reg), "bob"), (*wire.Close)(nil))
		if c := hello(newPeer(t, reg), "eve"); c == nil || c.Code != wire.CodeBusy || c.Message != "the bridge has 3 sessions, its limit" {
			t.Errorf("eve's first: %+v", c)
		}
		large := reg.Accept(t.Context(), transport.Hello{Kind: transport.Longpoll, Session: wire.EncodeSession(first.id), TooLarge: 5000})
		raw, err := next(t.Context(), large, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		large.Close()
		if c := first.parse(raw).Close; c == nil || c.Code != wire.CodeTooLarge || c.Limit != 5000 || c.Message != "batch exceeds the limit of 5000 bytes" {
			t.Errorf("a batch over the limit: %+v", c)
		}
		equal(t, "refusals", reg.Stats().Refusals, map[string]uint64{"busy": 2, "too_large": 1})
		if a := first.poll(first.batch(nil)); a.Close != nil {
			t.Errorf("the first session: %+v", a.Close)
		}
	})
}

// Section 7: each limit of an RPC ends that RPC alone, naming the limit.
func TestRule_limitsOfRPCs(t *testing.T) {
	cfg := registry.Config{MaxMessage: 100_000, MaxMetadata: 2000, MaxStreams: 2}
	for name, kinds := range transports() {
		t.Run(name, func(t *testing.T) {
			bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
				s := dialer.Start(dialer.Config{Carrier: &direct{reg: reg}, Transports: kinds})
				open := func(md ...wire.Metadatum) *dialer.Stream {
					st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo", Metadata: md})
					if err != nil {
						t.Fatal(err)
					}
					return st
				}
				wantEnd := func(st *dialer.Stream, message string) {
					t.Helper()
					if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) {
						t.Fatal(err)
					}
					if end := st.Status(); end.Status != 8 || end.Reason != engine.ReasonLimit || end.Origin != wire.OriginBridge || end.Message != message {
						t.Errorf("%+v", end)
					}
				}
				fat := wire.Metadatum{Key: "k", Value: strings.Repeat("v", 2000)}
				early := open(fat) // the limit comes with the Welcome
				lives := open()
				one(t, lives, "before")
				for _, st := range []*dialer.Stream{early, open(fat)} {
					wantEnd(st, "metadata of 2033 bytes is over the limit of 2000")
					equal(t, "RPC with too much metadata was sent", st.Sent(), false)
				}
				long := open()
				_ = long.Send(t.Context(), message(make([]byte, 100_001)))
				wantEnd(long, "message of 100001 bytes is over the limit of 100000")
				synctest.Wait() // its handler has returned: until then it counts
				second := open()
				one(t, second, "second")
				wantEnd(open(), "the session has 2 RPCs open, its limit")
				one(t, lives, "after")
				second.Cancel()
				lives.Cancel()
				_ = s.Close(t.Context())
			})
		})
	}
}

// Section 7: limits that end one RPC and no session.
func TestRule_limits(t *testing.T) {
	hold := func(st *registry.Stream) {
		<-st.Context().Done()
		st.End(wire.End{Status: 1})
	}
	bubble(t, registry.Config{Handle: hold, MaxStreams: 2, MaxMetadata: 1000, MaxSessions: 1}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		fat := openFrame(1)
		fat.Open.Metadata = []wire.Metadatum{{Key: "k", Value: strings.Repeat("v", 1000)}}
		a := p.poll(p.batch(holding(time.Second), fat))
		if len(a.Frames) != 1 || a.Frames[0].End.Status != 8 || a.Frames[0].End.Message != "metadata of 1033 bytes is over the limit of 1000" {
			t.Errorf("%+v", a.Frames)
		}
		a = p.poll(p.batch(holding(time.Second), openFrame(2), openFrame(3), openFrame(4)))
		if len(a.Frames) != 1 || a.Frames[0].Stream != 4 || a.Frames[0].End.Message != "the session has 2 RPCs open, its limit" {
			t.Errorf("%+v", a.Frames)
		}
		q := newPeer(t, reg)
		if a := <-q.park(q.batch(withHello)); a.Close == nil || a.Close.Code != wire.CodeBusy {
			t.Errorf("%+v", a.Close)
		}
	})
}
