package e2e_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/auth/oidctest"
)

// The soak: real processes, for hours. Three bridges with TLS and tokens, joined by
// NATS, stand behind a relay that knows nothing of sessions and cuts each connection
// after a while. Clients come, make RPCs of all four kinds over either transport, and
// go, some without a word. Meanwhile two of the bridges are restarted in turn, the
// certificate and the issuer's keys are replaced, and tokens expire. The third bridge
// runs from beginning to end: it is the one that would show a leak.

var (
	soakFor     = flag.Duration("soak", 0, "how long TestSoak runs; 0: not at all")
	soakBridge  = flag.String("soak.bridge", "", "the program of the bridge, if it is built")
	soakClients = flag.Int("soak.clients", 48, "how many clients TestSoak has at once")
)

const (
	soakBridges = 3
	tokenLife   = 30 * time.Second
)

// soak is what TestSoak runs, and its count.
type soak struct {
	began   time.Time
	beat    time.Duration // between two of the things that happen to bridges
	resume  time.Duration // how long a session without a connection is kept
	leaving chan struct{} // closed when clients are to go

	bridges []*bridgeProcess
	hosts   []string // of bridges, with port
	away    [soakBridges]atomic.Bool
	turn    atomic.Uint64
	relay   *cutter
	node    *program // the JavaScript client; nil: there is no Node

	ca     *authority
	issuer *oidctest.Issuer
	mu     sync.Mutex
	key    oidctest.Key // signs tokens
	next   oidctest.Key // published, and signs later

	counts
}

// TestSoak runs everything for as long as -soak says, and reports each minute.
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("takes hours: -soak says how many")
	}
	s := startSoak(t)
	w := newWatch(s)
	idle := w.look()
	w.print(idle)
	var playing, watching sync.WaitGroup
	for i := range *soakClients {
		playing.Go(func() { s.play(i) })
	}
	s.startNode(t, &playing)
	watched := make(chan struct{})
	watching.Go(func() { w.run(watched) })
	s.trouble(t)
	close(s.leaving)
	playing.Wait()
	close(watched)
	watching.Wait()
	s.relay.over.Store(true)
	s.verdict(t)
	w.checkGrowth(t)
	w.awaitIdle(t, idle)
	s.say("total %s cuts=%d", s.counts.String(), s.relay.cuts.Load())
	if !t.Failed() {
		s.say("%d messages in %d RPCs, %d connections cut, %d restarts: none lost, repeated, reordered or altered",
			s.messages.Load(), s.rpcs.Load(), s.relay.cuts.Load(), s.restarts.Load())
	}
}

func startSoak(t *testing.T) *soak {
	s := &soak{
		beat:    min(*soakFor/6, 150*time.Second),
		resume:  min(time.Minute, max(20*time.Second, *soakFor/2)),
		leaving: make(chan struct{}),
		ca:      newAuthority(t),
		issuer:  oidctest.New(t),
	}
	s.key, s.next = s.issuer.Key(), s.issuer.Add("ES256")
	exe := *soakBridge
	if exe == "" {
		exe = compileBridge(t)
	}
	nats, backend := startNATS(t), startBackend(t, "127.0.0.1:0")
	for i := range soakBridges {
		host := fmt.Sprintf("127.0.0.%d", 31+i)
		at := net.JoinHostPort(host, fmt.Sprint(freePort(t, host)))
		admin := net.JoinHostPort(host, fmt.Sprint(freePort(t, host)))
		b := &bridgeProcess{exe: exe, admin: "http://" + admin, flags: []string{
			"serve", "--listen", at, "--admin", admin, "--admin-pprof", "--backend", backend.addr, "--cluster", nats,
			"--tls-cert", s.ca.cert, "--tls-key", s.ca.key, "--allow-host", "localhost",
			"--jwt-jwks", s.issuer.URL + "/.well-known/openid-configuration", "--jwt-issuer", s.issuer.URL, "--jwt-audience", oidctest.Audience, "--jwt-cache-duration", "30s",
			"--resume-window", s.resume.String(), "--drain-timeout", "5m", "--log-level", "error",
		}}
		b.start(t)
		s.bridges, s.hosts = append(s.bridges, b), append(s.hosts, at)
	}
	for _, b := range s.bridges {
		b.awaitPeers(t)
	}
	s.relay = newCutter(t, s.dial, time.Second, time.Minute)
	s.began = time.Now()
	return s
}

