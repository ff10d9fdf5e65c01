package backend

import (
	"context"
	"encoding/binary"
	"net"

	"google.golang.org/grpc/credentials"
)

// tap wraps credentials to learn what gRPC does not expose: between which
// addresses a connection is, why its handshake failed, and how many streams the
// backend allows on it.
type tap struct {
	credentials.TransportCredentials
	failed func(error)
	limit  func(uint32)
	opened func(net.Conn)
	// receiving bounds what all of a Pool's connections receive.
	receiving *receiving
}

func (t tap) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	t.opened(conn)
	secured, info, err := t.TransportCredentials.ClientHandshake(ctx, authority, conn)
	if err != nil {
		t.failed(err)
		return nil, nil, err
	}
	return newFlowConn(&settingsConn{Conn: secured, limit: t.limit}, t.receiving), info, nil
}

func (t tap) Clone() credentials.TransportCredentials {
	t.TransportCredentials = t.TransportCredentials.Clone()
	return t
}

// SETTINGS (RFC 9113, section 6.5).
const (
	maxFirstFrame        = 16 << 10
	maxConcurrentStreams = 0x3
	unlimitedStreams     = 1<<32 - 1
	settingSize          = 6
)

// settingsConn parses the first frame read, which is the backend's SETTINGS.
// After that it is a plain net.Conn.
type settingsConn struct {
	net.Conn
	first []byte       // the part of the frame read so far
	limit func(uint32) // nil once the frame was parsed
}

func (c *settingsConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.limit != nil {
		c.look(p[:n])
	}
	return n, err
}

func (c *settingsConn) look(p []byte) {
	c.first = append(c.first, p...)
	if len(c.first) < frameHeaderSize {
		return
	}
	first := frameHeader(c.first)
	length := first.length()
	isSettings := first.kind() == typeSettings && length <= maxFirstFrame
	if isSettings && len(c.first) < frameHeaderSize+length {
		return
	}
	if isSettings {
		c.limit(streamLimit(c.first[frameHeaderSize : frameHeaderSize+length]))
	}
	c.first, c.limit = nil, nil
}

func streamLimit(settings []byte) uint32 {
	limit := uint32(unlimitedStreams)
	for ; len(settings) >= settingSize; settings = settings[settingSize:] {
		if binary.BigEndian.Uint16(settings) == maxConcurrentStreams {
			limit = binary.BigEndian.Uint32(settings[2:])
		}
	}
	return limit
}
