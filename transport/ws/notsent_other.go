//go:build !linux && !darwin

package ws

import "net"

// setNotSentLowAt does nothing: the platform has no TCP_NOTSENT_LOWAT.
func setNotSentLowAt(net.Conn, int) {}
