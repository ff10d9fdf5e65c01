// Package adminclient asks a bridge's admin listener.
package adminclient

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pollbridge/pollbridge/internal/admin"
)

const (
	// timeout bounds one request.
	timeout = 30 * time.Second
	// maxDocument is more than any document of the API has, in bytes.
	maxDocument = 16 << 20
)

// Client asks one admin listener.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// New returns a Client of the listener at addr: HOST:PORT or unix:PATH, as the
// listener itself has it, or a URL. It sends the token, if there is one.
func New(addr, token string) (*Client, error) {
	transport := &http.Transport{}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		addr = "localhost:80"
	}
	if !strings.Contains(addr, "://") {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("%q is wrong, want HOST:PORT, unix:PATH or a URL", addr)
		}
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "localhost" // what listens on every address
		}
		addr = "http://" + net.JoinHostPort(host, port)
	}
	base, err := url.Parse(addr)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("%q is wrong, want HOST:PORT, unix:PATH or a URL", addr)
	}
	return &Client{base: base, token: token, http: &http.Client{Transport: transport}}, nil
}

// Error is an answer other than what was asked for.
type Error struct {
	Status int
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Overview returns what the bridge is doing.
func (c *Client) Overview(ctx context.Context) (*admin.Overview, error) {
	return get[admin.Overview](ctx, c, "overview", nil)
}

// Sessions returns the sessions that a query selects.
func (c *Client) Sessions(ctx context.Context, q admin.Query) (*admin.Sessions, error) {
	return get[admin.Sessions](ctx, c, "sessions", url.Values{
		"filter": {q.Filter}, "transport": {q.Transport}, "sort": {q.Sort},
		"offset": {strconv.Itoa(q.Offset)}, "limit": {strconv.Itoa(q.Limit)},
	})
}

// Session returns one session.
func (c *Client) Session(ctx context.Context, id string) (*admin.SessionDetails, error) {
	return get[admin.SessionDetails](ctx, c, "sessions/"+url.PathEscape(id), nil)
}

// Disconnect ends a session.
func (c *Client) Disconnect(ctx context.Context, id string) error {
	_, err := c.do(ctx, http.MethodDelete, "sessions/"+url.PathEscape(id), nil)
	return err
}

// Drain has the bridge drain, and then end.
func (c *Client) Drain(ctx context.Context) error {
	_, err := c.do(ctx, http.MethodPost, "drain", nil)
	return err
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (*T, error) {
	body, err := c.do(ctx, http.MethodGet, path, query)
	if err != nil {
		return nil, err
	}
	document := new(T)
	if err := json.Unmarshal(body, document); err != nil {
		return nil, fmt.Errorf("%s is not an admin listener: %w", c.base, err)
	}
	return document, nil
}

// do returns the answer's body.
func (c *Client) do(ctx context.Context, method, path string, query url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	to := c.base.JoinPath("api/v1/" + path)
	to.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, to.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		request.Header.Set("Authorization", "Bearer "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return nil, fmt.Errorf("admin listener at %s: %w", c.base.Host, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("admin listener at %s: %w", c.base.Host, err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return nil, &Error{response.StatusCode, problem(response.Status, body)}
	}
	return body, nil
}

// problem is what an answer says is wrong.
func problem(status string, body []byte) string {
	var said struct {
		Text string `json:"error"`
	}
	_ = json.Unmarshal(body, &said) // a proxy's answer is no JSON
	return cmp.Or(said.Text, status+": "+string(bytes.TrimSpace(body[:min(len(body), 200)])))
}
