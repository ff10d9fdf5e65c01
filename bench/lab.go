package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pollbridge/pollbridge/client"
)

// A path is one way from here to the server.
type path struct {
	name string
	conn grpc.ClientConnInterface
	hop  *process // what stands between; nil natively
}

// lab is everything that is measured, up and running.
type lab struct {
	server *process
	paths  []path

	closers []func() error
}

func newLab(ctx context.Context) (_ *lab, err error) {
	l := &lab{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.server, err = l.start(ctx, "server", ""); err != nil {
		return nil, err
	}
	proxy, err := l.start(ctx, "proxy", l.server.addr)
	if err != nil {
		return nil, err
	}
	bridge, err := l.start(ctx, "bridge", l.server.addr)
	if err != nil {
		return nil, err
	}
	if err := l.dial(nativePath, nil, l.server.addr); err != nil {
		return nil, err
	}
	if err := l.dial(proxyPath, proxy, proxy.addr); err != nil {
		return nil, err
	}
	for _, transport := range []string{"ws", "longpoll"} {
		channel, err := client.New("http://"+bridge.addr, client.Config{Transports: []string{transport}})
		if err != nil {
			return nil, err
		}
		l.closers = append(l.closers, channel.Close)
		l.paths = append(l.paths, path{"pollbridge " + transport, channel, bridge})
	}
	return l, nil
}

// dial adds a path of plain gRPC.
func (l *lab) dial(name string, hop *process, addr string) error {
	conn, err := grpc.NewClient("passthrough:"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	l.closers = append(l.closers, conn.Close)
	l.paths = append(l.paths, path{name, conn, hop})
	return nil
}

func (l *lab) start(ctx context.Context, role, backend string) (*process, error) {
	p, err := start(ctx, role, backend)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	l.closers = append(l.closers, p.close)
	return p, nil
}

func (l *lab) close() {
	for i := len(l.closers) - 1; i >= 0; i-- {
		if err := l.closers[i](); err != nil {
			fmt.Fprintln(os.Stderr, "bench: closing:", err)
		}
	}
}

// A process is this program in one of its roles. It ends when its stdin does,
// so none survives its parent.
type process struct {
	addr  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Reader
}

func start(ctx context.Context, role, backend string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, roleArg, role, backend)}
	p.cmd.Stderr = os.Stderr
	// One collector's setting for all, whatever each would choose.
	p.cmd.Env = append(os.Environ(), "GOGC=100", "GOMEMLIMIT=off")
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.addr = strings.TrimSpace(line)
	return p, nil
}

// usage is what a process has used so far.
type usage struct {
	cpu     time.Duration
	mallocs uint64
}

func (u usage) since(before usage) usage {
	return usage{u.cpu - before.cpu, u.mallocs - before.mallocs}
}

// usage asks the process. A nil process uses nothing.
func (p *process) usage() (usage, error) {
	if p == nil {
		return usage{}, nil
	}
	if _, err := io.WriteString(p.stdin, "\n"); err != nil {
		return usage{}, err
	}
	var u usage
	_, err := fmt.Fscanln(p.lines, &u.cpu, &u.mallocs)
	return u, err
}

func (p *process) close() error {
	return errors.Join(p.stdin.Close(), p.cmd.Wait())
}
