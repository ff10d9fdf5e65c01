package front

import (
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// maxOpening is how much is read for the first request, at the most.
	maxOpening = 16 << 10
	// maxUnacked is how much a client may send before it acks SETTINGS: HTTP/2's
	// first window, of the connection, and some frames.
	maxUnacked = 128 << 10
	// readSize is how much is read at a time.
	readSize = 4 << 10
	// frameHeaderSize and ackSize are lengths of HTTP/2 (RFC 9113, sections 4.1 and
	// 6.5).
	frameHeaderSize = 9
	ackSize         = frameHeaderSize
)

var errTooLong = errors.New("front: the first request is too long")

// opening is what a client sends first. What is read of it is kept for the server
// that gets the connection, except answers to what was written here.
type opening struct {
	conn       io.ReadWriter
	maxStreams uint32
	greeted    func() // called after HTTP/2's handshake

	ahead []byte // read of the connection
	at    int    // of it parsed
	most  int    // may be read

	shook   bool // the client's part of HTTP/2's handshake is there
	told    bool // the server's SETTINGS were sent
	unacked bool // and the client has not acked them
}

// kind is whose a connection is.
type kind int

const (
	other  kind = iota // HTTP's server's
	native             // the gRPC server's
	idle               // nobody's: there is no request, and the client knows that it speaks HTTP/2
)

// kind tells whose the connection is. Whatever is wrong with what the client
// sends is for HTTP's server to answer.
func (o *opening) kind() kind {
	o.most = maxOpening
	if !o.preface() {
		return other
	}
	frames := http2.NewFramer(o.conn, o)
	frames.SetMaxReadFrameSize(maxOpening)
	frames.MaxHeaderListSize = maxOpening
	frames.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
	for {
		switch frame, err := frames.ReadFrame(); frame := frame.(type) {
		case nil:
			if o.told && errors.Is(err, os.ErrDeadlineExceeded) {
				return idle
			}
			o.awaitAck(frames, err)
			return other
		case *http2.MetaHeadersFrame:
			if isNative(frame) {
				return native
			}
			o.awaitAck(frames, nil)
			return other
		case *http2.SettingsFrame:
			o.settings(frame)
		case *http2.PingFrame:
			o.ping(frames, frame)
		}
	}
}

// preface reports whether the connection begins with HTTP/2's, which it reads.
func (o *opening) preface() bool {
	var got [len(http2.ClientPreface)]byte
	for n := 0; n < len(got); {
		k, err := o.Read(got[n:])
		n += k
		if !strings.HasPrefix(http2.ClientPreface, string(got[:n])) || err != nil {
			return false
		}
	}
	return true
}

// Read implements io.Reader. Before it waits for a client that may wait for the
// server's SETTINGS, as grpc-go's and grpc-java's do, it sends some. Further ones
// may follow.
func (o *opening) Read(p []byte) (int, error) {
	if o.at == len(o.ahead) {
		if o.shook {
			o.tell()
		}
		if err := o.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, o.ahead[o.at:])
	o.at += n
	return n, nil
}

// tell sends the client SETTINGS, once. An error comes again with the next read.
func (o *opening) tell() {
	if !o.told {
		o.told, o.unacked = true, true
		_ = http2.NewFramer(o.conn, nil).WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: o.maxStreams})
		o.greeted()
	}
}

// more reads what there is.
func (o *opening) more() error {
	left := min(readSize, o.most-len(o.ahead))
	if left <= 0 {
		return errTooLong
	}
	read := make([]byte, left)
	n, err := o.conn.Read(read)
	o.ahead = append(o.ahead, read[:n]...)
	if n > 0 {
		return nil // the error comes again
	}
	return err
}

// settings takes the client's SETTINGS, or its ack of the ones that it was sent:
// the server would not know what that is for.
func (o *opening) settings(frame *http2.SettingsFrame) {
	if !frame.IsAck() {
		o.shook = true
		return
	}
	if o.unacked {
		o.unacked = false
		o.forget(ackSize)
	}
}

// ping answers a client that looks whether its connection is alive.
func (o *opening) ping(frames *http2.Framer, frame *http2.PingFrame) {
	if frame.IsAck() {
		return
	}
	o.tell()
	_ = frames.WritePing(true, frame.Data) // an error comes again with the next read
	o.forget(frameHeaderSize + len(frame.Data))
}

// forget drops the last n bytes that were parsed.
func (o *opening) forget(n int) {
	o.ahead = append(o.ahead[:o.at-n], o.ahead[o.at:]...)
	o.at -= n
}

// awaitAck reads on until the client acked what it was sent: HTTP's server takes
// an ack that it did not ask for as an error. failed is why no more frames can be
// read; nil: they can.
func (o *opening) awaitAck(frames *http2.Framer, failed error) {
	o.most = maxUnacked
	for o.unacked && failed == nil {
		var frame http2.Frame
		if frame, failed = frames.ReadFrame(); failed != nil {
			return
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok {
			o.settings(settings)
		}
	}
}

// isNative reports whether a request is certainly a native gRPC client's own, and
// no proxy's or browser's.
func isNative(request *http2.MetaHeadersFrame) bool {
	var kind, agent, te bool
	for _, field := range request.RegularFields() {
		switch field.Name {
		case "content-type":
			kind = isGRPC(field.Value)
		case "user-agent":
			agent = isLibrary(field.Value)
		case "te":
			te = field.Value == "trailers"
		default:
			if isForwarding(field.Name) {
				return false
			}
		}
	}
	return kind && agent && te && !request.Truncated && request.PseudoValue("method") == http.MethodPost
}

func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// libraries are products in the user agents of those of gRPC's libraries that have
// connections of their own, with nothing else on them. All on gRPC's core have
// grpc-c; those on an HTTP client of a program's, as Connect's and .NET's, are not
// here.
var libraries = []string{"grpc-go", "grpc-java-netty", "grpc-java-okhttp", "grpc-c", "grpc-node-js"}

// isLibrary reports whether a user agent has a product of libraries. A program's own
// may stand before it.
func isLibrary(userAgent string) bool {
	for product := range strings.FieldsSeq(userAgent) {
		name, _, versioned := strings.Cut(product, "/")
		if versioned && slices.Contains(libraries, name) {
			return true
		}
	}
	return false
}

// isForwarding reports whether a header is a proxy's, or a browser's. A proxy may
// have other requests for the connection.
func isForwarding(name string) bool {
	for _, prefix := range []string{"x-forwarded-", "x-envoy-", "l5d-", "cf-", "sec-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "forwarded", "via", "x-real-ip", "x-request-id", "cdn-loop", "origin", "cookie", "referer":
		return true
	}
	return false
}
