package park

import (
	"crypto/tls"
	"errors"
	"net"
)

// halfCloser is a connection of which one direction can be closed.
type halfCloser interface{ CloseWrite() error }

// withAhead returns a connection that first yields what was read of conn ahead. A
// server still sees of a TLS connection that it is one.
func withAhead(conn net.Conn, ahead []byte) net.Conn {
	if again, ok := conn.(replayed); ok {
		conn = again.whole()
	}
	type secure interface{ ConnectionState() tls.ConnectionState }
	r := &replay{conn, ahead}
	if s, ok := conn.(secure); ok {
		return struct {
			*replay
			secure
		}{r, s}
	}
	return r
}

// replayed is what withAhead returns.
type replayed interface{ whole() net.Conn }

// replay is a connection of which something was read ahead.
type replay struct {
	net.Conn
	ahead []byte
}

// whole returns the connection itself: what was read ahead of it is read again
// before a request can be parked.
func (r *replay) whole() net.Conn { return r.Conn }

// Read implements net.Conn.
func (r *replay) Read(b []byte) (int, error) {
	if len(r.ahead) == 0 {
		return r.Conn.Read(b)
	}
	n := copy(b, r.ahead)
	r.ahead = r.ahead[n:]
	return n, nil
}

// CloseWrite closes the sending direction.
func (r *replay) CloseWrite() error {
	if half, ok := r.Conn.(halfCloser); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
