package wsframe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/wsframe"
)

// writes keeps what is written.
type writes struct {
	net.Conn
	got [][]byte
}

func (w *writes) SetWriteDeadline(time.Time) error { return nil }

func (w *writes) Write(p []byte) (int, error) {
	w.got = append(w.got, bytes.Clone(p))
	return len(p), nil
}

// writer is what both ends have.
type writer interface {
	io.Writer
	WriteMessage([][]byte) error
}

// ends are both ends.
var ends = []struct {
	name string
	mask byte
	over func(net.Conn) writer
}{
	{"server", 0, func(c net.Conn) writer { return wsframe.NewWriter(c, time.Minute) }},
	{"client", 0x80, func(c net.Conn) writer { return wsframe.NewMaskedWriter(c) }},
}

// cut returns a message of n bytes in pieces of unlike lengths, one of them empty.
func cut(n int) (message []byte, pieces [][]byte) {
	message = make([]byte, n)
	for i := range message {
		message[i] = byte(i * 7)
	}
	third := n / 3
	return message, [][]byte{message[:third], nil, message[third:]}
}

// unframe takes a binary frame apart, byte by byte.
func unframe(t *testing.T, frame []byte, mask byte) []byte {
	t.Helper()
	if frame[0] != 0x82 || frame[1]&0x80 != mask {
		t.Fatalf("frame begins % x, want a final binary one, mask bit %#x", frame[:2], mask)
	}
	n, rest := int(frame[1]&0x7f), frame[2:]
	switch n {
	case 126:
		n, rest = int(binary.BigEndian.Uint16(rest)), rest[2:]
	case 127:
		n, rest = int(binary.BigEndian.Uint64(rest)), rest[8:]
	}
	key := make([]byte, 4)
	if mask != 0 {
		key, rest = rest[:4], rest[4:]
	}
	if len(rest) != n {
		t.Fatalf("payload has %d bytes, the header says %d", len(rest), n)
	}
	plain := make([]byte, n)
	for i := range plain {
		plain[i] = rest[i] ^ key[i%4]
	}
	return plain
}

func TestWriteMessage(t *testing.T) {
	for _, end := range ends {
		for _, n := range []int{0, 1, 3, 125, 126, 255, 256, 257, 1023, 65535, 65536, 100_003} {
			t.Run(fmt.Sprint(end.name, " ", n), func(t *testing.T) {
				message, pieces := cut(n)
				sent := &writes{}
				w := end.over(sent)
				for range 2 { // the second goes into the first one's buffer
					if err := w.WriteMessage(pieces); err != nil {
						t.Fatal(err)
					}
				}
				if len(sent.got) != 2 {
					t.Fatalf("two messages took %d writes", len(sent.got))
				}
				for _, frame := range sent.got {
					if got := unframe(t, frame, end.mask); !bytes.Equal(got, message) {
						t.Fatalf("%d bytes differ from the message", len(got))
					}
				}
			})
		}
	}
}

func TestNothingAfterClose(t *testing.T) {
	for _, end := range ends {
		t.Run(end.name, func(t *testing.T) {
			sent := &writes{}
			w := end.over(sent)
			if _, err := w.Write([]byte{0x88, end.mask, 0, 0, 0, 0}); err != nil {
				t.Fatal(err)
			}
			if err := w.WriteMessage([][]byte{make([]byte, 4)}); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("a message after the close frame: %v, want %v", err, net.ErrClosed)
			}
			for _, opcode := range []byte{0x88, 0x8a} { // the library answers a close frame, and pings
				if n, err := w.Write([]byte{opcode, end.mask, 0, 0, 0, 0}); n != 6 || err != nil {
					t.Errorf("%d, %v of a dropped frame", n, err)
				}
			}
			if len(sent.got) != 1 {
				t.Fatalf("%d writes, want the close frame alone", len(sent.got))
			}
		})
	}
}

// discard is a connection that takes all.
type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error)      { return len(p), nil }
func (discard) SetWriteDeadline(time.Time) error { return nil }

// TCP takes a message where its pieces are, whatever lies between them.
func TestWriteMessage_tcp(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	near, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	message, pieces := cut(1 << 20)
	w := wsframe.NewWriter(near, time.Minute)
	var writing sync.WaitGroup
	writing.Go(func() {
		defer near.Close()
		for range 2 {
			if err := w.WriteMessage(pieces); err != nil {
				t.Error(err)
			}
		}
	})
	got, err := io.ReadAll(far)
	writing.Wait()
	if err != nil || len(got)%2 != 0 {
		t.Fatalf("%d bytes came: %v", len(got), err)
	}
	for _, frame := range [][]byte{got[:len(got)/2], got[len(got)/2:]} {
		if !bytes.Equal(unframe(t, frame, 0), message) {
			t.Error("the message differs")
		}
	}
}

func TestAllocations(t *testing.T) {
	for _, end := range ends {
		w := end.over(discard{})
		_, pieces := cut(64 << 10)
		if n := testing.AllocsPerRun(100, func() { _ = w.WriteMessage(pieces) }); n > 0 {
			t.Errorf("%s: %v allocations a message, want none", end.name, n)
		}
	}
}

func BenchmarkWriteMessage(b *testing.B) {
	for _, end := range ends {
		for _, n := range []int{100, 64 << 10} {
			b.Run(fmt.Sprint(end.name, "/", n), func(b *testing.B) {
				w := end.over(discard{})
				_, pieces := cut(n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					_ = w.WriteMessage(pieces)
				}
			})
		}
	}
}
