package e2e_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// program is a process of the cluster's test.
type program struct {
	cmd  *exec.Cmd
	out  *bufio.Reader
	stop func() // kill -9, and returns when it is dead
}

func launch(t *testing.T, in io.Reader, name string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stderr = in, os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: cmd, out: bufio.NewReader(out)}
	p.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	t.Cleanup(p.stop)
	return p
}

// line is the next line of what the program says.
func (p *program) line(t *testing.T) string {
	t.Helper()
	text, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", p.cmd.Path, err)
	}
	return strings.TrimSpace(text)
}

// processes are three bridges, NATS and a backend, each a process, and a relay that
// gives each request to the next bridge and knows nothing of sessions.
type processes struct {
	natsPort int
	nats     *program
	bridges  [3]*program
	admins   [3]string
	backend  *grpc.ClientConn
	relay    *httptest.Server
	turn     atomic.Uint64
	dead     [3]atomic.Bool
}

func startProcesses(t *testing.T, exe string) *processes {
	t.Helper()
	if _, err := exec.LookPath("nats-server"); err != nil {
		t.Skip("no nats-server")
	}
	backend := startBackend(t, "127.0.0.1:0")
	p := &processes{natsPort: freePort(t, "127.0.0.1")}
	var err error
	if p.backend, err = grpc.NewClient(backend.addr, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, p.backend.Close()) })
	p.startNATS(t)
	var proxies [3]*httputil.ReverseProxy
	for i := range p.bridges {
		p.admins[i] = fmt.Sprintf("127.0.0.1:%d", freePort(t, "127.0.0.1"))
		p.bridges[i] = launch(t, nil, exe, "serve", "--listen", "127.0.0.1:0", "--backend", backend.addr, "--admin", p.admins[i],
			"--cluster", fmt.Sprintf("nats://127.0.0.1:%d", p.natsPort), "--log-level", "error")
		at, err := url.Parse(strings.TrimPrefix(p.bridges[i].line(t), "listening on "))
		if err != nil {
			t.Fatal(err)
		}
		proxies[i] = httputil.NewSingleHostReverseProxy(at)
		proxies[i].ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	}
	p.relay = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := p.turn.Add(1) % 3
		for p.dead[n].Load() {
			n = (n + 1) % 3
		}
		proxies[n].ServeHTTP(w, r)
	}))
	t.Cleanup(p.relay.Close)
	for i := range p.bridges {
		p.await(t, i, "2 other bridges")
	}
	return p
}

func (p *processes) startNATS(t *testing.T) {
	t.Helper()
	p.nats = launch(t, nil, "nats-server", "-a", "127.0.0.1", "-p", fmt.Sprint(p.natsPort), "-l", filepath.Join(t.TempDir(), "nats.log"))
}

// await waits until a bridge's /readyz has some text.
func (p *processes) await(t *testing.T, bridge int, want string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		text := p.ask(t, bridge, "/readyz")
		if strings.Contains(text, want) {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("/readyz of bridge %d says %q, want %q", bridge, text, want)
		}
	}
}

