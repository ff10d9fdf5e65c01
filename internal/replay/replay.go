// Package replay is connections of which something was read ahead: whoever serves
// them reads it again.
package replay

import (
	"crypto/tls"
	"errors"
	"net"
)

// halfCloser is a connection of which one direction can be closed.
type halfCloser interface{ CloseWrite() error }

// New returns a connection that first yields what was read of conn ahead, which
// it keeps. A server still sees of a TLS connection that it is one. Of a
// connection that New returned, all of ahead must have been read from it.
func New(conn net.Conn, ahead []byte) net.Conn {
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

// Under returns the connection itself of one that New returned, and any other as
// it is.
func Under(conn net.Conn) net.Conn {
	if r, ok := conn.(replayed); ok {
		return r.whole()
	}
	return conn
}

// replayed is what New returns.
type replayed interface{ whole() net.Conn }

type replay struct {
	net.Conn
	ahead []byte
}

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
