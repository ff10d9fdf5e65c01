package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/testsvc"
)

// A rolling restart: bridges behind a balancer are restarted one after the other
// under a crowd of clients. Nobody may notice: each RPC that is shorter than the
// drain ends as it does without a restart.

// TestRolling restarts two bridges behind each balancer that OPERATIONS.md has a
// configuration for.
func TestRolling(t *testing.T) {
	exe := buildBridge(t)
	for _, balancer := range []struct {
		name  string
		start func(t *testing.T, name string, s settings) *exec.Cmd
		site  func(t *testing.T, s settings, both pair) string
	}{
		{"nginx", nginx, tunedNginx},
		{"haproxy", haproxy, tunedHAProxy},
	} {
		t.Run(balancer.name, func(t *testing.T) {
			s := settings{Dir: ownDir(t), Port: freePort(t, "127.0.0.1")}
			bridges, ports := startBridges(t, exe)
			s.Site = balancer.site(t, s, pair{ports: ports})
			startProxy(t, balancer.start(t, balancer.name, s), s)
			home := "http://127.0.0.1:" + strconv.Itoa(s.Port)
			for _, b := range bridges {
				b.awaitReady(t)
			}
			clients := 40
			if *full {
				clients = 80
			}
			crowd := startCrowd(t, home, clients)
			for _, b := range bridges {
				b.awaitSessions(t)
				b.restart(t)
			}
			bridges[len(bridges)-1].awaitSessions(t)
			crowd.leave(t)
		})
	}
}

// bridgeProcess is a `bridge serve` with a process of its own.
type bridgeProcess struct {
	exe   string
	flags []string
	admin string // http://HOST:PORT

	cmd *exec.Cmd
}

// buildBridge builds the program.
func buildBridge(t *testing.T) string {
	exe := filepath.Join(t.TempDir(), "bridge")
	run(t, "go", "build", "-o", exe, "../cmd/bridge")
	return exe
}

// startBridges starts two bridges at the addresses of OPERATIONS.md, but for
// what the replacer makes of them, before one backend.
func startBridges(t *testing.T, exe string) ([]*bridgeProcess, *strings.Replacer) {
	service, err := testsvc.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Stop)
	public, admin := freePort(t, pageHost, firstHost, secondHost), freePort(t, firstHost, secondHost)
	var all []*bridgeProcess
	for _, host := range []string{firstHost, secondHost} {
		at := net.JoinHostPort(host, strconv.Itoa(admin))
		b := &bridgeProcess{exe: exe, admin: "http://" + at, flags: []string{
			"serve", "--listen", net.JoinHostPort(host, strconv.Itoa(public)), "--admin", at,
			"--backend", service.Addr, "--trusted-proxy", "127.0.0.0/8", "--allow-host", "127.0.0.1", "--drain-timeout", "20s",
		}}
		b.start(t)
		t.Cleanup(func() {
			_ = b.cmd.Process.Kill() // it may have ended
			_ = b.cmd.Wait()         // says so
		})
		all = append(all, b)
	}
	return all, movedPorts(public, admin)
}

// start starts the bridge and returns when it listens.
func (b *bridgeProcess) start(t *testing.T) {
	t.Helper()
	b.cmd = exec.Command(b.exe, b.flags...)
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log := &strings.Builder{}
	b.cmd.Stderr = log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		_ = b.cmd.Wait()
		t.Fatalf("%v: %s", err, log)
	}
}

// restart ends the bridge as a supervisor does, and starts another in its place
// once it has ended.
func (b *bridgeProcess) restart(t *testing.T) {
	t.Helper()
	began := time.Now()
	check(t, b.cmd.Process.Signal(syscall.SIGTERM))
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("bridge drained after %v: %v", time.Since(began), err)
	}
	t.Logf("drained for %v", time.Since(began).Round(time.Millisecond))
	b.start(t)
	b.awaitReady(t)
}

// awaitReady waits until the bridge says that it is ready.
func (b *bridgeProcess) awaitReady(t *testing.T) {
	t.Helper()
	b.await(t, "/readyz", func(status int, _ string) bool { return status == http.StatusOK })
}

var sessionsOpened = regexp.MustCompile(`(?m)^pollbridge_sessions_opened_total ([1-9].*)$`)

// awaitSessions waits until the balancer has sent sessions to the bridge.
func (b *bridgeProcess) awaitSessions(t *testing.T) {
	t.Helper()
	b.await(t, "/metrics", func(_ int, body string) bool { return sessionsOpened.MatchString(body) })
}

// await asks for a path of the admin listener until what it says is right.
func (b *bridgeProcess) await(t *testing.T, path string, right func(status int, body string) bool) {
	t.Helper()
	for {
		resp, err := http.Get(b.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if right(resp.StatusCode, string(body)) {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s says %s", path, fmt.Sprintf("%.200s", body))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
