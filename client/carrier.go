package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/pollbridge/pollbridge/internal/session"
	"github.com/pollbridge/pollbridge/internal/wire"
	"math"
	"strconv"
)

const (
	// maxAnswer is the most bytes that are read of an answer or a WebSocket
	// message. Bridges cut batches at 1 MiB unless configured.
	maxAnswer = 16 << 20
	// maxGlimpse is how much of a foreign answer an error shows.
	maxGlimpse = 120

	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
)

// carrier reaches a bridge over net/http and WebSocket.
type carrier struct {
	base   string
	header http.Header  // of WebSocket handshakes
	poll   http.Header  // of exchanges; shared by all, never written to
	posts  *http.Client // exchanges
	socks  *http.Client // WebSocket handshakes
}

var _ session.Carrier = (*carrier)(nil)

func newCarrier(base string, cfg *Config) *carrier {
	c := &carrier{base: base, header: cfg.Header.Clone()}
	if c.header == nil {
		c.header = http.Header{}
	}
	if c.header.Get("User-Agent") == "" {
		c.header.Set("User-Agent", release)
	}
	c.poll = c.header.Clone()
	c.poll.Set("Content-Type", "application/octet-stream")
	if cfg.HTTPClient != nil {
		c.posts = plainClient(cfg.HTTPClient.Transport)
		c.socks = c.posts
		return c
	}
	dial, proxy := cfg.Dial, cfg.Proxy
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	c.posts = plainClient(&http.Transport{
		Proxy:               proxy,
		DialContext:         dial,
		TLSClientConfig:     cfg.TLS.Clone(),
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 4,
		IdleConnTimeout:     idleTimeout,

		OnProxyConnectResponse: refusedTunnel,
	})
	// WebSockets have a transport of their own: it tunnels, speaks HTTP/1.1
	// only, and its buffers live as long as a socket does. No handshake takes a
	// connection that a refused one left idle: the way may have forgotten it.
	c.socks = plainClient(&http.Transport{
		DialContext:         tunnel{dial: dial, proxy: proxy, tls: cfg.TLS, base: base}.dialContext,
		TLSClientConfig:     cfg.TLS.Clone(),
		TLSHandshakeTimeout: dialTimeout,
		DisableCompression:  true,
		DisableKeepAlives:   true,
		ReadBufferSize:      socketBuffer,
		WriteBufferSize:     socketBuffer,
	})
	return c
}

// refusedTunnel names a proxy's answer to CONNECT, of which net/http tells no
// more than the reason phrase.
func refusedTunnel(_ context.Context, via *url.URL, req *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("proxy %s: CONNECT %s: %w", via.Host, req.Host, foreign(resp, nil))
}

// plainClient neither keeps cookies nor follows redirects: a redirect is a
// proxy's word, not the bridge's.
func plainClient(rt http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     rt,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// close gives idle connections up.
func (c *carrier) close() {
	c.posts.CloseIdleConnections()
	c.socks.CloseIdleConnections()
}

func (c *carrier) url(session, route string) string {
	return c.base + "/v1/" + session + "/" + route
}

// Exchange implements session.Carrier.
func (c *carrier) Exchange(ctx context.Context, session string, batch []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url(session, "poll"), bytes.NewReader(batch))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	req.Header = c.poll
	resp, err := c.posts.Do(req)
	if err != nil {
		return nil, broken(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		glimpse, _ := io.ReadAll(io.LimitReader(resp.Body, maxGlimpse))
		return nil, foreign(resp, glimpse)
	}
	body, err := readBatch(resp.Body)
	if err != nil {
		return nil, weather(ctx, fmt.Errorf("answer with status 200 cut after %d bytes: %w", len(body), err))
	}
	if !looksOurs(body) {
		return nil, foreign(resp, body)
	}
	return body, nil
}

// weather names the cause when the caller gave up.
func weather(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("client: %w", context.Cause(ctx))
	}
	// The URL carries nothing that the reader of an error lacks.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	return fmt.Errorf("client: %w", err)
}

// broken is weather that came once the request was on its way.
func broken(ctx context.Context, err error) error {
	dial, ok := errors.AsType[*net.OpError](err)
	_, answered := errors.AsType[*AnswerError](err) // to CONNECT
	if ctx.Err() != nil || answered || ok && dial.Op == "dial" {
		return weather(ctx, err)
	}
	return fmt.Errorf("%w: %w", weather(ctx, err), session.ErrBroken)
}

// AnswerError is an answer that did not come from the bridge, or not from one
// that speaks this protocol: an intermediary's page, or another service.
type AnswerError struct {
	Status      int
	ContentType string
	Location    string // of a redirect
	Body        []byte // its beginning
	retryAfter  string // the header field
}

// RetryAfter is how long an intermediary asked to be left alone; 0: it did not
// say.
func (e *AnswerError) RetryAfter() time.Duration {
	if seconds, err := strconv.Atoi(e.retryAfter); err == nil && seconds > 0 {
		return time.Duration(min(seconds, math.MaxInt32)) * time.Second
	}
	if at, err := http.ParseTime(e.retryAfter); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

func (e *AnswerError) Error() string {
	s := fmt.Sprintf("client: foreign answer: status %d, content-type %q", e.Status, e.ContentType)
	if e.Location != "" {
		s += fmt.Sprintf(", redirect to %q", e.Location)
	}
	return s + fmt.Sprintf(", body begins %q", e.Body)
}

// Is tells an answer that calls the request too long.
func (e *AnswerError) Is(target error) bool {
	return target == session.ErrTooLong && e.Status == http.StatusRequestEntityTooLarge
}

// Seen is what came: the status and the beginning of the body.
func (e *AnswerError) Seen() (status int, body []byte) { return e.Status, e.Body }

func foreign(resp *http.Response, body []byte) error {
	return &AnswerError{
		Status:      resp.StatusCode,
		ContentType: resp.Header.Get("Content-Type"),
		Location:    resp.Header.Get("Location"),
		Body:        body[:min(len(body), maxGlimpse)],
		retryAfter:  resp.Header.Get("Retry-After"),
	}
}

const headSize = 8 // of the envelope: magic, version, flags, body length

// looksOurs tells whether b begins as an envelope does (rule W2). The engine
// checks the rest.
func looksOurs(b []byte) bool {
	return len(b) >= headSize && b[0] == 0xB1 && b[1] == 0xD6
}

// readBatch reads r to its end, into memory of exactly the batch's size when it
// is one. Over maxAnswer bytes it fails.
func readBatch(r io.Reader) ([]byte, error) {
	head := make([]byte, headSize, 512)
	n, err := io.ReadFull(r, head)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return head[:n], nil
	}
	if err != nil {
		return head[:n], err
	}
	if !looksOurs(head) {
		return readRest(r, head)
	}
	size := int64(binary.BigEndian.Uint32(head[4:])) + wire.EnvelopeSize
	if size > maxAnswer {
		return head, fmt.Errorf("batch of %d bytes is over the limit of %d", size, int64(maxAnswer))
	}
	buf := head
	// One byte more than the batch lets the read that finds the end do without
	// growing the buffer.
	if int(size) >= cap(head) {
		buf = append(make([]byte, 0, size+1), head...)
	}
	return readRest(r, buf)
}

// readRest appends what r still has to buf.
func readRest(r io.Reader, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
		if len(buf) > maxAnswer {
			return buf, fmt.Errorf("answer is over the limit of %d bytes", int64(maxAnswer))
		}
	}
}
