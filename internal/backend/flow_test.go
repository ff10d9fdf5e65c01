package backend_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// written is a connection that keeps what is written, and reads what it is given.
type written struct {
	net.Conn
	mu   sync.Mutex
	b    bytes.Buffer
	read bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) Read(p []byte) (int, error) { return w.read.Read(p) }
func (w *written) Close() error               { return nil }

func (w *written) bytes() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.b.Bytes())
}

func framed(write func(*http2.Framer) error) []byte {
	var b bytes.Buffer
	if err := write(http2.NewFramer(&b, nil)); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func update(stream, n uint32) []byte {
	return framed(func(f *http2.Framer) error { return f.WriteWindowUpdate(stream, n) })
}

// TestFlowConn: of what gRPC writes, in whichever pieces, only windows for long
// messages wait, until those before have come; they are written between frames.
func TestFlowConn(t *testing.T) {
	headers := func(stream uint32) []byte {
		return framed(func(f *http2.Framer) error {
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte("head")}); err != nil {
				return err
			}
			return f.WriteContinuation(stream, true, []byte("more"))
		})
	}
	data := framed(func(f *http2.Framer) error { return f.WriteData(1, false, bytes.Repeat([]byte("x"), 100)) })
	reset := framed(func(f *http2.Framer) error { return f.WriteRSTStream(5, http2.ErrCodeCancel) })
	const long = 256<<10 + 1
	first, second, third := update(1, long), update(3, long+1), update(5, long+2)
	before := bytes.Join([][]byte{[]byte(http2.ClientPreface), headers(1), update(0, 1<<20), update(1, long-1), first}, nil)
	after := bytes.Join([][]byte{data, headers(3), data, reset}, nil)
	sent := bytes.Join([][]byte{before, second, third, after}, nil)
	for n := 1; n <= len(sent); n++ {
		inner := new(written)
		conn := backend.NewFlowConn(inner, long)
		for rest := sent; len(rest) > 0; rest = rest[min(n, len(rest)):] {
			if k, err := conn.Write(rest[:min(n, len(rest))]); k != min(n, len(rest)) || err != nil {
				t.Fatalf("%d, %v", k, err)
			}
		}
		want := append(bytes.Clone(before), after...)
		if got := inner.bytes(); !bytes.Equal(got, want) {
			t.Fatalf("in pieces of %d: wrote\n%x, want\n%x", n, got, want)
		}
		inner.read.Write(framed(func(f *http2.Framer) error { return f.WriteData(1, false, []byte("x")) }))
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{conn}); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		if got, want := inner.bytes(), append(want, second...); !bytes.Equal(got, want) {
			t.Fatalf("in pieces of %d, then: wrote\n%x, want\n%x", n, got, want)
		}
	}
}

// TestFlowConn_between: what was granted while a frame was being written, or a
// header block, follows it.
func TestFlowConn_between(t *testing.T) {
	whole := framed(func(f *http2.Framer) error {
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 7, BlockFragment: []byte("head")}); err != nil {
			return err
		}
		return f.WriteContinuation(7, true, []byte("more"))
	})
	for at := range len(whole) {
		inner := new(written)
		conn := backend.NewFlowConn(inner, 1)
		for _, p := range [][]byte{[]byte(http2.ClientPreface), update(1, 1<<20), update(3, 1<<20), whole[:at]} {
			if _, err := conn.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		inner.read.Write(framed(func(f *http2.Framer) error { return f.WriteData(1, true, nil) }))
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{conn}); err != nil {
			t.Fatal(err)
		}
		conn.Granted()
		if _, err := conn.Write(whole[at:]); err != nil {
			t.Fatal(err)
		}
		want := bytes.Join([][]byte{[]byte(http2.ClientPreface), update(1, 1<<20), whole, update(3, 1<<20)}, nil)
		if at == 0 {
			want = bytes.Join([][]byte{[]byte(http2.ClientPreface), update(1, 1<<20), update(3, 1<<20), whole}, nil)
		}
		if got := inner.bytes(); !bytes.Equal(got, want) {
			t.Fatalf("cut at %d: wrote\n%x, want\n%x", at, got, want)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPool_longMessages: many long messages come one after the other where there is
// room for one, on streams and in unary RPCs, and those of RPCs that are cancelled
// take no room.
func TestPool_longMessages(t *testing.T) {
	p, _ := inProcess(t, backend.Config{MaxReceiving: 1 << 20})
	const length = 1 << 20
	script := func(hang bool) *echopb.Request {
		return &echopb.Request{Script: &echopb.Script{Replies: 2, ReplyBytes: length, Hang: hang}}
	}
	var calls sync.WaitGroup
	for i := range 12 {
		calls.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var err error
			switch i % 3 {
			case 0:
				err = invokeLong(ctx, p, script(false), length)
			case 1:
				err = streamLong(ctx, p, script(false), 2, length)
			default:
				err = streamLong(ctx, p, script(true), 1, length) // and leaves the second
			}
			if err != nil {
				t.Error(i, err)
			}
		})
	}
	calls.Wait()
	p.WaitReceived()
}

