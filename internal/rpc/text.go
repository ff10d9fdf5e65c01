package rpc

import (
	"bytes"
	"encoding/base64"
	"io"
)

// gRPC-Web's text form is the binary one in base64. A sender may pad wherever
// it flushes, so padding can be anywhere.

const groupSize = 4 // characters of base64 that stand for up to three bytes

// textReader takes a body in base64 apart.
type textReader struct {
	io.ReadCloser
	buffer  [4 << 10]byte
	pending []byte // read and not decoded: part of a group
	decoded []byte // not yet given
	room    [3 << 10]byte
}

// Read implements io.Reader. The error for what is not base64 is a
// base64.CorruptInputError, and io.ErrUnexpectedEOF where a group is cut.
func (t *textReader) Read(p []byte) (int, error) {
	for len(t.decoded) == 0 {
		if err := t.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, t.decoded)
	t.decoded = t.decoded[n:]
	return n, nil
}

// fill decodes some groups. An error of the body counts once everything before
// it is decoded.
func (t *textReader) fill() error {
	if len(t.pending) < groupSize {
		n := copy(t.buffer[:], t.pending)
		got, err := t.ReadCloser.Read(t.buffer[n:])
		t.pending = t.buffer[:n+got]
		if len(t.pending) < groupSize {
			if err == io.EOF && len(t.pending) > 0 {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	groups := t.pending[:len(t.pending)-len(t.pending)%groupSize]
	if i := bytes.IndexByte(groups, '='); i >= 0 {
		groups = groups[:i-i%groupSize+groupSize]
	}
	n, err := base64.StdEncoding.Decode(t.room[:], groups)
	t.decoded, t.pending = t.room[:n], t.pending[len(groups):]
	return err
}

// textWriter writes base64. Up to two bytes wait for the rest of their group,
// or for pad.
type textWriter struct {
	to      io.Writer
	waiting [3]byte
	n       int
	out     []byte
}

// Write implements io.Writer.
func (t *textWriter) Write(p []byte) (int, error) {
	length := len(p)
	t.out = t.out[:0]
	if t.n > 0 {
		taken := copy(t.waiting[t.n:], p)
		t.n, p = t.n+taken, p[taken:]
		if t.n < len(t.waiting) {
			return length, nil
		}
		t.out = base64.StdEncoding.AppendEncode(t.out, t.waiting[:])
		t.n = 0
	}
	whole := len(p) - len(p)%len(t.waiting)
	t.out = base64.StdEncoding.AppendEncode(t.out, p[:whole])
	t.n = copy(t.waiting[:], p[whole:])
	if _, err := t.to.Write(t.out); err != nil {
		return 0, err
	}
	return length, nil
}

// pad writes what waits.
func (t *textWriter) pad() error {
	if t.n == 0 {
		return nil
	}
	out := base64.StdEncoding.AppendEncode(t.out[:0], t.waiting[:t.n])
	t.n = 0
	_, err := t.to.Write(out)
	return err
}
