package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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

// TestRolling has each way to restart bridges, side by side: they wait most of the time.
func TestRolling(t *testing.T) {
	exe := buildBridge(t)
	clients := 40
	if *full {
		clients = 200
	}
	t.Run("pair", func(t *testing.T) { rollPair(t, exe, clients) })
	t.Run("cluster", func(t *testing.T) { rollCluster(t, exe, clients) })
	t.Run("takeover", func(t *testing.T) { takeOver(t, exe, clients) })
}

// rollPair restarts two bridges behind each balancer that OPERATIONS.md has a
// configuration for.
func rollPair(t *testing.T, exe string, clients int) {
	t.Parallel()
	for _, balancer := range []struct {
		name  string
		start func(t *testing.T, name string, s settings) *exec.Cmd
		site  func(t *testing.T, s settings, both pair) string
	}{
		{"nginx", nginx, tunedNginx},
		{"haproxy", haproxy, tunedHAProxy},
	} {
		t.Run(balancer.name, func(t *testing.T) {
			t.Parallel()
			s := settings{Dir: ownDir(t), Port: freePort(t, "127.0.0.1")}
			public, admin := freePort(t, pageHost, firstHost, secondHost), freePort(t, firstHost, secondHost)
			bridges := startBridges(t, exe, []string{firstHost, secondHost}, public, admin)
			s.Site = balancer.site(t, s, pair{ports: movedPorts(public, admin)})
			startProxy(t, balancer.start(t, balancer.name, s), s)
			roll(t, bridges, s, clients)
		})
	}
}

