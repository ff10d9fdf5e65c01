package backend_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/internal/backend"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// line is the line that has all of the words; empty: there is none.
func (j *journal) line(words ...string) string {
	j.mu.Lock()
	defer j.mu.Unlock()
lines:
	for line := range strings.SplitSeq(j.text.String(), "\n") {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		return line
	}
	return ""
}

// shows checks an error that a client sees: the kind, an ID that the log has
// beside the address, and no address.
func shows(t *testing.T, err error, kind, addr string, log *journal) {
	t.Helper()
	message := status.Convert(err).Message()
	if status.Code(err) != codes.Unavailable || !strings.Contains(message, kind) {
		t.Errorf("got %v, want UNAVAILABLE with %q", err, kind)
	}
	id := regexp.MustCompile(`\(id ([0-9a-f]{8})\)$`).FindStringSubmatch(message)
	if id == nil {
		t.Fatalf("%q ends with no ID", message)
	}
	_, port, _ := net.SplitHostPort(addr)
	for _, internal := range []string{addr, "127.0.0.1", port} {
		if strings.Contains(message, internal) {
			t.Errorf("%q has %q in it", message, internal)
		}
	}
	if log.line("id="+id[1], addr) == "" {
		t.Errorf("no line of the log has ID and address:\n%s", &log.text)
	}
}

// TestFailure_notReached: of a backend that cannot be reached a client learns the
// kind of failure and no address.
func TestFailure_notReached(t *testing.T) {
	srv := listen(t, "")
	srv.Stop()
	var log journal
	p := newPool(t, backend.Config{Name: srv.Addr, Target: srv.Addr, ReadyTimeout: time.Millisecond, Logger: log.logger()})
	p.WaitFailed()
	for range 3 {
		_, err := p.Start(t.Context(), echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{})
		shows(t, err, "backend not ready within 1ms: channel is TRANSIENT_FAILURE: connection refused", srv.Addr, &log)
		_, err = p.Invoke(t.Context(), echopb.Echo_Unary_FullMethodName, nil, backend.CallOptions{}, nil)
		shows(t, err, "connection refused", srv.Addr, &log)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := p.Start(ctx, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{WaitForReady: true})
	if got := status.Convert(err).Message(); got != context.DeadlineExceeded.Error() {
		t.Errorf("got %q", got)
	}
}

// fragile dials connections of which every read fails, once lost is closed, as it
// does after a reset.
func fragile(lost <-chan struct{}) grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			context.AfterFunc(closed(lost), func() { conn.Close() })
		}
		return fragileConn{conn, lost}, err
	})
}

type fragileConn struct {
	net.Conn
	lost <-chan struct{}
}

func (c fragileConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.lost:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	default:
		return n, err
	}
}

// closed is a context that ends with a channel.
func closed(c <-chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-c
		cancel()
	}()
	return ctx
}

// TestFailure_lost: of a connection that is lost in the middle of an RPC a client
// learns no address, through a pool's own channel or one of the application's.
func TestFailure_lost(t *testing.T) {
	for _, name := range []string{"own", "of the application"} {
		t.Run(name, func(t *testing.T) {
			addr := listen(t, "").Addr
			var log journal
			lost := make(chan struct{})
			cfg := backend.Config{Target: addr, Logger: log.logger(), DialOptions: []grpc.DialOption{fragile(lost)}}
			if name != "own" {
				cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()), fragile(lost))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { cc.Close() })
				cfg.Target, cfg.ClientConn = "", cc
			}
			p := newPool(t, cfg)
			c := start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{})
			send(t, c, testsvc.Request(1, 1))
			recv(t, c)
			close(lost)
			_, err := c.Recv()
			shows(t, err, "lost the backend: connection reset", addr, &log)
		})
	}
}

// TestFailure_backendsWords: what a backend itself says reaches the client as it
// is, whatever it looks like.
func TestFailure_backendsWords(t *testing.T) {
	srv := listen(t, "")
	const words = "read tcp 192.0.2.1:1->192.0.2.2:2: read: connection reset by peer"
	p := newPool(t, backend.Config{Target: srv.Addr})
	c := start(t, p, echopb.Echo_Bidi_FullMethodName, nil, backend.CallOptions{})
	send(t, c, &echopb.Request{Number: 1, Script: &echopb.Script{Status: uint32(codes.Unavailable), Message: words}})
	if err := c.CloseSend(); err != nil {
		t.Fatal(err)
	}
	err := error(nil)
	for err == nil {
		_, err = c.Recv()
	}
	if err == io.EOF || status.Convert(err).Message() != words {
		t.Errorf("got %v", err)
	}
}

// TestKindOf: every kind is told by texts that Go and gRPC really have.
func TestKindOf(t *testing.T) {
	for text, want := range map[string]string{
		"dial tcp: lookup db.internal on 10.0.0.2:53: no such host":                                                   "name not resolved",
		"name resolver error: produced zero addresses":                                                                "name not resolved",
		"dial tcp 10.0.0.1:80: connect: connection refused":                                                           "connection refused",
		"read tcp 10.0.0.1:80->10.0.0.2:81: read: connection reset by peer":                                           "connection reset",
		"write tcp 10.0.0.1:80->10.0.0.2:81: write: broken pipe":                                                      "connection reset",
		"dial tcp 10.0.0.1:80: connect: no route to host":                                                             "no route to host",
		"dial unix /run/db.sock: connect: no such file or directory":                                                  "no such socket",
		"tls: failed to verify certificate: x509: certificate signed by unknown authority":                            "certificate of an unknown authority",
		"tls: failed to verify certificate: x509: certificate is valid for db.internal, not db":                       "certificate for another name",
		"tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026":     "certificate expired",
		"remote error: tls: certificate required":                                                                     "client certificate required",
		"tls: first record does not look like a TLS handshake":                                                        "TLS handshake failed",
		"dial tcp 10.0.0.1:80: i/o timeout":                                                                           "timed out",
		"error reading from server: EOF":                                                                              "connection closed",
		"connection error: desc = \"keepalive ping failed to receive ACK within timeout\", read tcp 10.0.0.1:1->…: x": "no answer to keepalive pings",
		"something new": "connection failed",
	} {
		if got := backend.KindOf(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
