package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
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

// short is a network that cuts what is longer than a limit, on each transport and in
// each direction. With page, something else comes in
// the place of a long answer.
type short struct {
	*direct
	limit   *atomic.Int64 // bytes
	sockets *atomic.Int64 // that were opened
	page    bool
}

func shortOf(reg *registry.Registry, limit int64) short {
	c := short{direct: &direct{reg: reg, delay: time.Millisecond}, limit: new(atomic.Int64), sockets: new(atomic.Int64)}
	c.limit.Store(limit)
	return c
}

func (c short) cuts(batch int) bool { return int64(batch) > c.limit.Load() }

func (c short) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	if c.cuts(len(batch)) {
		return nil, errors.Join(sleep(ctx, c.delay), dialer.ErrBroken)
	}
	answer, err := c.direct.Exchange(ctx, sid, batch)
	switch {
	case err != nil || !c.cuts(len(answer)):
		return answer, err
	case c.page:
		return nil, errors.New("status 403")
	}
	return nil, io.ErrUnexpectedEOF
}

func (c short) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	c.sockets.Add(1)
	conn, err := c.direct.Dial(ctx, sid)
	return shortConn{conn, c}, err
}

type shortConn struct {
	dialer.Conn
	by short
}

func (c shortConn) Read(ctx context.Context) ([]byte, error) {
	batch, err := c.Conn.Read(ctx)
	if err == nil && c.by.cuts(len(batch)) {
		c.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return batch, err
}

func (c shortConn) Write(ctx context.Context, batch transport.Batch) error {
	if c.by.cuts(batch.Len()) {
		c.Close()
		return io.ErrClosedPipe
	}
	return c.Conn.Write(ctx, batch)
}

// D5: metadata that is too long to get through ends its own RPC with its length,
// in either direction; those before and behind it go on.
func TestRule_longMetadata(t *testing.T) {
	long := []wire.Metadatum{{Key: "long", Value: strings.Repeat("x", 30_000)}}
	answer := func(st *registry.Stream) {
		end := wire.End{Message: "all"}
		switch st.Request().Method {
		case "/test/Headers":
			_ = st.SendHeaders(long)
			_ = st.Send(st.Context(), message([]byte("hello")))
		case "/test/Trailers":
			_ = st.Send(st.Context(), message([]byte("hello")))
			end.Trailers = long
		case "/test/Details":
			end.Status, end.Details = 5, []byte(strings.Repeat("x", 30_000))
		}
		st.End(end)
	}
	for _, test := range []struct{ method, choice, want string }{
		{"/test/Headers", "longpoll", "response headers"},
		{"/test/Headers", "ws", "response headers"},
		{"/test/Trailers", "longpoll", "trailers and status details"},
		{"/test/Trailers", "ws", "trailers and status details"},
		{"/test/Details", "longpoll", "trailers and status details"},
		{"/test/Details", "ws", "trailers and status details"},
		{"/test/Request", "ws", "request metadata"}, // with exchanges: TestRule_refusedFrame
	} {
		t.Run(test.method[len("/test/"):]+"/"+test.choice, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := enginetest.NewRegistry(registry.Config{Handle: answer})
				defer reg.Close()
				carrier := shortOf(reg, 20_000)
				s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()[test.choice]})
				defer s.Close(t.Context())
				open := wire.Open{Method: test.method}
				if test.method == "/test/Request" {
					open.Metadata = long
				}
				began := time.Now()
				var streams []*dialer.Stream
				for _, o := range []wire.Open{{Method: "/test/Before"}, open, {Method: "/test/Behind"}} {
					st, err := s.Open(t.Context(), o)
					if err != nil {
						t.Fatal(err)
					}
					streams = append(streams, st)
				}
				for i, st := range streams {
					for {
						if _, err := st.Recv(t.Context()); err != nil {
							break
						}
					}
					end := st.Status()
					switch {
					case i != 1 && (end == nil || end.Message != "all"):
						t.Errorf("RPC %d beside it: %+v", i, end)
					case i == 1 && (end == nil || end.Status != engine.StatusResourceExhausted || end.Reason != engine.ReasonLimit || !strings.HasPrefix(end.Message, test.want+": a batch of 30")):
						t.Errorf("its RPC: %+v", end)
					}
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("took %v", took)
				}
				if err := s.Err(); err != nil {
					t.Errorf("the session ended: %v", err)
				}
			})
		})
	}
}

// loads plays f with a session on such a network, once with each transport, direction
// and kind of loss. load sends a message of 100,000 bytes that way, and returns how its
// RPC ended.
func loads(t *testing.T, limit int64, f func(t *testing.T, c short, load func() *wire.End)) {
	data := make([]byte, 100_000)
	handle := func(st *registry.Stream) {
		if st.Request().Method == "/test/Down" {
			_ = st.Send(st.Context(), message(data))
		}
		swallow(st)
	}
	for _, test := range []struct {
		way, choice string
		page        bool
	}{
		{"Up", "ws", false}, {"Down", "ws", false}, {"Up", "longpoll", false}, {"Down", "longpoll", false}, {"Down", "longpoll", true},
	} {
		t.Run(fmt.Sprintf("%s/%s/%t", test.way, test.choice, test.page), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := enginetest.NewRegistry(registry.Config{Handle: handle})
				defer reg.Close()
				carrier := shortOf(reg, limit)
				carrier.page = test.page
				s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()[test.choice]})
				defer s.Close(t.Context())
				f(t, carrier, func() *wire.End {
					st, err := s.Open(t.Context(), wire.Open{Method: "/test/" + test.way})
					if err != nil {
						t.Fatal(err)
					}
					if test.way == "Up" {
						_ = st.Send(t.Context(), message(data))
					}
					_ = st.CloseSend()
					for err == nil {
						_, err = st.Recv(t.Context())
					}
					return st.Status()
				})
				if err := s.Err(); err != nil {
					t.Errorf("the session ended: %v", err)
				}
			})
		})
	}
}

// D5: no part of a message is longer than what has got through, but on a WebSocket before
// one broke.
func TestRule_fragmentsThatPass(t *testing.T) {
	loads(t, 6_000, func(t *testing.T, c short, load func() *wire.End) {
		for i := range 3 {
			began := time.Now()
			end := load()
			t.Logf("RPC %d took %v", i, time.Since(began))
			if trusted := c.sockets.Load() > 0 && i == 0; end.Status != 0 && !trusted {
				t.Fatalf("RPC %d: %+v", i, end)
			}
		}
	})
}

// D5: a part of a message that has its number when a network comes that lets none as
// long through ends its own RPC; others go on, in shorter parts.
func TestRule_longFragment(t *testing.T) {
	loads(t, 1<<20, func(t *testing.T, c short, load func() *wire.End) {
		if end := load(); end.Status != 0 {
			t.Fatalf("before: %+v", end)
		}
		c.limit.Store(10_000)
		began := time.Now()
		if end := load(); end.Status != engine.StatusResourceExhausted || end.Reason != engine.ReasonLimit || !strings.HasPrefix(end.Message, "a part of a message: a batch of 16") {
			t.Errorf("the RPC by which the length is learnt: %+v", end)
		}
		t.Logf("learnt in %v", time.Since(began))
		for range 3 {
			if end := load(); end.Status != 0 {
				t.Errorf("one behind it: %+v", end)
			}
		}
	})
}
