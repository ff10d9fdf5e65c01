package ws

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/internal/park"
	"github.com/pollbridge/pollbridge/internal/wsframe"
	"github.com/pollbridge/pollbridge/transport"
)

const (
	// writeMax is the longest message that is written. More waits in the
	// outbox, where the next link would find it.
	writeMax = 256 << 10
	// keptScratch is the largest buffer for reading that is used again.
	keptScratch = 512 << 10
	// lastWords is how long a link that ends may take to say why.
	lastWords = 10 * time.Second
	// goingAway is the reason of CloseGoingAway.
	goingAway = "the bridge is closing its WebSockets"
)

// socket is one WebSocket.
//
// The library reads with a context that is never cancelled, which is cheap. A
// deadline, or closing conn, unblocks reads and writes. Only the goroutine that
// runs open, and then run, reads: websocket.Conn.Close, which does so too, is not
// called.
//
// While its link is idle, so is the reader, where the connection can be watched:
// whoever finds it idle ends its wait by a deadline in the past, and if nothing is
// there to read, in the connection or in what decrypts it, the goroutine ends. A
// watch then starts another.
type socket struct {
	*websocket.Conn
	conn    net.Conn
	reader  *bufio.Reader // the library's
	frames  *wsframe.Writer
	handler *Handler
	message io.Reader        // being read, or read last; nil: none was
	limited io.LimitedReader // of it

	watch park.Watch

	// Set by open.
	link transport.Link
	ctx  context.Context // the link's: ends before the socket does
	end  context.CancelCauseFunc

	writers sync.WaitGroup

	mu      sync.Mutex
	writing int         // writers; two while one that found the link idle returns
	limit   *time.Timer // closes a socket that goes away; nil: it does not
	waiting bool        // the reader waits for a message
	hurried bool        // its wait was ended, so that it is parked
	parked  bool        // there is no reader: resume starts it
	resumed bool        // the reader was started because there is something to read
}

var (
	errText     = errors.New("text message: batches are binary messages")
	errTooLarge = errors.New("message over the limit")
	// errGoingAway is why a context ends when the handler is closed.
	errGoingAway = errors.New("ws: the handler was closed")
)

// open waits for the first batch and opens the link that it asks for. It reports
// whether there is one to run; if not, the socket is of no more use.
func (s *socket) open(ctx context.Context, acceptor transport.Acceptor, timeout time.Duration, hello transport.Hello) bool {
	_ = s.conn.SetReadDeadline(time.Now().Add(timeout))
	batch, err := s.read()
	_ = s.conn.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.close(CloseMute, fmt.Sprintf("no batch within %s", timeout))
		s.drain()
		return false
	case errors.Is(err, errTooLarge):
		hello.TooLarge = s.handler.cfg.MaxBatch
	case err != nil:
		s.closeFor(err)
		return false
	}
	hello.Batch = batch
	hello.Wake = s.startWriter
	s.ctx, s.end = context.WithCancelCause(context.Background())
	s.link = acceptor.Accept(ctx, hello)
	if err != nil {
		s.refuse(ctx, s.link, err)
		return false
	}
	return true
}

// refuse sends what the link says about a first batch that was not read.
func (s *socket) refuse(ctx context.Context, link transport.Link, err error) {
	defer link.Close()
	batch, nextErr := link.Next(ctx, s.handler.writeMax())
	if nextErr != nil || s.frames.WriteMessage(batch) != nil {
		return
	}
	s.closeFor(err)
}

// run reads until the socket is parked, or either it or the link is done: then it
// closes both. It reports whether it did.
func (s *socket) run() bool {
	if s.readLoop() {
		return false
	}
	s.mu.Lock()
	s.end(nil)
	if s.limit != nil {
		s.limit.Stop()
	}
	s.mu.Unlock()
	s.watch.Close()
	_ = s.CloseNow() // frees a writer from a write
	s.writers.Wait()
	s.link.Close()
	return true
}

// await waits for the next message, or for the end. It reports whether the socket
// was parked instead.
func (s *socket) await() (parked bool) {
	s.mu.Lock()
	s.waiting = true
	if !s.resumed {
		s.hurry()
	}
	s.resumed = false
	s.mu.Unlock()
	_, err := s.reader.Peek(1) // of other errors the library is told too
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = false
	if !s.hurried {
		return false
	}
	s.hurried = false
	_ = s.conn.SetReadDeadline(time.Time{})
	s.parked = errors.Is(err, os.ErrDeadlineExceeded) && s.watch.Arm()
	return s.parked
}

