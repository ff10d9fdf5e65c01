package longpoll

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"net/http"
	"sync"

	"github.com/pollbridge/pollbridge/transport"
)

// form is how a batch is encoded in a body. An answer has the form of its request.
type form struct {
	contentType string
	text        bool // base64
	// safelisted: a page may send this form to any host without a preflight. All
	// but octet-stream count, whichever browsers in fact let through.
	safelisted bool
}

func formOf(r *http.Request) form {
	const octetStream = "application/octet-stream"
	mediaType := r.Header.Get("Content-Type")
	if mediaType != octetStream {
		mediaType, _, _ = mime.ParseMediaType(mediaType)
	}
	if mediaType == "text/plain" {
		return form{contentType: "text/plain; charset=utf-8", text: true, safelisted: true}
	}
	return form{contentType: octetStream, safelisted: mediaType != octetStream}
}

// encodedLen returns the length of a body that holds a batch of n bytes.
func (f form) encodedLen(n int) int {
	if f.text {
		return base64.StdEncoding.EncodedLen(n)
	}
	return n
}

// decode returns the batch in a body, nil if it is not base64.
func (f form) decode(body []byte) []byte {
	if !f.text {
		return body
	}
	batch, err := base64.StdEncoding.AppendDecode(nil, body)
	if err != nil {
		return nil
	}
	return batch
}

func (f form) encode(batch []byte) []byte {
	if !f.text {
		return batch
	}
	return base64.StdEncoding.AppendEncode(nil, batch)
}

// append appends a batch's body to dst.
func (f form) append(dst []byte, batch transport.Batch) []byte {
	if !f.text {
		return batch.AppendTo(dst)
	}
	return base64.StdEncoding.AppendEncode(dst, batch.AppendTo(nil))
}

// bodies holds memory for bodies while they are written: a long one of its own would
// be cleared first.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

// keptBody is the most memory, in bytes, that is kept of one.
const keptBody = 4 << 20

// firstRead is how much memory a Content-Length is believed for. Beyond it the
// buffer grows with what arrives.
const firstRead = 64 << 10

// readBody reads a body of the given length, -1 if unknown, into a buffer of
// exactly its size: the engine keeps what points into it.
func readBody(body io.Reader, length int64) ([]byte, error) {
	if length < 0 {
		buf, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		return bytes.Clone(buf), nil
	}
	buf := make([]byte, 0, min(length, firstRead))
	for int64(len(buf)) < length {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(2*int64(cap(buf)), length))
			copy(grown, buf)
			buf = grown
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil && int64(len(buf)) < length {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}
