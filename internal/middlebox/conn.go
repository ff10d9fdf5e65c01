package middlebox

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxTaken is the longest body of a request that is taken, whatever the
// profile says: bodies are held in memory, so that they can be sent twice.
const maxTaken = 64 << 20

// conn is one client's connection, or what is inside its tunnel: requests that
// come one after the other.
type conn struct {
	p      *Proxy
	line   *line    // below TLS
	rw     net.Conn // line, or TLS over it
	br     *bufio.Reader
	secure bool   // the client speaks TLS here
	tunnel string // host:port that the client asked for by CONNECT

	watching chan struct{} // closed when watch has ended; nil: none runs
}

func newConn(p *Proxy, l *line, rw net.Conn) *conn {
	return &conn{p: p, line: l, rw: rw, br: bufio.NewReader(rw)}
}

func (c *conn) serve() {
	for c.next() {
	}
	c.rw.Close()
	c.unwatch()
}

// next serves one request. It reports false when the connection is over.
func (c *conn) next() bool {
	c.unwatch()
	req, err := http.ReadRequest(c.br)
	if err != nil {
		return false
	}
	f := c.p.profile.Load()
	if f.Auth != "" && c.tunnel == "" && !authorized(req, f.Auth) {
		c.p.strike("auth")
		return c.refuse(req, http.StatusProxyAuthRequired, "Proxy-Authenticate: Basic realm=\"middlebox\"\r\n")
	}
	if req.Method == http.MethodConnect {
		return c.connect(req, f)
	}
	return c.exchange(req, f)
}

func authorized(req *http.Request, user string) bool {
	return req.Header.Get("Proxy-Authorization") == "Basic "+base64.StdEncoding.EncodeToString([]byte(user))
}

// watch calls gone when the client closes the connection before it sends
// another request.
func (c *conn) watch(gone func()) {
	c.watching = make(chan struct{})
	c.p.tasks.Go(func() {
		defer close(c.watching)
		if _, err := c.br.Peek(1); err != nil {
			gone()
		}
	})
}

func (c *conn) unwatch() {
	if c.watching != nil {
		<-c.watching
		c.watching = nil
	}
}

// refuse answers with a page of the middlebox's own after it read the body.
// header has lines that end in CRLF.
func (c *conn) refuse(req *http.Request, status int, header string) bool {
	if _, err := io.Copy(io.Discard, io.LimitReader(req.Body, maxTaken)); err != nil {
		return false
	}
	return c.page(req, status, http.StatusText(status), header)
}

// page answers with a page of HTML.
func (c *conn) page(req *http.Request, status int, title, header string) bool {
	body := fmt.Sprintf("<!doctype html>\n<title>%[1]s</title>\n<h1>%[1]s</h1>\n", html.EscapeString(title))
	length := len(body)
	if req.Method == http.MethodHead {
		body = ""
	}
	_, err := fmt.Fprintf(c.rw, "HTTP/1.1 %d %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n%s\r\n%s",
		status, http.StatusText(status), length, header, body)
	return err == nil && !req.Close
}

// connect opens a tunnel, or looks into it.
func (c *conn) connect(req *http.Request, f *Profile) bool {
	if f.NoConnect {
		c.p.strike("noconnect")
		return c.page(req, http.StatusForbidden, "Access denied", "")
	}
	if c.tunnel != "" {
		return c.page(req, http.StatusMethodNotAllowed, "A tunnel in a tunnel", "")
	}
	if c.p.cfg.CA != nil {
		c.inspect(req.Host)
		return false
	}
	up, err := c.p.cfg.Dial(c.p.ctx, "tcp", req.Host)
	if err != nil {
		return c.page(req, http.StatusBadGateway, err.Error(), "")
	}
	c.p.add(func(n *Counts) { n.Tunnels++ })
	if !c.established() {
		up.Close()
		return false
	}
	ctx, cancel := c.p.lifetime(c.p.ctx, false, f)
	defer cancel()
	c.splice(ctx, up, f)
	return false
}

func (c *conn) established() bool {
	_, err := io.WriteString(c.rw, "HTTP/1.1 200 Connection established\r\n\r\n")
	return err == nil
}

// handshakeType is the first byte of TLS.
const handshakeType = 0x16

// inspect serves the requests inside a tunnel, with TLS or without.
func (c *conn) inspect(target string) {
	c.p.add(func(n *Counts) { n.Tunnels++ })
	if !c.established() {
		return
	}
	first, err := c.br.Peek(1)
	if err != nil {
		return
	}
	inner := &conn{p: c.p, line: c.line, rw: c.rw, br: c.br, tunnel: target}
	if first[0] == handshakeType {
		host, _, err := net.SplitHostPort(target)
		if err != nil {
			return
		}
		inner.secure = true
		inner.rw = tls.Server(buffered{c.rw, c.br}, c.p.cfg.CA.config(host))
		inner.br = bufio.NewReader(inner.rw)
	}
	inner.serve()
}

// buffered is a connection of which some was read into a buffer.
type buffered struct {
	net.Conn
	r io.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

var errCut = errors.New("middlebox: cut")

// lifetime returns a context that ends by errCut when the profile says.
func (p *Proxy) lifetime(ctx context.Context, upgrades bool, f *Profile) (context.Context, context.CancelFunc) {
	if f.Cut <= 0 || f.CutUpgrades && !upgrades {
		return context.WithCancel(ctx)
	}
	age := f.Cut
	if f.CutSpread > 0 {
		age += time.Duration(p.upTo(int(f.CutSpread)))
	}
	return context.WithTimeoutCause(ctx, age, errCut)
}

// url is where a request goes to, and whether that is known.
func (c *conn) url(req *http.Request) (string, bool) {
	switch {
	case c.tunnel != "" && c.secure:
		return "https://" + c.tunnel + req.URL.RequestURI(), true
	case c.tunnel != "":
		return "http://" + c.tunnel + req.URL.RequestURI(), true
	case req.URL.IsAbs():
		return req.URL.String(), strings.HasPrefix(req.URL.Scheme, "http")
	case c.p.upstream != nil:
		return c.p.upstream.Scheme + "://" + c.p.upstream.Host + req.URL.RequestURI(), true
	}
	return "", false
}
