package rpc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport/access"
)

// echo is a backend that sends each message back.
func echo(ctx context.Context, c Call) wire.End {
	if _, err := c.Open(); err != nil {
		return wire.End{}
	}
	if err := c.SendHeaders([]wire.Metadatum{{Key: "h-bin", Value: "\x00"}}); err != nil {
		return wire.End{Status: 13, Message: err.Error()}
	}
	for {
		pieces, err := c.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return wire.End{Trailers: []wire.Metadatum{{Key: "t", Value: "1"}}}
		}
		if err == nil {
			err = c.Send(ctx, pieces, nil)
		}
		if err != nil {
			return wire.End{Status: 13, Message: err.Error()}
		}
	}
}

func newHandler(t testing.TB) *Handler {
	policy, err := access.New(access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Access: policy, Serve: echo, MaxMessage: 1 << 16, MaxMetadata: 1 << 12, MaxBuffered: 1 << 20})
}

// FuzzHandler: whatever a client sends gets an answer of its protocol, and
// nothing of it is kept.
func FuzzHandler(f *testing.F) {
	contentTypes := []string{
		"application/proto", "application/json", "application/connect+proto", "application/grpc-web", "application/grpc-web-text",
		"application/grpc-web+json", "application/grpc", "application/connect+nothing", "Application/GRPC-Web; x=y", "text/plain", "",
	}
	envelope := "\x00\x00\x00\x00\x03abc"
	for i := range contentTypes {
		f.Add(i, "", "", []byte(envelope+envelope))
	}
	f.Add(0, "gzip", "", []byte("\x1f\x8b"))
	f.Add(3, "gzip", "5S", []byte("\x01\x00\x00\x00\x02\x1f\x8b"))
	f.Add(4, "", "", []byte(base64.StdEncoding.EncodeToString([]byte(envelope))))
	f.Add(2, "identity", "99999999999", []byte("\x02\x00\x00\x00\x02{}"))
	f.Add(3, "", "1H", []byte("\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, kind int, encoding, timeout string, body []byte) {
		contentType := contentTypes[uint(kind)%uint(len(contentTypes))]
		h := newHandler(t)
		r := httptest.NewRequest(http.MethodPost, "/a.B/C", bytes.NewReader(body))
		if len(timeout)%2 == 1 {
			r.ContentLength = -1
		}
		r.Header.Set("Content-Type", contentType)
		for _, name := range []string{"Content-Encoding", "Grpc-Encoding", "Connect-Content-Encoding"} {
			r.Header.Set(name, encoding)
		}
		r.Header.Set("Grpc-Timeout", timeout)
		r.Header.Set("Connect-Timeout-Ms", timeout)
		r.Header.Set("A-Bin", encoding)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		answer := w.Result()
		if used := h.budget.used.Load(); used != 0 {
			t.Errorf("%d bytes are still held", used)
		}
		if n := len(h.calls.open); n != 0 {
			t.Errorf("%d calls are open", n)
		}
		form, known := formOf(contentType)
		switch {
		case !known || strings.HasSuffix(contentType, "nothing") || strings.Contains(contentType, ";"):
			if answer.StatusCode != http.StatusUnsupportedMediaType {
				t.Errorf("status %d", answer.StatusCode)
			}
		case form.protocol == "connect" && form.unary:
			if ct := answer.Header.Get("Content-Type"); answer.StatusCode != http.StatusOK && ct != "application/json" {
				t.Errorf("an error in %s", ct)
			}
		case answer.StatusCode != http.StatusOK:
			t.Errorf("status %d", answer.StatusCode)
		case form.protocol == "grpcweb" && !form.text:
			checkTrailers(t, answer.Header, w.Body.Bytes())
		}
	})
}

// checkTrailers: an answer in gRPC-Web has one status, in its trailers or its
// headers.
func checkTrailers(t *testing.T, header http.Header, body []byte) {
	statuses := len(header.Values("Grpc-Status"))
	for len(body) >= prefixSize {
		n := int(binary.BigEndian.Uint32(body[1:]))
		if len(body) < prefixSize+n {
			t.Fatal("a cut envelope")
		}
		if body[0]&0x80 != 0 {
			statuses++
		}
		body = body[prefixSize+n:]
	}
	if statuses != 1 || len(body) != 0 {
		t.Errorf("%d statuses, %d bytes behind the last envelope", statuses, len(body))
	}
}

// FuzzText: what is written in base64, flushed anywhere, is read back, however
// it is cut.
func FuzzText(f *testing.F) {
	f.Add([]byte("abcdefgh"), uint8(3), uint8(2))
	f.Add([]byte(""), uint8(1), uint8(1))
	f.Add(bytes.Repeat([]byte{0xff}, 100), uint8(255), uint8(7))
	f.Fuzz(func(t *testing.T, data []byte, step, every uint8) {
		var text bytes.Buffer
		w := textWriter{to: &text}
		for i, rest := 1, data; len(rest) > 0; i++ {
			n := min(int(step)+1, len(rest))
			if _, err := w.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			if rest = rest[n:]; i%(int(every)+1) == 0 && w.pad() != nil {
				t.Fatal("pad failed")
			}
		}
		if w.pad() != nil {
			t.Fatal("pad failed")
		}
		got, err := io.ReadAll(&textReader{ReadCloser: io.NopCloser(&slow{text.Bytes(), int(every) + 1})})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes of %d, %v", len(got), len(data), err)
		}
	})
}

// slow gives a few bytes at a time.
type slow struct {
	rest []byte
	n    int
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(s.n, len(p))], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// TestTextReader_bad: base64 that is none is an error, never other bytes.
func TestTextReader_bad(t *testing.T) {
	for text, want := range map[string]string{"AAA": "", "AAAA*AAA": "", "=AAA": "", "AA=A": "", "A": "", "AAAA====": ""} {
		got, err := io.ReadAll(&textReader{ReadCloser: io.NopCloser(strings.NewReader(text))})
		if err == nil || len(got) > 3 || want != "" {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
}
