//go:build linux || darwin

package ws

import (
	"net"

	"golang.org/x/sys/unix"
)

// setNotSentLowAt sets TCP_NOTSENT_LOWAT. It is an optimization: where it is
// not to be had, nothing is said.
func setNotSentLowAt(conn net.Conn, bytes int) {
	tcp := tcpConn(conn)
	if tcp == nil {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes)
	})
}
