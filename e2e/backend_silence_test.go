package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// inNetwork says that the test binary runs in a network of its own.
const inNetwork = "E2E_IN_NETWORK"

// TestOutage_silence: packets between bridge and backend vanish without a word.
// It runs once more in a network of its own, where that can be brought about.
func TestOutage_silence(t *testing.T) {
	t.Parallel()
	if os.Getenv(inNetwork) != "" {
		silence(t)
		return
	}
	unshare, err := ownNetwork()
	if err != nil {
		t.Skipf("LEFT OUT  packets that vanish: %v", err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const setUp = `ip link set lo up && nft add table inet t &&
		nft 'add chain inet t in { type filter hook input priority 0; }' && exec "$0" -test.run='^TestOutage_silence$' -test.parallel=20 -test.v`
	cmd := exec.CommandContext(t.Context(), unshare[0], append(unshare[1:], "sh", "-c", setUp, exe)...)
	cmd.Env = append(os.Environ(), inNetwork+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	check(t, err)
}

// ownNetwork is the command that runs another in a network of its own.
func ownNetwork() ([]string, error) {
	for _, name := range []string{"unshare", "ip", "nft"} {
		if _, err := exec.LookPath(name); err != nil {
			return nil, err
		}
	}
	for _, unshare := range [][]string{{"unshare", "-n"}, {"unshare", "-Urn"}} {
		if exec.Command(unshare[0], append(unshare[1:], "nft", "list", "ruleset")...).Run() == nil {
			return unshare, nil
		}
	}
	return nil, errors.New("no network namespace to be had")
}

// late is by how much a busy machine may be late.
const late = 30 * time.Second

// silence holds each profile to the time in which it is to notice. A backend
// that is only slow, whose packets arrive, is not given up.
func silence(t *testing.T) {
	for _, tt := range []struct {
		profile string
		writes  bool
		limit   time.Duration
	}{
		{"safe", false, 15 * time.Second},
		{"safe", true, 15 * time.Second},
		{"balanced", false, 15 * time.Second},
		{"fast", false, 13 * time.Second},
		{"fast", true, 13 * time.Second},
	} {
		t.Run(fmt.Sprintf("%s writes %t", tt.profile, tt.writes), func(t *testing.T) {
			t.Parallel()
			backend, stream := far(t, tt.profile, &echopb.Script{})
			var writing sync.WaitGroup
			defer writing.Wait()
			drop(t, backend.addr)
			began := time.Now()
			if tt.writes {
				writing.Go(func() {
					for stream.Send(testsvc.Request(2, 100)) == nil {
						time.Sleep(100 * time.Millisecond)
					}
				})
			}
			_, err := stream.Recv()
			took := time.Since(began)
			wantLost(t, err)
			if took > tt.limit+late {
				t.Errorf("found after %v, want %v", took, tt.limit)
			}
			t.Logf("found after %v: %v", took, err)
		})
	}
	for _, profile := range []string{"safe", "balanced", "fast"} {
		t.Run(profile+" slow", func(t *testing.T) {
			t.Parallel()
			_, stream := far(t, profile, &echopb.Script{DelayMs: 17_000})
			check(t, testsvc.Check(mustRecv(t, stream), 1, 1))
		})
	}
}

// settle is how long the last acks may take: a channel that waits for one is
// not quiet.
const settle = time.Second

type chatStream = grpc.BidiStreamingClient[echopb.Request, echopb.Reply]

// far is a backend that permits what the profile needs, and a stream to it
// through a bridge.
func far(t *testing.T, profile string, script *echopb.Script) (*process, chatStream) {
	t.Helper()
	p := startBackend(t, "127.0.0.1:0", fmt.Sprintf("-permit-pings=%t", profile != "safe"))
	_, ch := bridged(t, nil, bridge.Backend{Target: p.addr, Profile: profile})
	stream, err := echopb.NewEchoClient(ch).Bidi(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	req := testsvc.Request(1, 1)
	req.Script = script
	check(t, stream.Send(req))
	if script.GetDelayMs() == 0 {
		mustRecv(t, stream)
		time.Sleep(settle)
	}
	return p, stream
}

func mustRecv(t *testing.T, stream chatStream) *echopb.Reply {
	t.Helper()
	reply, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// drop loses every packet from and to the address.
func drop(t *testing.T, addr string) {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"dport", "sport"} {
		rule := strings.Fields("add rule inet t in tcp " + end + " " + port + " drop")
		if out, err := exec.Command("nft", rule...).CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
	}
}
