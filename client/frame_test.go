package client_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/pollbridge/pollbridge/client"
)

// writes is an open handshake that keeps what is written.
type writes struct {
	io.ReadCloser
	got [][]byte
}

func (w *writes) Write(p []byte) (int, error) {
	w.got = append(w.got, bytes.Clone(p))
	return len(p), nil
}

// unframe takes a masked binary frame apart, byte by byte.
func unframe(t *testing.T, frame []byte) []byte {
	t.Helper()
	if frame[0] != 0x82 || frame[1]&0x80 == 0 {
		t.Fatalf("frame begins % x, want a final, masked binary one", frame[:2])
	}
	n, rest := int(frame[1]&0x7f), frame[2:]
	switch n {
	case 126:
		n, rest = int(binary.BigEndian.Uint16(rest)), rest[2:]
	case 127:
		n, rest = int(binary.BigEndian.Uint64(rest)), rest[8:]
	}
	key, payload := rest[:4], rest[4:]
	if len(payload) != n {
		t.Fatalf("payload has %d bytes, the header says %d", len(payload), n)
	}
	plain := make([]byte, n)
	for i := range plain {
		plain[i] = payload[i] ^ key[i%4]
	}
	return plain
}

func TestWriteFrame(t *testing.T) {
	for _, n := range []int{0, 1, 3, 125, 126, 255, 256, 257, 1023, 65535, 65536, 100_003} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			message := make([]byte, n)
			for i := range message {
				message[i] = byte(i * 7)
			}
			w := &writes{}
			c := client.NewFrameConn(w)
			for range 2 { // the second goes into the first one's buffer
				if err := c.WriteFrame(message); err != nil {
					t.Fatal(err)
				}
			}
			if len(w.got) != 2 {
				t.Fatalf("two messages took %d writes", len(w.got))
			}
			for _, frame := range w.got {
				if got := unframe(t, frame); !bytes.Equal(got, message) {
					t.Fatalf("unmasked, %d bytes differ from the message", len(got))
				}
			}
		})
	}
}

func TestNothingAfterClose(t *testing.T) {
	w := &writes{}
	c := client.NewFrameConn(w)
	if _, err := c.Write([]byte{0x88, 0x80, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteFrame([]byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("a message after the close frame: %v, want %v", err, net.ErrClosed)
	}
	if len(w.got) != 1 {
		t.Fatalf("%d writes, want the close frame alone", len(w.got))
	}
}

type nowhere struct{ io.ReadCloser }

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func TestFrameAllocations(t *testing.T) {
	c := client.NewFrameConn(nowhere{})
	message := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(100, func() { _ = c.WriteFrame(message) }); n > 0 {
		t.Fatalf("%v allocations a message, want none", n)
	}
}

func BenchmarkFrame(b *testing.B) {
	for _, n := range []int{100, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := client.NewFrameConn(nowhere{})
			message := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				_ = c.WriteFrame(message)
			}
		})
	}
}
