//go:build linux || darwin

package ws

import "golang.org/x/sys/unix"

// canPoll tells that readable can be asked.
const canPoll = true

// readable tells whether a read from fd would not wait.
func readable(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds[:], 0)
	return n != 0 // an error is the reader's to meet
}
