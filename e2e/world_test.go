package e2e_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

var (
	full = flag.Bool("full", false, "run the long tests, and all rows of long tables rather than one in five")
	seed = flag.Int("seed", 1, "which rows of long tables run without -full")
)

// sampled reports whether the i-th row of a long table runs.
func sampled(i int) bool { return *full || (i+*seed)%5 == 0 }

// long skips a test that only a full run has.
func long(t *testing.T) {
	t.Helper()
	if !*full {
		t.Skip("long: -full runs it")
	}
}

// transports are the choices that every scenario runs with.
var transports = map[string][]string{
	"longpoll": {"longpoll"},
	"ws":       {"ws"},
	"ladder":   nil,
}

// world is a test service, reached directly and through a bridge. All of it is
// in memory, so that it can live in a bubble.
type world struct {
	Service *testsvc.Server
	Direct  *grpc.ClientConn
	Bridged *client.Channel
	Bridge  *bridge.Server

	front transporttest.Network
	mu    sync.Mutex
	conns map[net.Conn]bool
	down  bool // the test has shut the bridge down

	away atomic.Bool                   // no connection can be made
	next atomic.Pointer[bridge.Server] // once set, serves in place of Bridge
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if next := w.next.Load(); next != nil {
		next.ServeHTTP(rw, r)
		return
	}
	w.Bridge.ServeHTTP(rw, r)
}

// dial makes a TCP connection to the bridge, so to speak.
func (w *world) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if w.away.Load() {
		return nil, errors.New("network gone")
	}
	conn, err := w.front.Dial(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[conn] = true
	return conn, nil
}

// Cut closes every connection between client and bridge, and returns how many.
func (w *world) Cut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.conns)
	for conn := range w.conns {
		conn.Close()
	}
	clear(w.conns)
	return n
}

// Client makes another client of the bridge.
func (w *world) Client(t *testing.T, cfg client.Config) *client.Channel {
	t.Helper()
	cfg.Dial = w.dial
	cfg.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	ch, err := client.New("http://bridge.test", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, ch.Close()) })
	return ch
}

func newWorld(t *testing.T, choice []string, cfg bridge.Config, opts ...grpc.ServerOption) *world {
	t.Helper()
	w := &world{Service: testsvc.New(opts...), front: transporttest.Pipes(t), conns: map[net.Conn]bool{}}
	backend := bufconn.Listen(256 << 10)
	w.Service.Serve(backend)
	dial := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return backend.DialContext(ctx) })

	var err error
	w.Direct, err = grpc.NewClient("passthrough:///backend", dial, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Backends = append(cfg.Backends, bridge.Backend{Target: "passthrough:///backend", DialOptions: []grpc.DialOption{dial, experimental.WithBufferPool(poison{})}})
	w.Bridge, err = bridge.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: w}
	served := make(chan error, 1)
	go func() { served <- server.Serve(w.front.Listener) }()
	t.Cleanup(func() {
		check(t, w.Direct.Close())
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.Bridge.Shutdown(ctx); !w.down {
			check(t, err)
		}
		check(t, server.Close())
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		w.Service.Stop()
	})
	w.Bridged = w.Client(t, client.Config{Transports: choice})
	return w
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// transcript is all that a caller sees of an RPC, in a form that prints.
type transcript struct {
	Header   metadata.MD
	Messages []string
	Trailer  metadata.MD
	Status   string
}

func (tr *transcript) String() string {
	// metadata.MD prints itself with its values left out.
	return fmt.Sprintf("header  %q\n%s\ntrailer %q\nstatus  %s", map[string][]string(tr.Header), strings.Join(tr.Messages, "\n"), map[string][]string(tr.Trailer), tr.Status)
}

func (tr *transcript) end(err error) {
	if errors.Is(err, io.EOF) {
		err = nil
	}
	tr.Status = prototext.MarshalOptions{}.Format(status.Convert(err).Proto())
}

func (tr *transcript) message(m *echopb.Reply) {
	m.Metadata = slices.DeleteFunc(m.GetMetadata(), func(p *echopb.Pair) bool {
		return slices.Contains([]string{":authority", "user-agent", "x-user-agent"}, p.GetKey()) // each channel's own
	})
	tr.Messages = append(tr.Messages, fmt.Sprintf("%d %x of %d: %d %d %v", m.GetNumber(), sha256.Sum256(m.GetPayload()), len(m.GetPayload()), m.GetRequests(), m.GetRequestBytes(), m.GetMetadata()))
}

// receive writes a stream of replies down, or the error that it began with.
func receive(stream replies, err error) *transcript {
	if err != nil {
		return failed(err)
	}
	tr := &transcript{}
	for {
		m, err := stream.Recv()
		if err != nil {
			tr.finish(stream, err)
			return tr
		}
		tr.message(m)
	}
}

func failed(err error) *transcript {
	tr := &transcript{}
	tr.end(err)
	return tr
}

// poison is a mem.BufferPool that spoils what is put back into it: a message
// that the bridge lets go of too early arrives spoilt.
type poison struct{}

func (poison) Get(n int) *[]byte {
	b := make([]byte, n)
	return &b
}

func (poison) Put(b *[]byte) {
	for i := range *b {
		(*b)[i] = 0xee
	}
}
