package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/transporttest"
)

// halfRead are answers that a reader can stop in the middle of: the two longest that
// anybody gets.
var halfRead = []string{"/bridge/client.js", "/bridge/check"}

// unreadFor is how long an answer may wait to be read: it has two pieces at most, and
// an answer that the kernel took ends with the time that a connection may be idle.
const unreadFor = 2*httpwrite.Timeout + idleTimeout

// readHalf asks for a path often enough to fill what lies between, reads the
// beginning of the first answer, and stops. It fails for another answer than 200.
func readHalf(conn net.Conn, path string, times int) error {
	go func() {
		_, _ = io.WriteString(conn, strings.Repeat("GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", times)) // until it is closed
	}()
	const ok = "HTTP/1.1 200 OK\r\n"
	line := make([]byte, len(ok))
	_, err := io.ReadFull(conn, line)
	if err == nil && string(line) != ok {
		err = fmt.Errorf("%s: %q", path, line)
	}
	return err
}

// TestHostile_readers: readers that stop in the middle of a script or a page lose
// their HTTP connections once these had their time, with goroutines and descriptors.
func TestHostile_readers(t *testing.T) {
	t.Run("in virtual time", func(t *testing.T) { synctest.Test(t, readersInMemory) })
	if *hostile {
		t.Run("a process", readersOfProcess)
	}
}

// readersInMemory has connections that hold no byte more than is read.
func readersInMemory(t *testing.T) {
	const readers = 200
	service := testsvc.New()
	b, err := bridge.New(bridge.Config{Check: true, Backends: []bridge.Backend{{GRPCServer: service.GRPC}}})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Stop()
	var open atomic.Int64
	server := newHTTP(serverConfig{handler: b, logger: slog.New(slog.DiscardHandler), hold: 25 * time.Second})
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	network := transporttest.Pipes(t)
	served := make(chan error, 1)
	go func() { served <- server.Serve(network.Listener) }()
	defer func() {
		server.Close()
		<-served
		if err := b.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	synctest.Wait()
	before := runtime.NumGoroutine()
	for i := range readers {
		conn, err := network.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := readHalf(conn, halfRead[i%len(halfRead)], 1); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	if n := open.Load(); n != readers {
		t.Errorf("%d connections are open to %d readers", n, readers)
	}
	time.Sleep(unreadFor)
	synctest.Wait()
	if n, more := open.Load(), runtime.NumGoroutine()-before; n != 0 || more > 0 {
		t.Errorf("%v after their requests %d connections of %d readers are open, with %d goroutines", unreadFor, n, readers, more)
	}
}

// readersOfProcess has 2,000 TCP connections, of which some ask for more than the
// kernel keeps.
func readersOfProcess(t *testing.T) {
	const readers, greedy = 2000, 20
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json", "--check", "--backend", echoServer(t))
	admin := adminURL(t, p)
	awaitReady(t, admin, http.StatusOK)
	descriptors := func() int {
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if err != nil {
			t.Skip("only Linux tells")
		}
		return len(all)
	}
	goroutines := func() int { return measured(t, admin, "go_goroutines") }
	fds, routines := descriptors(), goroutines()
	address := strings.TrimPrefix(p.url, "http://")
	for i := range readers {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		times := 1
		if i < greedy {
			times = 200
		}
		if err := readHalf(conn, halfRead[i%len(halfRead)], times); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d readers: %d descriptors more, %d goroutines more", readers, descriptors()-fds, goroutines()-routines)
	if n := descriptors() - fds; n < readers {
		t.Errorf("%d descriptors for %d readers", n, readers)
	}
	began := time.Now()
	for descriptors()-fds > 2 || goroutines()-routines > 10 { // the probe's own connections
		select {
		case <-time.After(time.Second):
		case <-t.Context().Done():
			t.Fatalf("%d descriptors and %d goroutines are left", descriptors()-fds, goroutines()-routines)
		}
	}
	t.Logf("%v later: %d descriptors more, %d goroutines more", time.Since(began).Round(time.Second), descriptors()-fds, goroutines()-routines)
}
