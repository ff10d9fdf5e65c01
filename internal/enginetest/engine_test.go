package enginetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
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

// next is the next batch of a link, in one piece.
func next(ctx context.Context, link transport.Link, limit int) ([]byte, error) {
	batch, err := link.Next(ctx, limit)
	return batch.AppendTo(nil), err
}

// direct is a Carrier that calls a Registry with nothing between but a delay.
type direct struct {
	reg   *registry.Registry
	delay time.Duration // one way
	fault func(batch []byte) ([]byte, error)

	polls atomic.Int64
}

func (d *direct) Exchange(ctx context.Context, sid string, batch []byte) ([]byte, error) {
	d.polls.Add(1)
	if err := sleep(ctx, d.delay); err != nil {
		return nil, err
	}
	link := d.reg.Accept(ctx, transport.Hello{Kind: transport.Longpoll, Session: sid, Batch: bytes.Clone(batch), RemoteAddr: "test"})
	defer link.Close()
	answer, err := next(ctx, link, 2<<20)
	if err != nil {
		return nil, err
	}
	if d.fault != nil {
		if answer, err = d.fault(answer); err != nil {
			return nil, err
		}
	}
	return answer, sleep(ctx, d.delay)
}

func sleep(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// pipe is an in-memory WebSocket.
type pipe struct {
	up, down chan []byte
	gone     chan struct{}
	once     sync.Once
}

func (p *pipe) Read(context.Context) ([]byte, error) {
	select {
	case b := <-p.down:
		return b, nil
	case <-p.gone:
		return nil, io.ErrUnexpectedEOF
	}
}

func (p *pipe) Write(_ context.Context, batch transport.Batch) error {
	select {
	case p.up <- batch.AppendTo(nil):
		return nil
	case <-p.gone:
		return io.ErrClosedPipe
	}
}

func (p *pipe) Close() { p.once.Do(func() { close(p.gone) }) }

func (d *direct) Dial(ctx context.Context, sid string) (dialer.Conn, error) {
	if err := sleep(ctx, 2*d.delay); err != nil {
		return nil, err
	}
	p := &pipe{up: make(chan []byte, 16), down: make(chan []byte, 16), gone: make(chan struct{})}
	go d.serve(p, sid)
	return p, nil
}

func (d *direct) serve(p *pipe, sid string) {
	defer p.Close()
	var first []byte
	select {
	case first = <-p.up:
	case <-p.gone:
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	link := d.reg.Accept(ctx, transport.Hello{Kind: transport.WS, Session: sid, Batch: first, RemoteAddr: "test"})
	defer link.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer p.Close()
		for {
			b, err := next(ctx, link, 64<<10)
			if err != nil || sleep(ctx, d.delay) != nil {
				return
			}
			select {
			case p.down <- b:
			case <-p.gone:
				return
			}
		}
	})
	for {
		select {
		case b := <-p.up:
			if link.Deliver(ctx, b) == nil {
				continue
			}
		case <-p.gone:
		}
		break
	}
	cancel()
	wg.Wait()
}

// echo answers each message with itself and ends with the count.
func echo(st *registry.Stream) {
	ctx := st.Context()
	_ = st.SendHeaders([]wire.Metadatum{{Key: "method", Value: st.Request().Method}})
	n := 0
	for {
		m, err := st.Recv(ctx)
		if errors.Is(err, io.EOF) {
			st.End(wire.End{Message: fmt.Sprint(n)})
			return
		}
		if err != nil {
			st.End(wire.End{Status: 1, Message: err.Error()})
			return
		}
		n++
		if err := st.Send(ctx, m); err != nil {
			st.End(wire.End{Status: 1, Message: err.Error()})
			return
		}
	}
}

func transports() map[string][]transport.Kind {
	return map[string][]transport.Kind{
		"longpoll": {transport.Longpoll},
		"ws":       {transport.WS},
		"auto":     {transport.Longpoll, transport.WS},
	}
}

// each runs f in a bubble on every choice of transport.
func each(t *testing.T, f func(t *testing.T, d *direct, s *dialer.Session)) {
	for name, kinds := range transports() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reg := enginetest.NewRegistry(registry.Config{Handle: echo})
				d := &direct{reg: reg, delay: 10 * time.Millisecond}
				s := dialer.Start(dialer.Config{Carrier: d, Transports: kinds})
				f(t, d, s)
				if err := s.Close(t.Context()); err != nil {
					t.Errorf("close: %v", err)
				}
				synctest.Wait()
				if st := reg.Stats(); st.Sessions != 0 || st.Streams != 0 || st.BufferedBytes != 0 {
					t.Errorf("left behind: %+v", st)
				}
				reg.Close()
			})
		})
	}
}

func message(b []byte) engine.Message { return engine.Message{Pieces: [][]byte{b}} }

// pingpong sends n messages one by one and checks what comes back.
func pingpong(t *testing.T, s *dialer.Session, n, size int) {
	t.Helper()
	st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		want := bytes.Repeat([]byte{byte(i)}, size)
		if err := st.Send(t.Context(), message(want)); err != nil {
			t.Fatal(err)
		}
		got, err := st.Recv(t.Context())
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("message %d is wrong", i)
		}
	}
	_ = st.CloseSend()
	if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("want EOF, got %v", err)
	}
	if end := st.Status(); end == nil || end.Status != 0 || end.Message != fmt.Sprint(n) {
		t.Fatalf("status %+v", end)
	}
}

func TestSession_pingPong(t *testing.T) {
	each(t, func(t *testing.T, _ *direct, s *dialer.Session) {
		pingpong(t, s, 100, 100)
		pingpong(t, s, 3, 0)
		pingpong(t, s, 10, 100_000)
		pingpong(t, s, 2, 5<<20)
	})
}

func TestSession_manyStreams(t *testing.T) {
	each(t, func(t *testing.T, _ *direct, s *dialer.Session) {
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() { pingpong(t, s, 5, 1000) })
		}
		wg.Wait()
	})
}

func TestSession_linksDie(t *testing.T) {
	each(t, func(t *testing.T, _ *direct, s *dialer.Session) {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-time.After(170 * time.Millisecond):
					s.Kill()
				case <-stop:
					return
				}
			}
		})
		for range 5 {
			pingpong(t, s, 50, 3000)
		}
		close(stop)
		wg.Wait()
	})
}

func TestSession_cancel(t *testing.T) {
	each(t, func(t *testing.T, d *direct, s *dialer.Session) {
		ctx, cancel := context.WithCancel(t.Context())
		st, err := s.Open(ctx, wire.Open{Method: "/test/Echo"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Headers(t.Context()); err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if st.Status().Status != 1 {
			t.Fatalf("status %+v", st.Status())
		}
		time.Sleep(time.Second)
		if got := d.reg.Stats().Streams; got != 0 {
			t.Fatalf("%d streams still run", got)
		}
	})
}

func TestSession_lapse(t *testing.T) {
	each(t, func(t *testing.T, d *direct, s *dialer.Session) {
		pingpong(t, s, 1, 1)
		time.Sleep(10 * time.Minute)
	})
}
