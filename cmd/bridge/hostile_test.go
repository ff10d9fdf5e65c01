package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
	"github.com/pollbridge/pollbridge/internal/wire"
)

var hostile = flag.Bool("hostile", false, "attack the bridge at full size")

// from returns a client of an address of its own.
func from(t *testing.T, url, address, transport string) *client.Channel {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return dial(t, url, client.Config{Transports: []string{transport}, Dial: dialer.DialContext})
}

// measured returns the value of a metric without labels.
func measured(t *testing.T, admin, name string) int {
	t.Helper()
	_, body := get(t, http.DefaultClient, admin+"/metrics")
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("no metric %s", name)
	}
	value, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return int(value)
}

// resident is the memory of a process that is in RAM, in KiB.
func resident(t *testing.T, p *process) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("only Linux tells")
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.Atoi(kib)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestHostile_openRPCs: an address that opens idle RPCs over many sessions gets so
// many, each counts in the budget, and others are served.
func TestHostile_openRPCs(t *testing.T) {
	sessions, each, limit := 4, 200, 300
	if *hostile {
		sessions, each, limit = 25, 4000, 8000
	}
	const rpcCost = 58 << 10
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			p := start(t, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json",
				"--backend", echoServer(t), "--max-rpcs-per-client", strconv.Itoa(limit))
			admin := adminURL(t, p)
			awaitReady(t, admin, http.StatusOK)
			before := resident(t, p)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var refused, failed sync.Map
			var opening sync.WaitGroup
			for i := range sessions {
				echo := echopb.NewEchoClient(from(t, p.url, "127.0.0.2", transport))
				for j := range each {
					stream, err := echo.Bidi(ctx)
					if err != nil {
						t.Fatal(err)
					}
					opening.Go(func() {
						if err := stream.Send(&echopb.Request{Number: 1}); err == nil || errors.Is(err, io.EOF) {
							_, err = stream.Recv()
							if s := status.Convert(err); s.Code() == codes.ResourceExhausted {
								refused.Store([2]int{i, j}, s.Message())
							} else if err != nil {
								failed.Store([2]int{i, j}, err)
							}
						}
					})
				}
			}
			opening.Wait()
			failed.Range(func(_, err any) bool { t.Error(err); return false })
			count := 0
			refused.Range(func(_, message any) bool {
				count++
				if want := fmt.Sprintf("this principal has %d RPCs open, its limit", limit); message != want {
					t.Errorf("refused with %q, want %q", message, want)
				}
				return true
			})
			if want := sessions*each - limit; count != want {
				t.Errorf("%d RPCs were refused, want %d", count, want)
			}
			if got := measured(t, admin, "pollbridge_buffered_bytes"); got < limit*rpcCost || got > limit*(rpcCost+1<<10) {
				t.Errorf("%d bytes are buffered with %d RPCs open", got, limit)
			}
			other := echopb.NewEchoClient(from(t, p.url, "127.0.0.3", transport))
			if _, err := other.Unary(t.Context(), &echopb.Request{Number: 1}); err != nil {
				t.Errorf("another client's RPC: %v", err)
			}
			t.Logf("%d of %d RPCs are open: %d KiB more resident, %d KiB counted", limit, sessions*each,
				resident(t, p)-before, measured(t, admin, "pollbridge_buffered_bytes")>>10)
		})
	}
}

// TestHostile_sessions: ten addresses that fill the session table with sessions
// without an RPC keep nobody out, and those sessions are gone in half a minute.
func TestHostile_sessions(t *testing.T) {
	limit := 200
	if *hostile {
		limit = 20_000
	}
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json",
		"--backend", echoServer(t), "--max-sessions", strconv.Itoa(limit))
	admin := adminURL(t, p)
	awaitReady(t, admin, http.StatusOK)
	var clients sync.WaitGroup
	for i := range 10 {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))}}
		web := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
		clients.Go(func() {
			defer web.CloseIdleConnections()
			for range limit/10 + 10 {
				hello(t, web, p.url)
			}
		})
	}
	clients.Wait()
	if got := measured(t, admin, "pollbridge_sessions"); got != limit {
		t.Fatalf("%d sessions, want the table full with %d", got, limit)
	}
	for i, transport := range transports {
		other := echopb.NewEchoClient(from(t, p.url, fmt.Sprintf("127.0.2.%d", i+1), transport))
		if _, err := other.Unary(t.Context(), &echopb.Request{Number: 1}, grpc.WaitForReady(true)); err != nil {
			t.Errorf("an RPC by %s: %v", transport, err)
		}
	}
	if !*hostile {
		return // the rule's own test has the half minute in virtual time
	}
	time.Sleep(35 * time.Second)
	t.Logf("35 s later %d sessions are left of %d", measured(t, admin, "pollbridge_sessions"), limit)
}

// hello opens a session and says nothing else. That it is refused is no error.
func hello(t *testing.T, web *http.Client, url string) {
	b := &wire.Batch{
		Session: make([]byte, wire.IDSize), Key: make([]byte, wire.KeySize), X: 1, NowMicros: 1, Awaiting: 1, PauseMillis: 1_800_000,
		Hello: &wire.Hello{Release: "test/1"}, Versions: &wire.Versions{Lowest: wire.LowestVersion, Highest: wire.HighestVersion},
	}
	_, _ = rand.Read(b.Session)
	body := bytes.NewReader(wire.AppendBatch(nil, b))
	resp, err := web.Post(url+"/bridge/v1/"+wire.EncodeSession(b.Session)+"/poll", "application/octet-stream", body)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("status %d, %v", resp.StatusCode, err)
	}
}
