package simnet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// RoundTripper carries HTTP requests over the network: exchanges, and the
// handshakes of WebSockets with all that follows. Inner reaches the bridge.
func (n *Network) RoundTripper(inner http.RoundTripper) http.RoundTripper {
	return &roundTripper{n, inner}
}

type roundTripper struct {
	n     *Network
	inner http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (rt *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Header.Get("Upgrade") != "" {
		return rt.upgrade(req)
	}
	request, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	header := make(http.Header)
	a, err := rt.n.Exchange(req.Context(), request, func(ctx context.Context, request []byte) ([]byte, error) {
		body, h, err := rt.post(ctx, req, request)
		mu.Lock()
		defer mu.Unlock()
		header = h
		return body, err
	})
	if err != nil {
		return nil, err
	}
	mu.Lock()
	defer mu.Unlock()
	if a.Status == http.StatusOK && a.Header.Get("Content-Type") == "" {
		a.Header = header.Clone()
	}
	a.Header.Set("Content-Length", strconv.Itoa(len(a.Body)))
	return response(req, a.Status, a.Header, io.NopCloser(bytes.NewReader(a.Body))), nil
}

// post brings one request to the bridge.
func (rt *roundTripper) post(ctx context.Context, req *http.Request, request []byte) ([]byte, http.Header, error) {
	to := req.Clone(ctx)
	to.Body = io.NopCloser(bytes.NewReader(request))
	to.ContentLength = int64(len(request))
	resp, err := rt.inner.RoundTrip(to)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("simnet: the bridge answered with status %d", resp.StatusCode)
	}
	return body, resp.Header, err
}

// upgrade opens a WebSocket through a socket of the network.
func (rt *roundTripper) upgrade(req *http.Request) (*http.Response, error) {
	near, far, err := rt.n.dial(req.Context(), true)
	if err != nil {
		return nil, err
	}
	resp, err := rt.inner.RoundTrip(req)
	if err != nil {
		near.Close()
		return nil, err
	}
	bridge, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		near.Close()
		return resp, nil
	}
	rt.n.tasks.Go(func() { up(far, bridge) })
	rt.n.tasks.Go(func() { down(far, bridge) })
	return response(req, resp.StatusCode, resp.Header, &stream{End: near}), nil
}

// up carries what comes from the client.
func up(far *End, bridge io.ReadWriteCloser) {
	defer bridge.Close()
	for {
		piece, err := far.Read()
		if err != nil {
			return
		}
		if _, err := bridge.Write(piece); err != nil {
			far.Close()
			return
		}
	}
}

// down carries what comes from the bridge.
func down(far *End, bridge io.ReadWriteCloser) {
	buf := make([]byte, 32<<10)
	for {
		n, err := bridge.Read(buf)
		if n > 0 && far.Write(buf[:n]) != nil {
			return
		}
		if err != nil {
			_ = far.Finish()
			return
		}
	}
}

// stream makes an io.ReadWriteCloser of an End.
type stream struct {
	*End
	rest []byte
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		piece, err := s.End.Read()
		if err != nil {
			return 0, err
		}
		s.rest = piece
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *stream) Write(p []byte) (int, error) {
	if err := s.End.Write(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *stream) Close() error {
	s.End.Close()
	return nil
}

func response(req *http.Request, status int, header http.Header, body io.ReadCloser) *http.Response {
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Header: header, Body: body, ContentLength: -1,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
	}
}
