package enginetest_test

import (
	"context"
	"io"
	"strings"
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
// each direction.
type short struct {
	*direct
	limit int
}

func (c short) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	answer, err := c.direct.Exchange(ctx, sid, batch)
	if err == nil && len(answer) > c.limit {
		return nil, io.ErrUnexpectedEOF
	}
	return answer, err
}

func (c short) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	conn, err := c.direct.Dial(ctx, sid)
	return shortConn{conn, c.limit}, err
}

type shortConn struct {
	dialer.Conn
	limit int
}

func (c shortConn) Read(ctx context.Context) ([]byte, error) {
	batch, err := c.Conn.Read(ctx)
	if err == nil && len(batch) > c.limit {
		c.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return batch, err
}

func (c shortConn) Write(ctx context.Context, batch transport.Batch) error {
	if batch.Len() > c.limit {
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
				carrier := short{&direct{reg: reg, delay: time.Millisecond}, 20_000}
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

// D5: a part of a message that has its number, and is longer than any WebSocket lets
// through, ends its own RPC; others go on, in shorter parts.
func TestRule_longFragment(t *testing.T) {
	const length = 100_000
	for _, method := range []string{"/test/Up", "/test/Down"} {
		t.Run(method[len("/test/"):], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				handle := func(st *registry.Stream) {
					if st.Request().Method == "/test/Down" {
						_ = st.Send(st.Context(), message(make([]byte, length)))
						st.End(wire.End{Message: "all"})
						return
					}
					swallow(st)
				}
				reg := enginetest.NewRegistry(registry.Config{Handle: handle})
				defer reg.Close()
				carrier := short{&direct{reg: reg, delay: time.Millisecond}, 10_000}
				s := dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()["ws"]})
				defer s.Close(t.Context())
				play := func() *wire.End {
					st, err := s.Open(t.Context(), wire.Open{Method: method})
					if err != nil {
						t.Fatal(err)
					}
					if method == "/test/Up" {
						_ = st.Send(t.Context(), message(make([]byte, length)))
						_ = st.CloseSend()
					}
					for {
						if _, err := st.Recv(t.Context()); err != nil {
							return st.Status()
						}
					}
				}
				if end := play(); end.Status != engine.StatusResourceExhausted || end.Reason != engine.ReasonLimit || !strings.HasPrefix(end.Message, "a part of a message: a batch of 16") {
					t.Errorf("the RPC by which the length is learnt: %+v", end)
				}
				if end := play(); end.Status != 0 {
					t.Errorf("the one behind it: %+v", end)
				}
				if err := s.Err(); err != nil {
					t.Errorf("the session ended: %v", err)
				}
			})
		})
	}
}
