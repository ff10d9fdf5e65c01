package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is a child: this program in a role, or another, which answers
// questions on its stdin and ends with it; or a foreign one.
type process struct {
	name string
	addr string
	cmd  *exec.Cmd

	mu    sync.Mutex // one question at a time
	stdin io.WriteCloser
	lines *bufio.Reader // nil: foreign
}

// usage is what a process has used so far and holds now.
type usage struct {
	CPU        time.Duration
	Mallocs    uint64
	Requests   uint64 // HTTP requests, where the role counts them
	RSS        int    // bytes
	PeakRSS    int
	Heap       int // bytes of RSS that live objects and what lies between them take
	Stacks     int // and goroutines' stacks
	Goroutines int
}

// startRole starts this program in a role.
// wrap is a command that it is started by, if not empty.
func startRole(ctx context.Context, wrap, env []string, role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startAsked(ctx, role, env, slices.Concat(wrap, []string{self, roleArg, role}, args)...)
}

// startAsked starts a program that prints its address, or what else is to be
// known of it, and answers questions then.
func startAsked(ctx context.Context, name string, env []string, command ...string) (_ *process, err error) {
	p := &process{name: name, cmd: exec.CommandContext(ctx, command[0], command[1:]...)}
	p.cmd.Stderr = os.Stderr
	p.cmd.Env = append(os.Environ(), env...)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.lines = bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	line, err := p.lines.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, errors.Join(err, p.close()))
	}
	p.addr = strings.TrimSpace(line)
	return p, nil
}

// startForeign starts another program that listens on addr.
func startForeign(ctx context.Context, name, addr string, command ...string) (*process, error) {
	p := &process{name: name, addr: addr, cmd: exec.CommandContext(ctx, command[0], command[1:]...)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return p, conn.Close()
		}
	}
	return nil, errors.Join(fmt.Errorf("%s: does not listen on %s", name, addr), p.close())
}

// middlebox builds the program that delays what passes it.
func (c config) middlebox(ctx context.Context) (program string, err error) {
	program = filepath.Join(c.cache, "middlebox")
	return program, runIn(ctx, ".", nil, "go", "build", "-o", program, "./internal/cmd/middlebox")
}

// freeAddr is an address that a foreign program may listen on.
func freeAddr() (string, error) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return lis.Addr().String(), lis.Close()
}

// ask puts a question to a process that answers.
func (p *process) ask(question string, answer any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := fmt.Fprintln(p.stdin, question); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	line, err := p.lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return json.Unmarshal(line, answer)
}

// usage asks what the process has used. A nil process uses nothing.
func (p *process) usage() (u usage, err error) {
	switch {
	case p == nil:
		return usage{}, nil
	case p.lines != nil:
		return u, p.ask("usage", &u)
	}
	return foreignUsage(p.cmd.Process.Pid)
}

// collected is usage after garbage collection, where it can be asked for.
func (p *process) collected() (u usage, err error) {
	if p.lines == nil {
		return p.usage()
	}
	return u, p.ask("collect", &u)
}

// foreignUsage reads /proc, whose clock ticks are 10 ms.
func foreignUsage(pid int) (usage, error) {
	const tick = 10 * time.Millisecond
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	// The fields behind the name, which may hold spaces: state is the third.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return usage{}, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	u := usage{CPU: time.Duration(user+system) * tick}
	u.RSS, u.PeakRSS, err = residentMemory(pid)
	return u, errors.Join(err1, err2, err)
}

// residentMemory is a process's resident memory and its peak, in bytes.
func residentMemory(pid int) (now, peak int, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "VmRSS":
			now = kibibytes(value)
		case "VmHWM":
			peak = kibibytes(value)
		}
	}
	return now, peak, nil
}

func kibibytes(s string) int {
	n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(s), " kB")) // the kernel's own format
	return n << 10
}

func (p *process) close() error {
	if p.lines != nil {
		return errors.Join(p.stdin.Close(), p.cmd.Wait())
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // killed
	return nil
}
