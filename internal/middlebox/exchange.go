package middlebox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"time"
)

// exchange answers one request. It reports false when the connection is over.
func (c *conn) exchange(req *http.Request, f *Profile) bool {
	p := c.p
	p.add(func(n *Counts) { n.Requests++ })
	number := p.number()
	body, keep, ok := c.body(req, f)
	if !ok {
		return keep
	}
	target, ok := c.url(req)
	if !ok {
		return c.page(req, http.StatusBadRequest, "No upstream, and no absolute URL", "")
	}
	if f.GetPost && req.Method != http.MethodGet && req.Method != http.MethodPost {
		p.strike("getpost")
		return c.page(req, http.StatusMethodNotAllowed, "Method not allowed", "")
	}
	if every(number, f.InjectEvery) {
		p.strike("inject")
		return c.page(req, http.StatusOK, "Log in to the network", "")
	}
	ctx, gone := context.WithCancelCause(p.ctx)
	defer gone(nil)
	c.watch(func() {
		if f.Linger {
			p.strike("linger")
			return
		}
		gone(errGone)
	})
	out := &request{method: req.Method, url: target, host: req.Host, header: p.edited(req.Header, f), body: body}
	out.prune()
	if out.upgrades() && !c.upgradable(ctx, out, f) {
		return false
	}
	return c.forward(ctx, number, req, out, f)
}

var errGone = errors.New("middlebox: the client has gone")

// upgradable does to a request with Upgrade what the profile says. It reports
// false if the request gets no answer.
func (c *conn) upgradable(ctx context.Context, out *request, f *Profile) bool {
	switch {
	case f.MuteUpgrade:
		c.p.strike("muteupgrade")
		<-ctx.Done()
		return false
	case f.NoUpgrade:
		c.p.strike("noupgrade")
		out.header.Del("Connection")
		out.header.Del("Upgrade")
	}
	return true
}

// forward asks the upstream and answers with what came.
func (c *conn) forward(ctx context.Context, number int, req *http.Request, out *request, f *Profile) bool {
	p := c.p
	ctx, cancel := p.lifetime(ctx, out.upgrades(), f)
	defer cancel()
	if !out.upgrades() { // those stay for long
		if !p.enter(ctx, f) {
			return c.broken(ctx, req, f)
		}
		defer p.leave()
	}
	if f.Cache && out.method == http.MethodGet && !out.upgrades() {
		if known, ok := p.recall("GET " + out.url); ok {
			p.strike("cache")
			return c.deliver(ctx, req, known.response(), f)
		}
	}
	resp, err := p.ask(ctx, number, out, f)
	if err != nil {
		return c.broken(ctx, req, f)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		c.upgraded(ctx, resp, f)
		return false
	}
	if every(number, f.LoseEvery) {
		p.strike("loseresp")
		_, _ = io.Copy(io.Discard, resp.Body) // lost it is
		return c.page(req, http.StatusBadGateway, "Bad gateway", "")
	}
	if f.Rewrite > 0 && resp.StatusCode != http.StatusOK {
		p.strike("rewrite")
		return c.page(req, f.Rewrite, http.StatusText(f.Rewrite), "")
	}
	if resp, err = p.remember(number, out, resp, f); err != nil {
		return c.broken(ctx, req, f)
	}
	resp.Header = p.edited(resp.Header, f)
	return c.deliver(ctx, req, resp, f)
}

// broken answers when there is no upstream, or no time left.
func (c *conn) broken(ctx context.Context, req *http.Request, f *Profile) bool {
	switch context.Cause(ctx) {
	case nil:
		return c.page(req, http.StatusBadGateway, "Bad gateway", "")
	case errCut:
		return c.cut(req, nil, f)
	}
	return false
}

// body reads a request's body. It reports whether there is anything to go on
// with, and if not, whether the connection is.
func (c *conn) body(req *http.Request, f *Profile) (body []byte, keep, ok bool) {
	limit := int64(maxTaken)
	if f.MaxBody > 0 {
		limit = int64(f.MaxBody)
	}
	if req.ContentLength > limit {
		c.tooLong(req, f)
		return nil, false, false
	}
	if req.Header.Get("Expect") != "" {
		if f.NoContinue {
			c.p.strike("nocontinue")
		} else if _, err := io.WriteString(c.rw, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return nil, false, false
		}
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, limit+1))
	if err != nil {
		return nil, false, false
	}
	if int64(len(body)) > limit {
		c.tooLong(req, f)
		return nil, false, false
	}
	return body, true, true
}

