package wsframe_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/pollbridge/pollbridge/internal/wsframe"
)

// writes keeps what is written.
type writes struct{ got [][]byte }

func (w *writes) Write(p []byte) (int, error) {
	w.got = append(w.got, bytes.Clone(p))
	return len(p), nil
}

// writer is what both ends have.
type writer interface {
	io.Writer
	WriteMessage([]byte) error
}

// ends are both ends, and the room that their messages need.
var ends = []struct {
	name string
	room int
	mask byte
	over func(io.Writer) writer
}{
	{"server", wsframe.Room, 0, func(w io.Writer) writer { return wsframe.NewWriter(w) }},
	{"client", 0, 0x80, func(w io.Writer) writer { return wsframe.NewMaskedWriter(w) }},
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
				buf := make([]byte, end.room+n)
				message := buf[end.room:]
				for i := range message {
					message[i] = byte(i * 7)
				}
				sent := &writes{}
				w := end.over(sent)
				for range 2 { // the second goes into the first one's buffer
					if err := w.WriteMessage(buf); err != nil {
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
			if err := w.WriteMessage(make([]byte, end.room+4)); !errors.Is(err, net.ErrClosed) {
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

func TestAllocations(t *testing.T) {
	for _, end := range ends {
		w := end.over(io.Discard)
		buf := make([]byte, 64<<10)
		if n := testing.AllocsPerRun(100, func() { _ = w.WriteMessage(buf) }); n > 0 {
			t.Errorf("%s: %v allocations a message, want none", end.name, n)
		}
	}
}

func BenchmarkWriteMessage(b *testing.B) {
	for _, end := range ends {
		for _, n := range []int{100, 64 << 10} {
			b.Run(fmt.Sprint(end.name, "/", n), func(b *testing.B) {
				w := end.over(io.Discard)
				buf := make([]byte, end.room+n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					_ = w.WriteMessage(buf)
				}
			})
		}
	}
}
