package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a child. Its methods may be called on nil, which uses nothing.
type process struct {
	name string
	addr string // host and port
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	hook *http.Client // of hook.go; nil: somebody else's program
}

// usage is what a process has used so far and holds now. The last four are
// known only of processes with a hook.
type usage struct {
	CPU       time.Duration
	RSS, Peak int // bytes

	Mallocs      uint64
	Heap, Stacks int // bytes
	Goroutines   int
}

// start starts a program that prints one line, whose last word is its address,
// when it is ready.
func start(ctx context.Context, name string, env []string, command ...string) (_ *process, err error) {
	p := &process{name: name, cmd: exec.CommandContext(ctx, command[0], command[1:]...)}
	p.cmd.Env = slices.Concat(os.Environ(), env)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if name != "bridge" { // whose log is long
		p.cmd.Stderr = os.Stderr
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	line, err := p.out.ReadString('\n')
	words := strings.Fields(line)
	if err != nil || len(words) == 0 {
		return nil, fmt.Errorf("%s did not start: %w", name, errors.Join(err, p.close()))
	}
	p.addr = words[len(words)-1]
	if _, addr, ok := strings.Cut(p.addr, "://"); ok {
		p.addr = addr
	}
	return p, nil
}

// startForeign starts a program that prints nothing, and listens on addr.
func startForeign(ctx context.Context, name, addr string, command ...string) (*process, error) {
	p := &process{name: name, addr: addr, cmd: exec.CommandContext(ctx, command[0], command[1:]...)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			return p, conn.Close()
		}
	}
	return nil, errors.Join(fmt.Errorf("%s does not listen on %s", name, addr), p.close())
}

// close ends the process at once.
func (p *process) close() error {
	err := p.cmd.Process.Kill()
	_ = p.cmd.Wait() // killed
	return err
}

// ask writes a line to the process and reads its answer, in JSON.
func (p *process) ask(question string, answer any) error {
	if _, err := fmt.Fprintln(p.in, question); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return json.Unmarshal(line, answer)
}

// usage reads what the process has used.
func (p *process) usage() (usage, error) { return p.read("http://hook/usage") }

// collected is usage after a garbage collection, where one can be had.
func (p *process) collected() (usage, error) { return p.read("http://hook/usage?collect=1") }

func (p *process) read(url string) (u usage, err error) {
	if p == nil {
		return u, nil
	}
	if p.hook != nil {
		resp, err := p.hook.Get(url)
		if err != nil {
			return u, fmt.Errorf("%s: %w", p.name, err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&u); err != nil {
			return u, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if u.CPU, err = cpuTime(p.cmd.Process.Pid); err == nil {
		u.RSS, u.Peak, err = residentMemory(p.cmd.Process.Pid)
	}
	return u, err
}

// usageOf is what some processes have used together.
func usageOf(all []*process) (sum usage, err error) {
	for _, p := range all {
		u, err := p.usage()
		if err != nil {
			return sum, err
		}
		sum.CPU += u.CPU
		sum.Mallocs += u.Mallocs
	}
	return sum, nil
}

// cpuTime reads a process's clock of CPU time: see clock_getcpuclockid(3).
func cpuTime(pid int) (time.Duration, error) {
	const scheduler = 2
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|scheduler), &t)
	return time.Duration(t.Nano()), err
}

// residentMemory reads a process's resident memory and its peak, in bytes.
func residentMemory(pid int) (now, peak int, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")) // the kernel's own format
		switch key {
		case "VmRSS":
			now = n << 10
		case "VmHWM":
			peak = n << 10
		}
	}
	return now, peak, err
}

// forgetPeak has the peak of resident memory counted from now on.
func (p *process) forgetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// profile has a process with a hook profile its CPU while f runs, if profiles
// are wanted.
func (c config) profile(p *process, name string, f func() error) error {
	if c.profiles == "" || p == nil || p.hook == nil {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		done <- p.saveProfile("profile?seconds="+strconv.Itoa(int(max(1, c.window.Seconds()))), c.profileOf(name, ".cpu"))
	}()
	return errors.Join(f(), <-done)
}

// profileOf returns the file for a profile of what has the given name.
func (c config) profileOf(name, ext string) string {
	return filepath.Join(c.profiles, strings.NewReplacer(" ", "-", "/", "-").Replace(name)+ext)
}

// saveMemory saves the heap and goroutine profiles of a process with a hook, if
// profiles are wanted.
func (c config) saveMemory(p *process, name string) error {
	if c.profiles == "" || p.hook == nil {
		return nil
	}
	return errors.Join(
		p.saveProfile("heap", c.profileOf(name, ".heap")),
		p.saveProfile("goroutine", c.profileOf(name, ".goroutine")))
}

func (p *process) saveProfile(kind, file string) error {
	resp, err := p.hook.Get("http://hook/debug/pprof/" + kind)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
