package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// peak is the most memory that a process ever had in RAM, in KiB.
func peak(t *testing.T, p *process) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("only Linux tells")
	}
	found := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(data)
	if found == nil {
		t.Skip("this kernel does not tell")
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// network is where a client dials. It can be cut.
type network struct {
	from net.Dialer

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	conn, err := n.from.DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		conn.Close()
		return nil, errors.New("the network is cut")
	}
	n.conns = append(n.conns, conn)
	return conn, nil
}

func (n *network) set(cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = cut
	for _, conn := range n.conns {
		conn.Close()
	}
	n.conns = nil
}

// flood attacks the budget with messages of backends.
type flood struct {
	streams, message int // how many, of how many bytes
	buffered         int // --max-buffered
}

// mostResident is what docs/OPERATIONS.md states of the memory that messages take,
// beside what an idle bridge does.
func (f flood) mostResident() int {
	const perRPC = 512 << 10
	return 4*f.buffered + leastGarbage + f.streams*perRPC
}

// TestHostile_longMessages: messages of backends that nobody reads take no more
// memory than is stated, whether their sessions were abandoned or one client has
// them all, and others are served.
func TestHostile_longMessages(t *testing.T) {
	f := flood{streams: 24, message: 3 << 20, buffered: 16 << 20}
	if *hostile {
		f = flood{streams: 60, message: 15 << 20, buffered: 64 << 20}
	}
	for _, transport := range transports {
		t.Run("abandoned/"+transport, func(t *testing.T) { f.run(t, transport, f.streams) })
		t.Run("unread/"+transport, func(t *testing.T) { f.run(t, transport, 1) })
	}
}

// run opens the streams over that many sessions. Those with one RPC are abandoned.
func (f flood) run(t *testing.T, transport string, sessions int) {
	svc, err := testsvc.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(svc.Stop)
	p := start(t, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json",
		"--backend", svc.Addr, "--max-buffered", strconv.Itoa(f.buffered))
	admin := adminURL(t, p)
	awaitReady(t, admin, http.StatusOK)
	before := peak(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	var closing sync.WaitGroup
	t.Cleanup(closing.Wait)
	for range sessions {
		own := &network{from: net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}}}
		channel, err := client.New(p.url, client.Config{Transports: []string{transport}, Dial: own.dial})
		if err != nil {
			t.Fatal(err)
		}
		echo := echopb.NewEchoClient(channel)
		t.Cleanup(func() {
			own.set(false)
			closing.Go(func() { channel.Close() })
		})
		var opened sync.WaitGroup
		for range f.streams / sessions {
			stream, err := echo.ServerStream(ctx, &echopb.Request{Script: &echopb.Script{
				Replies: 1000, ReplyBytes: uint32(f.message), HeadersFirst: true, DelayMs: 500,
			}})
			if err != nil {
				t.Fatal(err)
			}
			opened.Go(func() {
				if _, err := stream.Header(); err != nil {
					t.Error(err)
				}
			})
		}
		opened.Wait()
		own.set(sessions > 1)
	}
	p.err.await(t, "no room for a message of")
	if *hostile {
		time.Sleep(10 * time.Second)
	}
	other := echopb.NewEchoClient(from(t, p.url, "127.0.0.3", transport))
	want := testsvc.Payload(1, f.message/4)
	reply, err := other.Unary(t.Context(), &echopb.Request{Script: &echopb.Script{ReplyBytes: uint32(len(want))}})
	if err != nil || !bytes.Equal(reply.GetPayload(), want) {
		t.Errorf("another client's RPC: %d bytes, %v", len(reply.GetPayload()), err)
	}
	held, most := measured(t, admin, "pollbridge_buffered_bytes"), peak(t, p)
	if held > f.buffered {
		t.Errorf("%d bytes are buffered, limit %d", held, f.buffered)
	}
	if limit := before + f.mostResident()>>10; most > limit {
		t.Errorf("%d KiB were resident, at most %d may be", most, limit)
	}
	t.Logf("%d RPCs with messages of %d KiB: %d of %d KiB held, at most %d KiB resident, %d before; %d RPCs are open",
		f.streams, f.message>>10, held>>10, f.buffered>>10, most, before, svc.Counts().Active)
}
