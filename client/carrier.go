package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/httpclient"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// maxAnswer is the most bytes read of a response or a WebSocket message. Bridges
// limit batches to 2 MiB unless configured.
const maxAnswer = 16 << 20

// carrier reaches a bridge over net/http and WebSocket.
type carrier struct {
	base   string
	host   string       // in place of the URL's; empty: that
	header http.Header  // of WebSocket handshakes
	poll   http.Header  // of exchanges; shared by all, never written to
	posts  *http.Client // exchanges
	socks  *http.Client // WebSocket handshakes

	multiplexed atomic.Bool // the last answer came over HTTP/2 or later
}

var _ dialer.Carrier = (*carrier)(nil)

func newCarrier(base string, cfg *Config) *carrier {
	c := &carrier{base: base, header: cfg.Header.Clone()}
	if c.header == nil {
		c.header = http.Header{}
	}
	if c.header.Get("User-Agent") == "" {
		c.header.Set("User-Agent", release)
	}
	c.host = c.header.Get("Host") // net/http takes it from elsewhere
	c.header.Del("Host")
	c.poll = c.header.Clone()
	c.poll.Set("Content-Type", "application/octet-stream")
	if cfg.HTTPClient != nil {
		c.posts = httpclient.Plain(cfg.HTTPClient.Transport)
		c.socks = c.posts
		return c
	}
	c.posts = httpclient.Requests(cfg.reach())
	c.socks = httpclient.Handshakes(base, cfg.reach())
	return c
}

// close closes idle connections.
func (c *carrier) close() {
	c.posts.CloseIdleConnections()
	c.socks.CloseIdleConnections()
}

func (c *carrier) url(session, route string) string {
	return c.base + "/v1/" + session + "/" + route
}

// Exchange implements dialer.Carrier.
func (c *carrier) Exchange(ctx context.Context, session string, batch []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url(session, "poll"), bytes.NewReader(batch))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	req.Header, req.Host = c.poll, c.host
	resp, err := c.posts.Do(req)
	if err != nil {
		return nil, broken(ctx, err)
	}
	defer resp.Body.Close()
	c.multiplexed.Store(resp.ProtoMajor >= 2)
	if resp.StatusCode != http.StatusOK {
		excerpt, _ := io.ReadAll(io.LimitReader(resp.Body, httpclient.MaxExcerpt))
		return nil, foreign(resp, excerpt)
	}
	body, err := readBatch(resp.Body)
	if err != nil {
		return nil, linkError(ctx, fmt.Errorf("response with status 200 cut after %d bytes: %w", len(body), err))
	}
	if !wire.IsBatch(body) {
		return nil, foreign(resp, body)
	}
	return body, nil
}

// linkError returns err, or the cause of ctx if that has ended.
func linkError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("client: %w", context.Cause(ctx))
	}
	// The URL adds nothing for the reader of the error.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return fmt.Errorf("client: %w: %w", dialer.ErrUntrusted, err)
	}
	return fmt.Errorf("client: %w", err)
}

// broken returns the linkError of a request, as an ErrBroken if the request may
// have reached the bridge.
func broken(ctx context.Context, err error) error {
	dial, ok := errors.AsType[*net.OpError](err)
	_, answered := errors.AsType[*AnswerError](err) // to CONNECT
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	if ctx.Err() != nil || answered || untrusted || ok && dial.Op == "dial" {
		return linkError(ctx, err)
	}
	return fmt.Errorf("%w: %w", linkError(ctx, err), dialer.ErrBroken)
}

// AnswerError is a response that does not come from a bridge that speaks this
// protocol: a middlebox's page, or another service's response. It has the status,
// content type, location and the beginning of the body; RetryAfter returns the
// header field of that name.
type AnswerError = httpclient.AnswerError

// foreign returns the error of a response that is not a bridge's.
func foreign(resp *http.Response, body []byte) error {
	err := fmt.Errorf("client: %w", httpclient.Foreign(resp, body))
	switch resp.StatusCode {
	case http.StatusRequestEntityTooLarge:
		return meaning{err, dialer.ErrTooLong}
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return meaning{err, dialer.ErrUnavailable}
	case http.StatusOK, http.StatusNotFound, http.StatusMethodNotAllowed:
		return meaning{err, dialer.ErrNoBridge}
	}
	if resp.Header.Get("Location") != "" {
		return meaning{err, dialer.ErrNoBridge}
	}
	return err
}

// meaning is an error that is another as well, without saying so.
type meaning struct {
	error
	is error
}

func (e meaning) Is(target error) bool { return target == e.is }

func (e meaning) Unwrap() error { return e.error }

// readBatch reads r to its end, into memory of exactly the batch's size if it is
// a batch. It fails over maxAnswer bytes.
func readBatch(r io.Reader) ([]byte, error) {
	head := make([]byte, 0, 512)
	for len(head) < wire.HeadSize {
		n, err := r.Read(head[len(head):wire.HeadSize])
		head = head[:len(head)+n]
		if err == io.EOF {
			break
		}
		if err != nil { // io.ErrUnexpectedEOF too, which io.ReadFull would also have for a short body
			return head, err
		}
	}
	size, ok := wire.BatchSize(head)
	if !ok {
		return readRest(r, head)
	}
	if size > maxAnswer {
		return head, fmt.Errorf("batch of %d bytes is over the limit of %d", size, int64(maxAnswer))
	}
	buf := head
	// One byte more than the batch, so that the read that finds the end need not
	// grow the buffer.
	if int(size) >= cap(head) {
		buf = append(make([]byte, 0, size+1), head...)
	}
	return readRest(r, buf)
}

// readRest appends the rest of r to buf.
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
			return buf, fmt.Errorf("response is over the limit of %d bytes", int64(maxAnswer))
		}
	}
}
