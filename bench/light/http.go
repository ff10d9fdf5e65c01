package light

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// HTTP is one keep-alive HTTP/1.1 connection.
type HTTP struct {
	conn    net.Conn
	read    *bufio.Reader
	host    string
	request []byte
	body    []byte
}

// DialHTTP connects, with TLS that believes any certificate if secure is set.
func DialHTTP(ctx context.Context, addr string, secure bool) (*HTTP, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	return &HTTP{conn: conn, read: bufio.NewReaderSize(conn, 1<<10), host: addr}, nil
}

// Close closes the connection.
func (h *HTTP) Close() error { return h.conn.Close() }

// Do makes one request and reads its answer, whose bytes stay valid until the
// next.
func (h *HTTP) Do(method, path, contentType string, body []byte) ([]byte, error) {
	if err := h.Send(method, path, contentType, body); err != nil {
		return nil, err
	}
	return h.Receive()
}

// Send sends a request.
func (h *HTTP) Send(method, path, contentType string, body []byte) error {
	b := append(h.request[:0], method...)
	b = append(b, ' ')
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, h.host...)
	b = append(b, "\r\n"...)
	if method == "POST" {
		b = append(b, "Content-Type: "...)
		b = append(b, contentType...)
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(body)), 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	b = append(b, body...)
	h.request = b
	_, err := h.conn.Write(b)
	return err
}

// Receive reads an answer; any status but 200 is an error.
func (h *HTTP) Receive() ([]byte, error) {
	status, length, chunked, err := h.head()
	if err != nil {
		return nil, err
	}
	h.body = h.body[:0]
	if chunked {
		err = h.chunks()
	} else {
		err = h.take(length)
	}
	if err == nil && status != 200 {
		err = fmt.Errorf("HTTP status %d: %.200q", status, h.body)
	}
	return h.body, err
}

func (h *HTTP) head() (status, length int, chunked bool, err error) {
	line, err := h.read.ReadSlice('\n')
	if err != nil {
		return 0, 0, false, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, 0, false, fmt.Errorf("not HTTP: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, false, err
	}
	for {
		if line, err = h.read.ReadSlice('\n'); err != nil {
			return 0, 0, false, err
		}
		if len(line) <= 2 {
			return status, length, chunked, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("content-length")):
			length, err = strconv.Atoi(string(bytes.TrimSpace(value)))
		case bytes.EqualFold(name, []byte("transfer-encoding")):
			chunked = true
		}
		if err != nil {
			return 0, 0, false, err
		}
	}
}

func (h *HTTP) take(n int) error {
	start := len(h.body)
	h.body = append(h.body, make([]byte, n)...)
	_, err := io.ReadFull(h.read, h.body[start:])
	return err
}

func (h *HTTP) chunks() error {
	for {
		line, err := h.read.ReadString('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(line), 16, 32)
		if err != nil {
			return err
		}
		if n == 0 {
			return h.trailers()
		}
		if err := h.take(int(n)); err != nil {
			return err
		}
		if _, err := h.read.Discard(2); err != nil {
			return err
		}
	}
}

func (h *HTTP) trailers() error {
	for {
		line, err := h.read.ReadSlice('\n')
		if err != nil || len(line) <= 2 {
			return err
		}
	}
}