// rollCluster restarts three bridges of a cluster behind balancers that know nothing
// of sessions, with the files of examples/cluster.
func rollCluster(t *testing.T, exe string, clients int) {
	t.Parallel()
	hosts := []string{firstHost, secondHost, network + "13"}
	for _, balancer := range []struct {
		name, file string
		command    func(dir, file string) *exec.Cmd
	}{
		{"nginx, round-robin", "nginx.conf", func(dir, file string) *exec.Cmd {
			return exec.Command("nginx", "-p", dir, "-c", file, "-e", filepath.Join(dir, "log"), "-g", "daemon off;")
		}},
		{"haproxy, leastconn", "haproxy.cfg", func(_, file string) *exec.Cmd { return exec.Command("haproxy", "-db", "-f", file) }},
	} {
		t.Run(balancer.name, func(t *testing.T) {
			t.Parallel()
			s := settings{Dir: ownDir(t), Port: freePort(t, "127.0.0.1")}
			public, admin := freePort(t, hosts...), freePort(t, hosts...)
			bridges := startBridges(t, exe, hosts, public, admin, "--cluster", startNATS(t))
			file := filepath.Join("../examples/cluster", balancer.file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			moved := []string{"127.0.0.1:8080", "127.0.0.1:" + strconv.Itoa(s.Port)}
			for i, host := range hosts {
				moved = append(moved, fmt.Sprintf("127.0.0.1:808%d", i+1), net.JoinHostPort(host, strconv.Itoa(public)), fmt.Sprintf("port 908%d", i+1), fmt.Sprintf("port %d", admin))
			}
			file = write(t, filepath.Join(s.Dir, balancer.file), strings.NewReplacer(moved...).Replace(string(text)))
			startProxy(t, balancer.command(s.Dir, file), s)
			roll(t, bridges, s, clients)
		})
	}
}

// takeOver starts a bridge beside another on the same port, and then stops that one,
// twice.
func takeOver(t *testing.T, exe string, clients int) {
	t.Parallel()
	port := freePort(t, firstHost)
	first := startBridges(t, exe, []string{firstHost}, port, freePort(t, firstHost), "--reuse-port", "--cluster", startNATS(t))[0]
	first.awaitReady(t)
	home := "http://" + net.JoinHostPort(firstHost, strconv.Itoa(port))
	crowd, node := startCrowd(t, home, clients), startNodeCrowd(t, home)
	old := first
	for range 2 {
		old.awaitSessions(t)
		next := old.beside(t, net.JoinHostPort(firstHost, strconv.Itoa(freePort(t, firstHost))))
		next.awaitReady(t)
		old.stop(t)
		old = next
	}
	old.awaitSessions(t)
	crowd.leave(t)
	node.leave(t)
}

// beside starts another bridge with the same flags but for the address of its admin
// listener.
func (b *bridgeProcess) beside(t *testing.T, admin string) *bridgeProcess {
	next := &bridgeProcess{exe: b.exe, admin: "http://" + admin, flags: slices.Clone(b.flags)}
	next.flags[slices.Index(next.flags, "--admin")+1] = admin
	next.start(t)
	return next
}

// roll restarts bridges behind a proxy one after another while clients use them.
func roll(t *testing.T, bridges []*bridgeProcess, s settings, clients int) {
	t.Helper()
	for _, b := range bridges {
		b.awaitReady(t)
	}
	home := "http://127.0.0.1:" + strconv.Itoa(s.Port)
	crowd, node := startCrowd(t, home, clients), startNodeCrowd(t, home)
	for _, b := range bridges {
		b.awaitSessions(t)
		b.restart(t)
	}
	bridges[len(bridges)-1].awaitSessions(t)
	crowd.leave(t)
	node.leave(t)
}

var nodeCrowd = flag.String("node.crowd", "", "the compiled crowd.ts of jsclient: clients in Node take part in -rolling")

// nodeClients is how many clients there are in Node: two of each choice of transports
// and each pause.
const nodeClients = 12

// crowdInNode is clients in Node; nil: none.
type crowdInNode struct {
	cmd *exec.Cmd
	in  io.Closer
	out bytes.Buffer
}

func startNodeCrowd(t *testing.T, home string) *crowdInNode {
	if *nodeCrowd == "" {
		t.Log("no clients in Node: -node.crowd has them")
		return nil
	}
	c := &crowdInNode{cmd: exec.Command("node", *nodeCrowd, home, strconv.Itoa(nodeClients))}
	c.cmd.Stdout, c.cmd.Stderr = &c.out, os.Stderr
	in, err := c.cmd.StdinPipe()
	check(t, err)
	c.in = in
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return c
}

// leave has them finish what they do, and says what they saw.
func (c *crowdInNode) leave(t *testing.T) {
	t.Helper()
	if c == nil {
		return
	}
	check(t, c.in.Close())
	check(t, c.cmd.Wait())
	var seen struct {
		Calls     int
		Failed    []string
		LongestMS int
	}
	check(t, json.Unmarshal(c.out.Bytes(), &seen))
	t.Logf("in Node: %d calls, %d failed, the longest took %d ms", seen.Calls, len(seen.Failed), seen.LongestMS)
	for _, failure := range seen.Failed {
		t.Error("in Node: ", failure)
	}
	if seen.Calls < nodeClients {
		t.Errorf("in Node %d calls of %d clients ended", seen.Calls, nodeClients)
	}
}

// startNATS starts a NATS server and returns its URL.
func startNATS(t *testing.T) string {
	s := settings{Dir: t.TempDir(), Port: freePort(t, "127.0.0.1")}
	startProxy(t, exec.Command("nats-server", "-a", "127.0.0.1", "-p", strconv.Itoa(s.Port)), s)
	return "nats://127.0.0.1:" + strconv.Itoa(s.Port)
}

// bridgeProcess is a `bridge serve` with a process of its own.
type bridgeProcess struct {
	exe   string
	flags []string
	admin string // http://HOST:PORT

	cmd *exec.Cmd
}

var rolling = flag.Bool("rolling", false, "restart real bridges behind real balancers under load, as ./test.sh proxies does")

// buildBridge builds the program.
func buildBridge(t *testing.T) string {
	if !*rolling {
		t.Skip("restarts processes for a minute: -rolling runs it")
	}
	return compileBridge(t)
}

func compileBridge(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "bridge")
	run(t, "go", "build", "-o", exe, "../cmd/bridge")
	return exe
}

// startBridges starts a bridge on each host, before one backend.
func startBridges(t *testing.T, exe string, hosts []string, public, admin int, flags ...string) []*bridgeProcess {
	service, err := testsvc.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Stop)
	drain := "20s"
	if *full {
		drain = "60s" // so many clients on two cores take their time
	}
	var all []*bridgeProcess
	for _, host := range hosts {
		at := net.JoinHostPort(host, strconv.Itoa(admin))
		b := &bridgeProcess{exe: exe, admin: "http://" + at, flags: append([]string{
			"serve", "--listen", net.JoinHostPort(host, strconv.Itoa(public)), "--admin", at,
			"--backend", service.Addr, "--trusted-proxy", "127.0.0.0/8", "--allow-host", "127.0.0.1", "--drain-timeout", drain,
		}, flags...)}
		b.start(t)
		all = append(all, b)
	}
	return all
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
	cmd := b.cmd
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // says so
	})
}

// restart stops the bridge, and starts another in its place once it has ended.
func (b *bridgeProcess) restart(t *testing.T) {
	t.Helper()
	b.stop(t)
	b.start(t)
	b.awaitReady(t)
}

// stop ends the bridge as a supervisor does.
func (b *bridgeProcess) stop(t *testing.T) {
	t.Helper()
	began := time.Now()
	check(t, b.cmd.Process.Signal(syscall.SIGTERM))
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("bridge drained after %v: %v", time.Since(began), err)
	}
	t.Logf("drained for %v", time.Since(began).Round(time.Millisecond))
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