func (c *conn) tooLong(req *http.Request, f *Profile) {
	c.p.strike("maxbody")
	if !f.MaxBodyMute {
		c.page(req, http.StatusRequestEntityTooLarge, "Request entity too large", "Connection: close\r\n")
	}
	c.line.reset()
}

// request is one on its way to the upstream. It can be sent more than once.
type request struct {
	method, url, host string
	header            http.Header
	body              []byte
}

func (r *request) upgrades() bool { return r.header.Get("Upgrade") != "" }

// prune removes what concerns the client's connection alone.
func (r *request) prune() {
	upgrade := r.header.Get("Upgrade")
	pruneHops(r.header)
	r.header.Del("Expect")
	if upgrade != "" {
		r.header.Set("Connection", "Upgrade")
		r.header.Set("Upgrade", upgrade)
	}
	if _, ok := r.header["User-Agent"]; !ok {
		r.header["User-Agent"] = nil // or Go would add its own
	}
}

func pruneHops(h http.Header) {
	for _, names := range h.Values("Connection") {
		for name := range strings.SplitSeq(names, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Transfer-Encoding", "Upgrade"} {
		h.Del(name)
	}
}

// edited is a copy of h with what the profile strips and replaces.
func (p *Proxy) edited(h http.Header, f *Profile) http.Header {
	h = h.Clone()
	for _, name := range f.Strip {
		if h.Get(name) != "" {
			p.strike("strip")
			h.Del(name)
		}
	}
	for _, field := range f.Replace {
		name, value, _ := strings.Cut(field, ":")
		if h.Get(name) != "" {
			p.strike("replace")
			h.Set(name, value)
		}
	}
	return h
}

// ask sends a request as often, as late and in the order that the profile
// says, and returns the answer that wins.
func (p *Proxy) ask(ctx context.Context, number int, out *request, f *Profile) (*http.Response, error) {
	if every(number, f.LateEvery) {
		p.strike("lateevery")
		ctx = p.ctx // also when the client has gone
		sleep(ctx, f.Late)
	}
	if f.Reorder > 0 {
		p.hold(ctx, number, f.Reorder)
	}
	if f.Dup && !out.upgrades() {
		p.strike("dup")
		p.add(func(n *Counts) { n.Copies++ })
		p.tasks.Go(func() { p.copyOf(out, f.DupDelay) })
	}
	return p.send(ctx, out)
}

// copyOf sends a request whose answer is lost.
func (p *Proxy) copyOf(out *request, after time.Duration) {
	sleep(p.ctx, after)
	resp, err := p.send(p.ctx, out)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body) // lost it is
	resp.Body.Close()
}

// send sends a request once.
func (p *Proxy) send(ctx context.Context, out *request) (*http.Response, error) {
	p.add(func(n *Counts) { n.Sent++ })
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { p.release() },
	})
	req, err := http.NewRequestWithContext(ctx, out.method, out.url, bytes.NewReader(out.body))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // the middlebox repeats nothing unless told to
	req.Host, req.Header = out.host, out.header.Clone()
	return p.pool.RoundTrip(req)
}

// number counts a request.
func (p *Proxy) number() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests++
	return p.requests
}

// headStart is how much later a held request goes than the one that overtook
// it: what was written first on one connection need not arrive first.
const headStart = time.Millisecond

// hold keeps every second request until a later one was sent.
func (p *Proxy) hold(ctx context.Context, number int, limit time.Duration) {
	if !every(number, 2) {
		return
	}
	p.strike("reorder")
	later := make(chan struct{})
	p.mu.Lock()
	p.held = append(p.held, later)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-later:
		sleep(ctx, headStart)
	case <-ctx.Done():
		p.mu.Lock()
		p.held = slices.DeleteFunc(p.held, func(ch chan struct{}) bool { return ch == later })
		p.mu.Unlock()
	}
}

// release lets requests go that waited for one to be sent.
func (p *Proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, later := range p.held {
		close(later)
	}
	p.held = nil
}

// enter waits for a place among the exchanges in flight. It reports false when
// ctx ends before.
func (p *Proxy) enter(ctx context.Context, f *Profile) bool {
	struck := false
	for {
		p.mu.Lock()
		if f.InFlight == 0 || p.inFlight < f.InFlight {
			p.inFlight++
			p.mu.Unlock()
			return true
		}
		freed := p.freed
		p.mu.Unlock()
		if !struck {
			struck = true
			p.strike("inflight")
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return false
		}
	}
}

func (p *Proxy) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
	close(p.freed)
	p.freed = make(chan struct{})
}