// awaitPeers waits until the bridge knows the others.
func (b *bridgeProcess) awaitPeers(t *testing.T) {
	t.Helper()
	others := fmt.Sprintf("%d other bridges", soakBridges-1)
	b.await(t, "/readyz", func(_ int, body string) bool { return strings.Contains(body, others) })
}

// dial connects the relay to the next bridge that is not away, as a balancer does.
func (s *soak) dial() (net.Conn, error) {
	first := int(s.turn.Add(1) % soakBridges)
	for i := range soakBridges {
		at := (first + i) % soakBridges
		if s.away[at].Load() {
			continue
		}
		if conn, err := net.Dial("tcp", s.hosts[at]); err == nil {
			return conn, nil
		}
	}
	return nil, fmt.Errorf("no bridge takes connections")
}

// trouble has one thing after another happen, each once at least, until the time is over.
func (s *soak) trouble(t *testing.T) {
	happens := []func(*testing.T){s.restart(0), s.replaceCertificate, s.replaceKey, s.restart(1)}
	for i := 0; i < len(happens) || time.Since(s.began)+s.beat < *soakFor; i++ {
		time.Sleep(s.beat)
		happens[i%len(happens)](t)
	}
	time.Sleep(*soakFor - time.Since(s.began))
}

// restart returns what drains and restarts a bridge, whom the balancer leaves alone
// meanwhile.
func (s *soak) restart(i int) func(*testing.T) {
	return func(t *testing.T) {
		began := time.Now()
		s.away[i].Store(true)
		s.bridges[i].restart(t)
		s.bridges[i].awaitPeers(t)
		s.away[i].Store(false)
		s.restarts.Add(1)
		s.say("bridge%d drained and restarted in %v", i+1, time.Since(began).Round(time.Millisecond))
	}
}

// replaceCertificate waits until each bridge presents the new one.
func (s *soak) replaceCertificate(t *testing.T) {
	serial := s.ca.renew(t)
	for i, at := range s.hosts {
		for s.ca.presented(t, at) != serial {
			select {
			case <-t.Context().Done():
				t.Fatalf("bridge%d presents an old certificate", i+1)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	s.certificates.Add(1)
	s.say("certificate %d presented by all", serial)
}

// replaceKey signs tokens with the key that was published some time ago, and publishes
// the next one.
func (s *soak) replaceKey(*testing.T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.next = s.next, s.issuer.Add("ES256")
	s.keys.Add(1)
	s.say("tokens signed with %s", s.key.ID)
}

// token is one of a client's, of a short life.
func (s *soak) token(subject string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issuer.Sign(s.issuer.Claims(subject, tokenLife), s.key)
}

// left reports whether clients are to go.
func (s *soak) left() bool {
	select {
	case <-s.leaving:
		return true
	default:
		return false
	}
}

// pause waits for a random time around d, or until clients are to go.
func (s *soak) pause(d time.Duration) {
	select {
	case <-s.leaving:
	case <-time.After(d/2 + rand.N(d)):
	}
}

// say prints a line with the time since the beginning.
func (s *soak) say(format string, args ...any) {
	fmt.Printf("%-8v %s\n", time.Since(s.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// verdict fails the test for anything that was lost, and if the soak did not do its work.
func (s *soak) verdict(t *testing.T) {
	t.Helper()
	for name, count := range map[string]*atomic.Int64{
		"messages lost": &s.lost, "messages repeated": &s.repeated, "messages reordered": &s.reordered, "messages altered": &s.altered,
		"RPCs failed": &s.failed,
	} {
		if n := count.Load(); n != 0 {
			t.Errorf("%d %s", n, name)
		}
	}
	if s.messages.Load() == 0 || s.restarts.Load() == 0 || s.certificates.Load() == 0 || s.keys.Load() == 0 {
		t.Error("not everything happened that a soak has")
	}
	if s.expired.Load() == 0 && *soakFor > 2*tokenLife {
		t.Error("no token expired")
	}
}
