package middlebox

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// upgraded passes a 101 on, and then bytes both ways.
func (c *conn) upgraded(ctx context.Context, resp *http.Response, f *Profile) {
	up, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return
	}
	c.p.add(func(n *Counts) { n.Upgrades++ })
	var head bytes.Buffer
	fmt.Fprintf(&head, "HTTP/1.1 101 %s\r\n", http.StatusText(resp.StatusCode))
	_ = c.p.edited(resp.Header, f).Write(&head) // a buffer takes all
	head.WriteString("\r\n")
	if _, err := c.rw.Write(head.Bytes()); err != nil {
		return
	}
	if f.FakeUpgrade {
		c.p.strike("fakeupgrade")
		c.swallow(ctx, up)
		return
	}
	c.splice(ctx, up, f)
}

// answer is one on its way to the client: its head, then pieces of its body,
// of which the profile holds some back.
type answer struct {
	c       *conn
	f       *Profile
	head    []byte
	chunked bool
	held    [][]byte
	body    int  // bytes that came
	sent    int  // bytes of the body that were written
	limit   int  // of sent; less than 0: none
	begun   bool // something was written
}

// deliver writes an answer. It reports false when the connection is over.
func (c *conn) deliver(ctx context.Context, req *http.Request, resp *http.Response, f *Profile) bool {
	if f.Gzip && strings.Contains(req.Header.Get("Accept-Encoding"), "gzip") && resp.Header.Get("Content-Encoding") == "" {
		c.p.strike("gzip")
		c.p.compress(resp)
	}
	defer resp.Body.Close()
	a := &answer{c: c, f: f, limit: c.p.killLimit(f)}
	keep := a.begin(req, resp)
	buf := make([]byte, pieceSize)
	for {
		n, err := resp.Body.Read(buf)
		if n > 0 && !a.add(buf[:n]) {
			return false
		}
		if errors.Is(err, io.EOF) {
			return a.flush() && a.finish() && keep
		}
		if err != nil && context.Cause(ctx) == errCut {
			return c.cut(req, a, f)
		}
		if err != nil {
			if !f.HTTP10 { // there, nobody can tell that bytes are missing
				c.line.reset()
			}
			return false
		}
	}
}

// begin writes the head, or keeps it for later. It reports whether the
// connection can go on after the answer.
func (a *answer) begin(req *http.Request, resp *http.Response) bool {
	header := resp.Header
	pruneHops(header)
	header.Del("Content-Length")
	proto, keep := "HTTP/1.1", !req.Close
	none := req.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	switch {
	case none:
	case a.f.HTTP10:
		a.c.p.strike("http10")
		proto, keep = "HTTP/1.0", false
	case resp.ContentLength >= 0:
		header.Set("Content-Length", strconv.FormatInt(resp.ContentLength, 10))
	case req.ProtoAtLeast(1, 1):
		a.chunked = true
		header.Set("Transfer-Encoding", "chunked")
	default:
		keep = false
	}
	if !keep {
		header.Set("Connection", "close")
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %d %s\r\n", proto, resp.StatusCode, http.StatusText(resp.StatusCode))
	_ = header.Write(&head) // a buffer takes all
	head.WriteString("\r\n")
	a.head = head.Bytes()
	if !a.f.Buffer && a.f.BufferBytes == 0 && !a.f.OneBehind {
		return a.write(nil) && keep
	}
	return keep
}

// add takes a piece of the body. It reports false when the answer was killed
// or the client is gone.
func (a *answer) add(data []byte) bool {
	a.body += len(data)
	switch f := a.f; {
	case f.Buffer:
		a.c.p.strike("buffer")
	case a.body < f.BufferBytes:
		a.c.p.strike("bufbytes")
	case f.OneBehind:
		a.c.p.strike("onebehind")
		ok := a.flush()
		a.held = [][]byte{bytes.Clone(data)}
		return ok
	default:
		return a.flush() && a.write(data)
	}
	a.held = append(a.held, bytes.Clone(data))
	return true
}

// flush writes what is held, the head at least.
func (a *answer) flush() bool {
	held := a.held
	a.held = nil
	for _, data := range held {
		if !a.write(data) {
			return false
		}
	}
	return a.begun || a.write(nil)
}

// write writes a piece of the body, and the head before it.
func (a *answer) write(data []byte) bool {
	killed := a.limit >= 0 && a.sent+len(data) >= a.limit && len(data) > 0
	if killed {
		data = data[:a.limit-a.sent]
	}
	a.sent += len(data)
	out := a.head
	a.head, a.begun = nil, true
	if a.chunked && len(data) > 0 {
		out = fmt.Appendf(out, "%x\r\n%s\r\n", len(data), data)
	} else {
		out = append(out, data...)
	}
	_, err := a.c.rw.Write(out)
	if killed {
		a.c.p.strike("killafter")
		a.c.line.reset()
	}
	return err == nil && !killed
}

// finish ends the body in order.
func (a *answer) finish() bool {
	if !a.chunked {
		return true
	}
	_, err := io.WriteString(a.c.rw, "0\r\n\r\n")
	return err == nil
}

// cut ends an exchange whose time is over. a is nil while the upstream has not
// answered.
func (c *conn) cut(req *http.Request, a *answer, f *Profile) bool {
	c.p.strike("cut")
	if a == nil {
		a = &answer{c: c, f: f}
	}
	switch {
	case f.CutWith == Short && a.begun:
		return a.flush() && a.finish() && a.chunked
	case f.CutWith == Short:
		held := bytes.Join(a.held, nil)
		_, err := fmt.Fprintf(c.rw, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n%s", len(held), held)
		return err == nil && !req.Close
	case f.CutWith == Status504 && !a.begun:
		return c.page(req, http.StatusGatewayTimeout, "Gateway time-out", "")
	}
	return false
}

// compress gives an answer a compressed body with nothing flushed on the way.
func (p *Proxy) compress(resp *http.Response) {
	plain := resp.Body
	r, w := io.Pipe()
	resp.Body = r
	resp.ContentLength = -1
	resp.Header.Set("Content-Encoding", "gzip")
	p.tasks.Go(func() {
		defer plain.Close()
		z := gzip.NewWriter(w)
		_, err := io.Copy(z, plain)
		if err == nil {
			err = z.Close()
		}
		w.CloseWithError(err)
	})
}
