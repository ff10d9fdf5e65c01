//go:build !linux

package park

import (
	"errors"
	"syscall"
)

// poller is not to be had here: nothing is parked.
type poller struct{}

func newPoller() (*poller, error) { return nil, errors.ErrUnsupported }

func (*poller) watch(syscall.Conn, uint64, bool) error { return errors.ErrUnsupported }
func (*poller) forget(syscall.Conn)                    {}
func (*poller) wait(func(uint64, bool)) bool           { return false }
func (*poller) close()                                 {}
