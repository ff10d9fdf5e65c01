package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// lab is a backend and what stands before it, until it is closed.
type lab struct {
	cfg     config
	backend *process
	wrap    []string // command by which processes are started
	closers []func() error
}

// newLab starts a backend, by a command that starts another, if one is given.
func newLab(ctx context.Context, cfg config, wrap ...string) (_ *lab, err error) {
	l := &lab{cfg: cfg, wrap: wrap}
	l.backend, err = l.role(ctx, "backend")
	return l, err
}

// close ends everything, the youngest first.
func (l *lab) close() {
	for _, f := range slices.Backward(l.closers) {
		if err := f(); err != nil {
			l.cfg.log("closing: %v", err)
		}
	}
}

// role starts this program in a role.
func (l *lab) role(ctx context.Context, role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return l.own(ctx, role, append([]string{self, roleArg, role}, args...)...)
}

// bridge starts the bridge as `bridge serve` does, with further flags.
func (l *lab) bridge(ctx context.Context, flags ...string) (*process, error) {
	return l.own(ctx, "bridge", append([]string{filepath.Join(l.cfg.dir, "bridge"), "serve", "--listen", "127.0.0.1:0", "--backend", l.backend.addr}, flags...)...)
}

// own starts a program with a hook.
func (l *lab) own(ctx context.Context, name string, command ...string) (*process, error) {
	socket := filepath.Join(l.cfg.dir, fmt.Sprintf("%s-%d", name, len(l.closers)))
	_ = os.Remove(socket) // of a lab before
	p, err := l.start(ctx, name, []string{"BENCH_SOCKET=" + socket}, command...)
	if err == nil {
		p.hook = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
	}
	return p, err
}

// start starts a program that prints its address.
func (l *lab) start(ctx context.Context, name string, env []string, command ...string) (*process, error) {
	p, err := start(ctx, name, env, slices.Concat(l.wrap, command)...)
	if err == nil {
		l.closers = append(l.closers, p.close)
	}
	return p, err
}

// foreign starts somebody else's program, which is to listen on an address.
func (l *lab) foreign(ctx context.Context, name string, command func(host, port string) []string) (*process, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := lis.Addr().String()
	host, port, _ := net.SplitHostPort(addr)
	if err := lis.Close(); err != nil {
		return nil, err
	}
	p, err := startForeign(ctx, name, addr, command(host, port)...)
	if err == nil {
		l.closers = append(l.closers, p.close)
	}
	return p, err
}

const (
	grpcwebproxyPackage = "github.com/improbable-eng/grpc-web/go/grpcwebproxy"
	grpcwebproxyVersion = "v0.15.0"
)

// grpcwebproxy installs and starts it.
func (l *lab) grpcwebproxy(ctx context.Context) (*process, error) {
	program := filepath.Join(l.cfg.cache, "grpcwebproxy")
	if _, err := os.Stat(program); err != nil {
		env := []string{"GOBIN=" + l.cfg.cache, "GOFLAGS=-mod=mod"}
		if err := command(ctx, l.cfg.cache, env, "go", "install", grpcwebproxyPackage+"@"+grpcwebproxyVersion); err != nil {
			return nil, err
		}
	}
	return l.foreign(ctx, "grpcwebproxy", func(host, port string) []string {
		return []string{
			program, "--server_bind_address=" + host, "--server_http_debug_port=" + port, "--run_tls_server=false",
			"--backend_addr=" + l.backend.addr, "--backend_tls=false", "--use_websockets", "--allow_all_origins",
			"--server_http_max_read_timeout=1h", "--server_http_max_write_timeout=1h",
		}
	})
}

// middlebox starts what delays all that passes it, each way.
func (l *lab) middlebox(ctx context.Context, listen, upstream, delay string) (*process, error) {
	program := filepath.Join(l.cfg.dir, "middlebox")
	if err := command(ctx, l.cfg.tree, nil, "go", "build", "-o", program, "./internal/cmd/middlebox"); err != nil {
		return nil, err
	}
	return l.start(ctx, "middlebox", nil, program, "--listen", listen, "--upstream", "http://"+upstream, "--delay", delay)
}

//go:embed hook.go
var hook []byte

// buildBridge builds the bridge of the tree with hook.go in it.
func (c config) buildBridge(ctx context.Context) error {
	file := filepath.Join(c.dir, "hook.go")
	if err := os.WriteFile(file, hook, 0o644); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(c.tree, "cmd", "bridge", "bench_hook.go"): file,
	}})
	if err != nil {
		return err
	}
	file = filepath.Join(c.dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		return err
	}
	return command(ctx, c.tree, nil, "go", "build", "-overlay", file, "-o", filepath.Join(c.dir, "bridge"), "./cmd/bridge")
}

// command runs a command to its end; the last line of its output comes with its
// error.
func command(ctx context.Context, dir string, env []string, command ...string) error {
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return errors.Join(fmt.Errorf("%s: %w", strings.Join(command, " "), err), errors.New(lines[len(lines)-1]))
}