func invokeLong(ctx context.Context, p *backend.Pool, req *echopb.Request, length int) error {
	b, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	reply, err := p.Invoke(ctx, echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{}, [][]byte{b})
	if err != nil {
		return err
	}
	return checkLong(reply.Messages[0], 1, length)
}

func streamLong(ctx context.Context, p *backend.Pool, req *echopb.Request, n, length int) error {
	b, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	c, err := p.Start(ctx, echopb.Echo_ServerStream_FullMethodName, nil, backend.CallOptions{SingleRequest: true})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Send([][]byte{b}); err != nil {
		return err
	}
	if err := c.CloseSend(); err != nil {
		return err
	}
	for i := range n {
		m, err := c.Recv()
		if err != nil {
			return err
		}
		if err := checkLong(m, uint64(i+1), length); err != nil {
			return err
		}
	}
	return nil
}

func checkLong(m backend.Message, number uint64, length int) error {
	reply := new(echopb.Reply)
	if err := proto.Unmarshal(m.Bytes(), reply); err != nil {
		return err
	}
	if m.Free != nil {
		m.Free()
	}
	if !bytes.Equal(reply.GetPayload(), testsvc.Payload(number, length)) {
		return fmt.Errorf("message %d of %d bytes is not what was sent", number, len(reply.GetPayload()))
	}
	return nil
}

// TestFromClients: windows for clients' long messages wait as those for backends' do,
// and the connection of a message that makes no progress is closed, for the others.
func TestFromClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window, stall = 64 << 10, 30 * time.Second
		clients := backend.NewFromClients(1<<20, window, stall)
		stuck, stuckPeer := net.Pipe()
		next := new(written)
		first, second := clients.Conn(stuck), clients.Conn(next)
		read := func(c net.Conn) {
			if _, err := io.Copy(io.Discard, struct{ io.Reader }{c}); err == nil {
				t.Error("a connection that stalls was not cut")
			}
		}
		go read(first)
		go func() { _, _ = io.Copy(io.Discard, stuckPeer) }()
		if _, err := first.Write(update(1, 1<<20)); err != nil {
			t.Fatal(err)
		}
		data := framed(func(f *http2.Framer) error { return f.WriteData(1, false, []byte("x")) })
		if _, err := stuckPeer.Write(append([]byte(http2.ClientPreface), data...)); err != nil {
			t.Fatal(err)
		}
		if _, err := second.Write(append(update(1, window), update(3, window+1)...)); err != nil {
			t.Fatal(err)
		}
		if got, want := next.bytes(), update(1, window); !bytes.Equal(got, want) {
			t.Errorf("wrote %x, want %x", got, want)
		}
		time.Sleep(stall - time.Second)
		if _, err := stuckPeer.Write(data); err != nil {
			t.Errorf("it made progress: %v", err)
		}
		time.Sleep(stall - time.Second)
		synctest.Wait()
		if got, want := next.bytes(), update(1, window); !bytes.Equal(got, want) {
			t.Errorf("too early: wrote %x, want %x", got, want)
		}
		time.Sleep(2 * time.Second)
		if _, err := stuckPeer.Write(data); err == nil {
			t.Error("the connection that stalls is open")
		}
		first.Close() // as gRPC does, which cannot read
		synctest.Wait()
		if got, want := next.bytes(), append(update(1, window), update(3, window+1)...); !bytes.Equal(got, want) {
			t.Errorf("then: wrote %x, want %x", got, want)
		}
		second.Close()
	})
}
