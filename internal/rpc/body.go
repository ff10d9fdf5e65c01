package rpc

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync/atomic"

	"connectrpc.com/connect/v2"
)

// prefixSize is the length of what precedes a message in a stream: flags, and
// the message's length in four bytes.
const prefixSize = 5

// body is a request's body. It counts what connect-go reads of a message in the
// budget, and has a message that began to arrive go on: one that stalls holds
// memory, while a stream that is quiet between two messages does not.
type body struct {
	io.ReadCloser
	call  *httpCall
	unary bool

	held   int // bytes read and counted since the last release
	begun  bool
	prefix [prefixSize]byte
	got    int   // bytes of the prefix
	left   int64 // bytes of the message after its prefix
	timed  bool  // a read deadline is set
}

// Close leaves the rest of the body to net/http, which must not wait for it
// before the answer is out.
func (b *body) Close() error { return nil }

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.setTimer(b.inside())
	n, err := b.ReadCloser.Read(p)
	if budgetErr := b.call.handler.budget.take(n); budgetErr != nil {
		return n, budgetErr
	}
	b.held += n
	b.follow(p[:n])
	if b.timed && errors.Is(err, os.ErrDeadlineExceeded) && !b.call.wasInterrupted() {
		err = connect.Errorf(connect.CodeDeadlineExceeded, "a message made no progress for %v", b.call.handler.cfg.StallTimeout)
	}
	return n, err
}

// inside reports whether part of a message was read, and not all of it.
func (b *body) inside() bool {
	if b.unary {
		return b.begun && !b.call.source.whole()
	}
	return b.got > 0
}

func (b *body) follow(p []byte) {
	b.begun = b.begun || len(p) > 0
	for !b.unary && len(p) > 0 {
		var n int
		if b.got < prefixSize {
			n = copy(b.prefix[b.got:], p)
			if b.got += n; b.got == prefixSize {
				b.left = int64(binary.BigEndian.Uint32(b.prefix[1:]))
			}
		} else {
			n = int(min(b.left, int64(len(p))))
			b.left -= int64(n)
		}
		p = p[n:]
		if b.got == prefixSize && b.left == 0 {
			b.got = 0
		}
	}
}

// setTimer has the read that follows end in time, or wait as long as it takes.
func (b *body) setTimer(on bool) {
	if !on && !b.timed {
		return
	}
	b.timed = on
	b.call.setReadTimer(on)
}

// source is a request's body as net/http has it. whole may be called at any time.
type source struct {
	io.ReadCloser
	length int64 // the request's ContentLength
	read   atomic.Int64
	ended  atomic.Bool
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.read.Add(int64(n))
	if err == io.EOF {
		s.ended.Store(true)
	}
	return n, err
}

// whole reports whether all of the body was read.
func (s *source) whole() bool { return s.ended.Load() || s.read.Load() == s.length }

// release gives back what was counted.
func (b *body) release() {
	b.call.handler.budget.give(b.held)
	b.held = 0
}
