package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// asProgram makes the test binary be the program.
const asProgram = "BRIDGE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if setting := os.Getenv(asInterop); setting != "" {
		runInterop(setting)
		return
	}
	os.Exit(m.Run())
}

// process is a running bridge.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	url   string // of its first line
	first string
	out   *bufio.Reader
	err   *output
	ended bool
}

// output can be read while it is written.
type output struct {
	mu      sync.Mutex
	b       bytes.Buffer
	written chan struct{} // closed and replaced by each write
}

func newOutput() *output { return &output{written: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.written)
	o.written = make(chan struct{})
	return o.b.Write(p)
}

// await waits for a line that holds before and gives what follows that.
func (o *output) await(t *testing.T, before string) string {
	t.Helper()
	for {
		o.mu.Lock()
		written := o.written
		_, after, found := strings.Cut(o.b.String(), before)
		o.mu.Unlock()
		if line, _, whole := strings.Cut(after, "\n"); found && whole {
			return line
		}
		select {
		case <-written:
		case <-t.Context().Done():
			t.Fatalf("never wrote %q", before)
		}
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs the program until its first line. It is killed at the test's end.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: program(t, args...), err: newOutput()}
	p.run()
	return p
}

// run starts the command and waits for its first line.
func (p *process) run() {
	t := p.t
	t.Helper()
	p.cmd.Stderr = p.err
	pipe, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !p.ended {
			p.cmd.Process.Kill()
			p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("standard error of %v:\n%s", p.cmd.Args[1:], p.err)
		}
	})
	p.out = bufio.NewReader(pipe)
	p.first, err = p.out.ReadString('\n')
	if err != nil {
		t.Fatalf("no first line: %v; standard error:\n%s", err, p.err)
	}
	p.url = strings.TrimSuffix(strings.TrimPrefix(p.first, "listening on "), "\n")
}

// program is the command without anything of the tester's own settings.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...) // t.Context ends before clients are closed
	cmd.Dir = t.TempDir()
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "POLLBRIDGE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	// A race detector would make each process wait for a second at its end.
	cmd.Env = append(cmd.Env, asProgram+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns what else the program wrote to standard output, and its exit
// code.
func (p *process) wait() (rest string, code int) {
	p.t.Helper()
	data, err := io.ReadAll(p.out)
	if err != nil {
		p.t.Fatal(err)
	}
	p.ended = true
	return string(data), exitCode(p.t, p.cmd.Wait())
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}

// runOnce runs the program to its end.
func runOnce(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := program(t, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	code = exitCode(t, cmd.Run())
	return out.String(), errOut.String(), code
}
