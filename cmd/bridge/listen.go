package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pollbridge/pollbridge/internal/ratelog"
)

const (
	// unixPrefix begins the address of a Unix socket.
	unixPrefix = "unix:"
	// fromSystemd is the address of the socket that systemd hands over.
	fromSystemd = "systemd"
)

// listen listens on addr, HOST:PORT or unix:PATH, or takes systemd's socket. Processes
// that all share a HOST:PORT each get some of its connections.
func listen(addr string, shared bool) (net.Listener, error) {
	if addr == fromSystemd {
		return inherited()
	}
	path, unix := strings.CutPrefix(addr, unixPrefix)
	if !unix {
		var cfg net.ListenConfig
		if shared {
			cfg.Control = reusePort
		}
		listener, err := cfg.Listen(context.Background(), "tcp", addr)
		return listener, listenError(addr, err)
	}
	listener, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && isAbandoned(path) {
		if err := os.Remove(path); err != nil {
			return nil, listenError(addr, err)
		}
		listener, err = net.Listen("unix", path)
	}
	return listener, listenError(addr, err)
}

// inherited returns the one socket that systemd has handed to this process: see
// sd_listen_fds(3).
func inherited() (net.Listener, error) {
	listeners, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("cannot listen on systemd's socket: %w", err)
	}
	listeners = slices.DeleteFunc(listeners, func(l net.Listener) bool { return l == nil })
	if len(listeners) != 1 {
		return nil, fmt.Errorf("cannot listen on systemd's socket: %d stream sockets were handed over, want 1 (LISTEN_FDS, from a .socket unit)", len(listeners))
	}
	return listeners[0], nil
}

// isAbandoned reports whether a Unix socket is what a process left that is gone.
func isAbandoned(path string) bool {
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// urlOf is by what a client on this machine reaches a listener.
func urlOf(scheme, addr string, listener net.Listener) string {
	switch {
	case strings.HasPrefix(addr, unixPrefix):
		return addr
	case addr == fromSystemd && listener.Addr().Network() == "unix":
		return unixPrefix + listener.Addr().String()
	case addr == fromSystemd:
		addr = listener.Addr().String()
	}
	return scheme + "://" + reachable(addr, listener.Addr())
}

// reachable is the host and port to reach a listener by: the host as it was
// asked for, which a certificate may name, but 127.0.0.1 where it was every
// interface.
func reachable(asked string, bound net.Addr) string {
	_, port, _ := net.SplitHostPort(bound.String())
	host, _, _ := net.SplitHostPort(asked)
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	return net.JoinHostPort(cmp.Or(host, "127.0.0.1"), port)
}

// listenError says what to do where that is known.
func listenError(addr string, err error) error {
	if err == nil {
		return nil
	}
	cause := err
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		cause = call.Err
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("cannot listen on %s: another program does; choose another address, or port 0 for a free one", addr)
	}
	return fmt.Errorf("cannot listen on %s: %w", addr, cause)
}

// sparingListener leaves the process some file descriptors: for the admin
// listener, backends and files. A connection that would take one of them is
// closed at once, so that its client tries again, here or elsewhere.
type sparingListener struct {
	net.Listener
	limit   uintptr // descriptors from it on are spared; 0: unknown
	refused prometheus.Counter
	line    *ratelog.Line
}

// sparedDescriptors is how many are left, where that is no more than a quarter of
// all.
const sparedDescriptors = 32

func newSparingListener(l net.Listener, registry *prometheus.Registry, logger *slog.Logger) *sparingListener {
	s := &sparingListener{
		Listener: l,
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pollbridge_connections_refused_total", Help: "Connections closed at once for want of file descriptors.",
		}),
		line: ratelog.New(logger, slog.LevelError, "file descriptors are used up: connections are refused; raise the limit (ulimit -n, LimitNOFILE)"),
	}
	registry.MustRegister(s.refused)
	if all := maxDescriptors(); all > 0 {
		s.limit = uintptr(all - min(sparedDescriptors, all/4))
	}
	return s
}

// Accept implements net.Listener.
func (l *sparingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
				l.refuse("err", err)
			}
			return nil, err
		}
		if l.limit == 0 || descriptor(conn) < l.limit {
			return conn, nil
		}
		l.refuse("remote", conn.RemoteAddr().String())
		conn.Close()
	}
}

func (l *sparingListener) refuse(key string, value any) {
	l.refused.Inc()
	l.line.Add(key, value, "limit", l.limit)
}

// descriptor is that of a connection: the lowest that was free (POSIX).
func descriptor(conn net.Conn) uintptr {
	var number uintptr
	under, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	if raw, err := under.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { number = fd }) // it fails for one that is closed
	}
	return number
}
