package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// lab is everything that is measured, up and running. A rival that could not
// be had is nil, and missing says why.
type lab struct {
	backend, proxy, proxy400, bridge, bare *process
	grpcwebproxy, connect, socketio        *process
	connectServer                          *process // connect-go that answers by itself
	missing                                []string

	wrap    []string // command that roles are started by
	closers []func() error
}

// newLab starts our own processes.
func newLab(ctx context.Context) (_ *lab, err error) {
	l := &lab{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.backend, err = l.role(ctx, nil, "backend", "-"); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		to   **process
		env  []string
		role string
	}{
		{&l.proxy, nil, "proxy"},
		{&l.proxy400, []string{"GOGC=400"}, "proxy"},
		{&l.bridge, nil, "bridge"},
		{&l.bare, nil, "bare"},
	} {
		if *p.to, err = l.role(ctx, p.env, p.role, l.backend.addr); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *lab) role(ctx context.Context, env []string, role string, args ...string) (*process, error) {
	p, err := startRole(ctx, l.wrap, env, role, args...)
	if err == nil {
		l.closers = append(l.closers, p.close)
	}
	return p, err
}

// Rivals' versions. That of connect-go stands in rivals/go.mod, that of
// Socket.IO in rivals/socketio/package.json.
const (
	grpcwebproxyPackage = "github.com/improbable-eng/grpc-web/go/grpcwebproxy"
	grpcwebproxyVersion = "v0.15.0"
)

// adder installs and starts a rival.
type adder func(context.Context, config) error

// addRivals installs and starts what we are compared with.
func (l *lab) addRivals(ctx context.Context, cfg config, rivals map[string]adder) {
	for name, add := range rivals {
		if err := add(ctx, cfg); err != nil {
			l.missing = append(l.missing, fmt.Sprintf("%s: %v", name, err))
			cfg.log("LEFT OUT  %s: %v", name, err)
		}
	}
}

func (l *lab) addGRPCWebProxy(ctx context.Context, cfg config) error {
	program := filepath.Join(cfg.cache, "grpcwebproxy")
	if !exists(program) {
		if err := runIn(ctx, ".", []string{"GOBIN=" + cfg.cache, "GOFLAGS=-mod=mod"}, "go", "install", grpcwebproxyPackage+"@"+grpcwebproxyVersion); err != nil {
			return err
		}
	}
	return l.foreign(ctx, &l.grpcwebproxy, "grpcwebproxy", func(addr string) []string {
		host, port, _ := net.SplitHostPort(addr)
		return []string{
			program, "--server_bind_address=" + host, "--server_http_debug_port=" + port, "--run_tls_server=false",
			"--backend_addr=" + l.backend.addr, "--backend_tls=false", "--use_websockets", "--allow_all_origins",
			"--server_http_max_read_timeout=1h", "--server_http_max_write_timeout=1h",
		}
	})
}

func (l *lab) addConnect(ctx context.Context, cfg config) error {
	program := filepath.Join(cfg.cache, "connect")
	if err := runIn(ctx, "bench/rivals", nil, "go", "build", "-o", program, "./connect"); err != nil {
		return err
	}
	if err := l.foreign(ctx, &l.connectServer, "connect-go", func(addr string) []string {
		return []string{program, addr, "-"}
	}); err != nil {
		return err
	}
	return l.foreign(ctx, &l.connect, "connect-go", func(addr string) []string {
		return []string{program, addr, l.backend.addr}
	})
}

func (l *lab) addSocketIO(ctx context.Context, cfg config) error {
	if err := npmInstall(ctx, "bench/rivals/socketio"); err != nil {
		return err
	}
	return l.foreign(ctx, &l.socketio, "Socket.IO", func(addr string) []string {
		_, port, _ := net.SplitHostPort(addr)
		return []string{"node", "bench/rivals/socketio/server.js", port}
	})
}

// npmInstall installs what a folder's lock file names, if it is not there.
func npmInstall(ctx context.Context, dir string) error {
	if exists(filepath.Join(dir, "node_modules")) {
		return nil
	}
	return runIn(ctx, dir, nil, "npm", "ci", "--no-audit", "--no-fund")
}

func (l *lab) foreign(ctx context.Context, to **process, name string, command func(addr string) []string) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	p, err := startForeign(ctx, name, addr, command(addr)...)
	if err != nil {
		return err
	}
	*to = p
	l.closers = append(l.closers, p.close)
	return nil
}

func (l *lab) close() {
	for i := len(l.closers) - 1; i >= 0; i-- {
		if err := l.closers[i](); err != nil {
			fmt.Fprintln(os.Stderr, "bench: closing:", err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// runIn runs a command to its end; its output comes with its error.
func runIn(ctx context.Context, dir string, env []string, command ...string) error {
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", strings.Join(command, " "), err), errors.New(lastLine(string(out))))
	}
	return nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
