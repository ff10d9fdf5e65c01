//go:build !unix

package main

import (
	"errors"
	"syscall"
)

// reusePort lets other processes listen on a socket's port too.
func reusePort(string, string, syscall.RawConn) error {
	return errors.New("--reuse-port: this system cannot share a port")
}