func (p *processes) ask(t *testing.T, bridge int, path string) string {
	t.Helper()
	r, err := http.Get("http://" + p.admins[bridge] + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// killOwner kills the bridge that has sessions, of which there is one.
func (p *processes) killOwner(t *testing.T) {
	t.Helper()
	for i := range p.bridges {
		if !p.dead[i].Load() && strings.Contains(p.ask(t, i, "/metrics"), "pollbridge_sessions 1\n") {
			p.dead[i].Store(true)
			p.bridges[i].stop()
			return
		}
	}
	t.Fatal("no bridge has a session")
}

// restartNATS kills NATS while f runs, and starts it again.
func (p *processes) restartNATS(t *testing.T, f func()) {
	t.Helper()
	var running sync.WaitGroup
	running.Go(f)
	p.nats.stop()
	for i := range p.bridges {
		if !p.dead[i].Load() {
			p.await(t, i, "no connection to NATS")
		}
	}
	p.startNATS(t)
	running.Wait()
}

// clusterChat sends n messages and checks their echoes. It calls between, if not nil,
// half way.
func clusterChat(ctx context.Context, cc grpc.ClientConnInterface, n uint64, between func()) error {
	stream, err := echopb.NewEchoClient(cc).Bidi(ctx)
	for i := uint64(1); err == nil && i <= n; i++ {
		if i == n/2 && between != nil {
			between()
		}
		if err = stream.Send(testsvc.Request(i, 2000)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var reply *echopb.Reply
		if reply, err = stream.Recv(); err == nil {
			err = testsvc.Check(reply, i, 2000)
		}
	}
	if err == nil {
		err = stream.CloseSend()
	}
	return err
}

// TestClusterProcesses runs both clients over three bridges, whose NATS and whose
// session's bridge are killed.
func TestClusterProcesses(t *testing.T) {
	exe := filepath.Join(t.TempDir(), "bridge")
	if text, err := exec.Command("go", "build", "-o", exe, "../cmd/bridge").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	for name, transports := range map[string][]string{"longpoll": {"longpoll"}, "ws": {"ws"}} {
		t.Run("go/"+name, func(t *testing.T) {
			t.Parallel()
			p := startProcesses(t, exe)
			ch, err := client.New(p.relay.URL, client.Config{Transports: transports})
			if err != nil {
				t.Fatal(err)
			}
			defer ch.Close()
			for kind, call := range kinds {
				sc := scenario{size: 100_000, requests: 5, script: &echopb.Script{Replies: 5, ReplyBytes: 100_000}}
				if want, got := call(t.Context(), p.backend, sc).String(), call(t.Context(), ch, sc).String(); got != want {
					t.Errorf("%s: got\n%s\nwant\n%s", kind, got, want)
				}
			}
			p.restartNATS(t, func() {
				if err := clusterChat(t.Context(), ch, 20, p.relay.CloseClientConnections); err != nil {
					t.Errorf("a chat while NATS was killed: %v", err)
				}
			})
			for i := range p.bridges {
				p.await(t, i, "2 other bridges")
			}
			time.Sleep(10 * time.Second) // so long a bridge may come back later than others
			err = clusterChat(t.Context(), ch, 20, func() { p.killOwner(t) })
			if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "restarted") {
				t.Errorf("a chat whose bridge was killed: %v", err)
			}
			if err := clusterChat(t.Context(), ch, 20, nil); err != nil {
				t.Errorf("a chat after that: %v", err)
			}
		})
	}
	for _, transport := range []string{"longpoll", "ws"} {
		t.Run("node/"+transport, func(t *testing.T) {
			t.Parallel()
			inNode(t, exe, transport)
		})
	}
}

func inNode(t *testing.T, exe, transport string) {
	if err := exec.Command("node", "-e", `require("../jsclient/node_modules/ws")`).Run(); err != nil {
		t.Skip("no node, or npm ci did not run in jsclient")
	}
	p := startProcesses(t, exe)
	module, err := filepath.Abs("../jsclient/bundle/client.js")
	if err != nil {
		t.Fatal(err)
	}
	in, chats := io.Pipe()
	node := launch(t, in, "node", "cluster/client.mjs", module, p.relay.URL+"/bridge", transport)
	defer chats.Close()
	chat := func() string {
		if _, err := chats.Write(p.chatOf(t, 20)); err != nil {
			t.Error(err)
		}
		return node.line(t)
	}
	if got := chat(); got != "ok" {
		t.Error(got)
	}
	p.restartNATS(t, func() {
		if got := chat(); got != "ok" {
			t.Errorf("a chat while NATS was killed: %s", got)
		}
	})
	for i := range p.bridges {
		p.await(t, i, "2 other bridges")
	}
	time.Sleep(10 * time.Second)
	p.killOwner(t)
	got := chat()
	if got != "ok" && !strings.Contains(got, "restarted") {
		t.Errorf("a chat after the session's bridge was killed: %s", got)
	}
	if got := chat(); got != "ok" {
		t.Errorf("the chat after that: %s", got)
	}
}

// chatOf is a chat as the client in Node takes it, with what the backend says to it.
func (p *processes) chatOf(t *testing.T, n uint64) []byte {
	t.Helper()
	stream, err := echopb.NewEchoClient(p.backend).Bidi(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var requests, replies []string
	for i := range n {
		request := testsvc.Request(i+1, 2000)
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		reply, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for message, list := range map[proto.Message]*[]string{request: &requests, reply: &replies} {
			raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
			if err != nil {
				t.Fatal(err)
			}
			*list = append(*list, hex.EncodeToString(raw))
		}
	}
	check(t, stream.CloseSend())
	text, err := json.Marshal(map[string]any{"method": echopb.Echo_Bidi_FullMethodName, "requests": requests, "replies": replies})
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}
