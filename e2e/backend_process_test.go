package e2e_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"

	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// asBackend makes the test binary be a gRPC server on the address that it names.
const asBackend = "E2E_AS_BACKEND"

func TestMain(m *testing.M) {
	if addr := os.Getenv(asBackend); addr != "" {
		beBackend(addr)
		return
	}
	os.Exit(m.Run())
}

func beBackend(addr string) {
	flags := flag.NewFlagSet(asBackend, flag.ExitOnError)
	maxAge := flags.Duration("max-age", 0, "retire connections of this age; 0: never")
	permitPings := flags.Bool("permit-pings", false, "take no offence at a ping every 5 s")
	report := flags.Bool("report", false, "print a line for each connection, and for each unary RPC before it runs")
	_ = flags.Parse(os.Args[1:]) // exits on an error

	opts := []grpc.ServerOption{grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: *maxAge})}
	if *permitPings {
		opts = append(opts, grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}))
	}
	if *report {
		opts = append(opts, grpc.StatsHandler(reportedConns{}), grpc.UnaryInterceptor(reportRPC))
	}
	svc, err := testsvc.Listen(addr, opts...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(svc.Addr)
	_, _ = io.Copy(io.Discard, os.Stdin) // until who started it is gone
}

const (
	toldConn = "connection"
	toldRPC  = "RPC %d"
)

func reportRPC(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	fmt.Printf(toldRPC+"\n", req.(*echopb.Request).GetNumber())
	return next(ctx, req)
}

// reportedConns is a stats.Handler that reports connections.
type reportedConns struct{}

func (reportedConns) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (reportedConns) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (reportedConns) HandleRPC(context.Context, stats.RPCStats)                         {}

func (reportedConns) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, ok := s.(*stats.ConnBegin); ok {
		fmt.Println(toldConn)
	}
}

// process is a gRPC server with a process of its own.
type process struct {
	addr  string
	conns atomic.Int64   // with -report
	began map[uint64]int // with -report, of each numbered RPC, once it was killed
	kill  func()         // returns when it is dead and all its output is read
}

// startBackend starts a server with the defaults of grpc-go, but for the flags.
func startBackend(t *testing.T, addr string, flags ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, flags...)
	cmd.Env = append(os.Environ(), asBackend+"="+addr)
	cmd.Stderr = os.Stderr
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{began: map[uint64]int{}}
	var reading sync.WaitGroup
	p.kill = sync.OnceFunc(func() {
		check(t, cmd.Process.Kill())
		reading.Wait()
		_ = cmd.Wait() // says that it was killed
	})
	t.Cleanup(p.kill)
	out := bufio.NewReader(pipe)
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.addr = strings.TrimSpace(line)
	reading.Go(func() { p.read(out) })
	return p
}

// read reads the server's reports until it is dead.
func (p *process) read(out *bufio.Reader) {
	for {
		line, err := out.ReadString('\n')
		if err != nil {
			return
		}
		var number uint64
		if _, err := fmt.Sscanf(line, toldRPC, &number); err == nil {
			p.began[number]++
		} else {
			p.conns.Add(1)
		}
	}
}
