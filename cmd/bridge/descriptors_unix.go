//go:build unix

package main

import "syscall"

// maxDescriptors is how many files and connections the process may have open; 0:
// unknown. Go has raised it as far as the system lets it.
func maxDescriptors() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // signed on some systems
}