// hurry ends the reader's wait if the link is idle. s.mu is held.
func (s *socket) hurry() {
	if s.waiting && s.writing == 0 && s.ctx.Err() == nil && s.watch.Works() {
		s.hurried = true
		_ = s.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// resume starts the reader of a parked socket, for which there is something to
// read.
func (s *socket) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resumed = s.parked
	s.unpark()
}

// unpark starts the reader of a parked socket. s.mu is held.
func (s *socket) unpark() {
	if s.parked {
		s.parked = false
		s.handler.read(s)
	}
}

// fail is stop without s.mu held, unless the link's context has ended. It reports
// whether it had not.
func (s *socket) fail(cause error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.stop(cause)
	return true
}

// stop ends the link's context. The reader has lastWords from now on. s.mu is held.
func (s *socket) stop(cause error) {
	s.end(cause)
	s.hurried = false
	_ = s.conn.SetReadDeadline(time.Now().Add(lastWords))
	s.unpark()
}

// startWriter starts a writer unless the socket ends. It is the link's Wake.
func (s *socket) startWriter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() == nil {
		s.writing++
		s.writers.Go(s.write)
	}
}

// write is a writer.
func (s *socket) write() {
	s.writeLoop()
	s.mu.Lock()
	s.writing--
	last := s.writing == 0 && errors.Is(context.Cause(s.ctx), errGoingAway)
	s.hurry()
	s.mu.Unlock()
	if last {
		s.leave()
	}
}

// goAway closes the socket, with CloseGoingAway unless its link is done. It does
// not wait.
func (s *socket) goAway() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return // it ends already
	}
	s.stop(errGoingAway)
	s.limit = time.AfterFunc(lastWords, func() { _ = s.CloseNow() })
	if s.writing == 0 {
		s.writers.Go(s.leave)
	}
}

// leave writes what the link has ready, and closes. One batch is enough: either
// the session goes on over another link, or the batch says why it is over.
func (s *socket) leave() {
	code, reason := CloseGoingAway, goingAway
	for range 2 {
		batch, err := s.link.Next(s.ctx, s.handler.writeMax())
		if errors.Is(err, transport.ErrLinkDone) {
			code, reason = closeCode(err)
		}
		if err != nil || s.frames.WriteMessage(batch) != nil {
			break
		}
	}
	s.close(code, reason)
}

// readLoop delivers what comes until the WebSocket ends. It reports whether the
// socket was parked instead. It waits before it calls the library: a stack shrinks
// only while little of it is used.
func (s *socket) readLoop() (parked bool) {
	for !s.await() {
		batch, err := s.read()
		if err != nil {
			s.closeFor(err)
			return false
		}
		if err := s.link.Deliver(s.ctx, batch); err != nil {
			_ = s.conn.SetReadDeadline(time.Now().Add(lastWords))
			s.drain()
			return false
		}
	}
	return true
}

// drain discards what comes until the peer has closed too.
func (s *socket) drain() {
	for err := error(nil); err == nil; {
		if s.message != nil {
			_, err = io.Copy(io.Discard, s.message)
		}
		if err == nil {
			_, s.message, err = s.Reader(context.Background())
		}
	}
}

// closeFor closes the WebSocket for an error of read, with its code if it is
// the peer's fault.
func (s *socket) closeFor(err error) {
	switch {
	case errors.Is(err, errText):
		s.close(CloseText, errText.Error())
	case errors.Is(err, errTooLarge):
		s.close(CloseTooLarge, fmt.Sprintf("message over the limit of %d bytes", s.handler.cfg.MaxBatch))
	default:
		return
	}
	s.drain()
}

// close says that the socket closes, and why. The reader goes on until the peer
// says so too, for as long as lastWords.
func (s *socket) close(code websocket.StatusCode, reason string) {
	_ = s.conn.SetReadDeadline(time.Now().Add(lastWords))
	_, _ = s.frames.Write(closeFrame(code, reason)) // else the peer is gone
}

// scratch holds buffers that messages are read into while they arrive: an idle
// socket has none.
var scratch = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// read reads one message into a buffer of exactly its size: the engine keeps
// slices of it.
func (s *socket) read() ([]byte, error) {
	kind, r, err := s.Reader(context.Background())
	if err != nil {
		return nil, err
	}
	s.message = r
	if kind != websocket.MessageBinary {
		return nil, errText
	}
	buf := scratch.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= keptScratch {
			buf.Reset()
			scratch.Put(buf)
		}
	}()
	s.limited = io.LimitedReader{R: r, N: int64(s.handler.cfg.MaxBatch) + 1}
	if _, err := buf.ReadFrom(&s.limited); err != nil {
		return nil, err
	}
	if buf.Len() > s.handler.cfg.MaxBatch {
		return nil, errTooLarge
	}
	return bytes.Clone(buf.Bytes()), nil
}

// writeLoop writes batches until the link is idle or done, or the socket ends.
func (s *socket) writeLoop() {
	for s.ctx.Err() == nil {
		batch, err := s.link.Next(s.ctx, s.handler.writeMax())
		if errors.Is(err, transport.ErrIdle) {
			return
		}
		if errors.Is(err, transport.ErrLinkDone) {
			s.fail(err) // frees a Deliver
			s.close(closeCode(err))
			return
		}
		if err == nil {
			err = s.frames.WriteMessage(batch)
		}
		if err != nil {
			if s.fail(err) {
				_ = s.CloseNow() // frees the reader
			}
			return
		}
	}
}
