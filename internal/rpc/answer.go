package rpc

import (
	"net/http"
	"strings"
)

// answer is where connect-go writes. When the head of the answer goes out, it
// lets a page of another origin read all of it, and gives gRPC-Web's text form
// its name.
type answer struct {
	pacedWriter
	text *textWriter // nil: not that form
	// notFound says that no backend was asked: a method that the bridge does not
	// serve is 404 in Connect's unary form, as where a router knows no such path.
	notFound bool
	began    bool
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	a.begin()
	if a.notFound && code == http.StatusNotImplemented {
		code = http.StatusNotFound
	}
	a.ResponseWriter.WriteHeader(code)
}

// Write implements io.Writer.
func (a *answer) Write(p []byte) (int, error) {
	a.begin()
	if a.text != nil {
		return a.text.Write(p)
	}
	return a.pacedWriter.Write(p)
}

// Flush implements http.Flusher. A failure shows with the next Write.
func (a *answer) Flush() {
	a.begin()
	if a.text != nil && a.text.pad() != nil {
		return
	}
	a.call.extendWrites()
	_ = a.call.control.Flush()
	a.call.liftWrites() // a stream may be quiet for as long as it likes
}

// end completes the answer, once nothing more is written.
func (a *answer) end() {
	a.begin()
	if a.text != nil {
		_ = a.text.pad() // fails only with the connection
	}
	if a.call.request.ProtoMajor < 2 && a.call.writeTimeout() == 0 {
		// A deadline would count for the connection's next answer, too.
		a.call.extendWrites()
		_ = a.call.control.Flush()
		a.call.liftWrites()
		return
	}
	a.call.endWrites()
}

// pacedWriter has each piece of an answer leave in time.
type pacedWriter struct {
	http.ResponseWriter
	call *httpCall
}

// Unwrap is for http.ResponseController.
func (w pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// pieceSize is the most that has to leave within httpwrite.Timeout.
const pieceSize = 64 << 10

// Write implements io.Writer.
func (w pacedWriter) Write(p []byte) (n int, err error) {
	for {
		w.call.extendWrites()
		piece := p[:min(len(p), pieceSize)]
		p = p[len(piece):]
		written, err := w.ResponseWriter.Write(piece)
		n += written
		if err != nil || len(p) == 0 {
			return n, err
		}
	}
}

func (a *answer) begin() {
	if a.began {
		return
	}
	a.began = true
	h := a.Header()
	if a.call.duplex && !a.call.source.whole() {
		h.Set("Connection", "close") // what is left of the request would be taken for the next one
	}
	if a.text != nil {
		if kind, subtype, _ := strings.Cut(h.Get("Content-Type"), "+"); kind == "application/grpc-web" {
			h.Set("Content-Type", strings.TrimSuffix("application/grpc-web-text+"+subtype, "+"))
		}
	}
	if h.Get("Access-Control-Allow-Origin") != "" {
		h.Set("Access-Control-Expose-Headers", exposed(h))
	}
}

// exposed are the headers that a page may read: metadata of every name is
// among them.
func exposed(h http.Header) string {
	var names []string
	for name := range h {
		if !strings.HasPrefix(name, "Access-Control-") {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}
