package park

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller reports events on sockets: an epoll, which is itself watched by the
// runtime's, so that waiting for it keeps no thread.
type poller struct {
	file   *os.File
	raw    syscall.RawConn
	events [128]unix.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll")}
	p.raw, err = p.file.SyscallConn()
	return p, err
}

// watch has the next event of a socket reported: that its peer is gone, or, if
// readable, that something can be read.
func (p *poller) watch(socket syscall.Conn, id uint64, readable bool) error {
	event := unix.EpollEvent{
		Events: unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: int32(uint32(id)), Pad: int32(uint32(id >> 32)),
	}
	if readable {
		event.Events |= unix.EPOLLIN
	}
	return p.control(socket, func(epoll, fd int) error {
		err := unix.EpollCtl(epoll, unix.EPOLL_CTL_MOD, fd, &event)
		if errors.Is(err, unix.ENOENT) {
			err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &event)
		}
		return os.NewSyscallError("epoll_ctl", err)
	})
}

// forget ends watch.
func (p *poller) forget(socket syscall.Conn) {
	_ = p.control(socket, func(epoll, fd int) error { // fails if it is closed, and so forgotten
		return unix.EpollCtl(epoll, unix.EPOLL_CTL_DEL, fd, &unix.EpollEvent{})
	})
}

// control calls f with both descriptors, neither of which is closed meanwhile.
func (p *poller) control(socket syscall.Conn, f func(epoll, fd int) error) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := p.raw.Control(func(epoll uintptr) {
		if err := raw.Control(func(fd uintptr) { inner = f(int(epoll), int(fd)) }); err != nil {
			inner = err
		}
	}); err != nil {
		return err
	}
	return inner
}

// wait waits for events and reports each by a call of event. It returns false once
// the poller is closed.
func (p *poller) wait(event func(id uint64, gone bool)) bool {
	const gone = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR
	n := 0
	err := p.raw.Read(func(epoll uintptr) bool {
		n, _ = unix.EpollWait(int(epoll), p.events[:], 0) // it does not wait: nothing interrupts it
		return n > 0
	})
	if err != nil {
		return false
	}
	for _, e := range p.events[:n] {
		event(uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32, e.Events&gone != 0)
	}
	return true
}

func (p *poller) close() { _ = p.file.Close() }
