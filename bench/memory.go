package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pollbridge/pollbridge/bench/light"
)

// settle is how long a crowd is left alone before its memory is measured.
const settle = 2 * time.Second

// together calls f for 0 to n-1, some at a time.
func together(n int, f func(i int) error) error {
	const atATime = 64
	var next atomic.Int64
	errs := make([]error, atATime)
	var wg sync.WaitGroup
	for w := range atATime {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[w] = f(i); errs[w] != nil {
					next.Store(int64(n)) // the others stop too
				}
			}
		})
	}
	wg.Wait()
	return cmp.Or(errs...)
}

// head is what each of a crowd adds to a process: KiB of memory, resident and
// by Go's account, and goroutines.
type head struct{ rss, heap, stacks, goroutines float64 }

var unmeasured = head{none, none, none, none}

// perHead measures what each of n of a kind adds to a process.
func (c config) perHead(p *process, name string, n int, open func(i int) error) (head, error) {
	before, err := p.collected()
	if err != nil {
		return unmeasured, err
	}
	if err := together(n, open); err != nil {
		return unmeasured, err
	}
	time.Sleep(settle)
	after, err := p.collected()
	if err != nil {
		return unmeasured, err
	}
	kib := func(before, after int) float64 { return float64(after-before) / float64(n) / 1024 }
	return head{
		rss: kib(before.RSS, after.RSS), heap: kib(before.Heap, after.Heap), stacks: kib(before.Stacks, after.Stacks),
		goroutines: float64(after.Goroutines-before.Goroutines) / float64(n),
	}, c.profileMemory(p, name)
}

// member is one of a crowd: how it is kept alive, in a goroutine, and closed.
type member struct {
	keep  func() error // nil: it needs nothing
	close func() error
}

// members are closed together, after their server is.
type members struct {
	mu  sync.Mutex
	all []member
}

func (c *members) add(m member) {
	if m.keep != nil {
		go func() { _ = m.keep() }() // until its server ends
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, m)
}

func (c *members) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.all {
		_ = m.close() // measured already
	}
}

// memory measures one kind of crowd on a bridge of its own.
func memory(ctx context.Context, cfg config, name string, secure bool, open func(ctx context.Context, addr string) (member, error)) (_ head, err error) {
	var crowd members
	defer crowd.close()
	l := &lab{}
	defer l.close()
	if l.backend, err = l.role(ctx, nil, "backend", "-"); err != nil {
		return unmeasured, err
	}
	args := []string{l.backend.addr}
	if secure {
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			return unmeasured, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		files, err := certificate(dir)
		if err != nil {
			return unmeasured, err
		}
		args = append(args, files...)
	}
	if l.bridge, err = l.role(ctx, nil, "bridge", args...); err != nil {
		return unmeasured, err
	}
	return cfg.perHead(l.bridge, name, cfg.crowd, func(int) error {
		m, err := open(ctx, l.bridge.addr)
		if err == nil {
			crowd.add(m)
		}
		return err
	})
}

// measureMemory fills rows 10 to 12.
func measureMemory(ctx context.Context, cfg config) (*found, error) {
	var errs []error
	figure := func(name string, secure bool, open func(ctx context.Context, addr string) (member, error)) head {
		h, err := memory(ctx, cfg, name, secure, open)
		errs = append(errs, err)
		return h
	}
	socket := figure("socket", false, openIdleSocket)
	parked := figure("parked", false, func(ctx context.Context, addr string) (member, error) { return openParked(ctx, addr, false) })
	secure := figure("parked-tls", true, func(ctx context.Context, addr string) (member, error) { return openParked(ctx, addr, true) })
	idle := figure("idle", false, openIdlePoll)
	ioWS, ioPolling, err := socketIOMemory(ctx, cfg)
	errs = append(errs, err)
	return &found{claims: slices.Concat(
		[]claim{atMost(10, "RSS each", socket.rss, " KiB", 16, 12)}, socket.parts(10),
		[]claim{
			atMost(10, "÷ Socket.IO's WebSocket", socket.rss/ioWS, " ×", 1, none),
			seen(10, "Socket.IO's WebSocket", ioWS, " KiB"),
			atMost(11, "RSS each ÷ Socket.IO's polling", parked.rss/ioPolling, " ×", 1, none),
			atMost(11, "RSS each, plaintext", parked.rss, " KiB", none, 6),
		}, parked.parts(11),
		[]claim{atMost(11, "RSS each, TLS", secure.rss, " KiB", 30, none)}, secure.parts(11),
		[]claim{
			seen(11, "Socket.IO's polling", ioPolling, " KiB"),
			atMost(12, "RSS each", idle.rss, " KiB", 4, 2),
			atMost(12, "goroutines each", idle.goroutines, "", 0.01, none),
		}, idle.parts(12),
	)}, errors.Join(errs...)
}

// parts says what the resident memory of each of a crowd is made of.
func (h head) parts(row int) []claim {
	return []claim{
		seen(row, "of that heap", h.heap, " KiB"), seen(row, "of that stacks", h.stacks, " KiB"),
		seen(row, "goroutines", h.goroutines, ""),
	}
}

// openIdleSocket opens a session over a WebSocket that was used once.
func openIdleSocket(ctx context.Context, addr string) (member, error) {
	s, err := light.DialSocket(ctx, addr)
	if err != nil {
		return member{}, err
	}
	s.Prepare(unaryMethod, []byte("x"), light.Unary)
	return member{s.Serve, s.Close}, s.Run(time.Now(), 1, func(time.Duration) {})
}

// openParked opens a session with a quiet stream and parks a poll.
func openParked(ctx context.Context, addr string, secure bool) (member, error) {
	p, err := light.DialPoll(ctx, addr, secure)
	if err != nil {
		return member{}, err
	}
	p.Prepare(quietMethod, []byte("x"), light.ServerStream)
	return member{p.Idle, p.Close}, errors.Join(p.Start(), p.Park())
}

// openIdlePoll opens a session that was used once, and closes its socket.
func openIdlePoll(ctx context.Context, addr string) (member, error) {
	p, err := light.DialPoll(ctx, addr, false)
	if err != nil {
		return member{}, err
	}
	p.Prepare(unaryMethod, []byte("x"), light.Unary)
	err = p.Call()
	return member{close: func() error { return nil }}, errors.Join(err, p.Close())
}

// socketIOMemory is what an idle client costs Socket.IO, in KiB.
func socketIOMemory(ctx context.Context, cfg config) (ws, polling float64, err error) {
	measure := func(open func(addr string) (member, error)) (float64, error) {
		var crowd members
		defer crowd.close()
		l := &lab{}
		defer l.close()
		l.backend = &process{}
		if err := l.addSocketIO(ctx, cfg); err != nil {
			return none, err
		}
		h, err := cfg.perHead(l.socketio, "", cfg.crowd/2, func(int) error {
			m, err := open(l.socketio.addr)
			if err == nil {
				crowd.add(m)
			}
			return err
		})
		return h.rss, err
	}
	if cfg.ownOnly {
		return none, none, nil
	}
	ws, err1 := measure(func(addr string) (member, error) {
		s, err := light.DialSocketIO(ctx, addr, 1)
		if err != nil {
			return member{}, err
		}
		return member{s.Idle, s.Close}, s.Call()
	})
	polling, err2 := measure(func(addr string) (member, error) {
		s, err := light.DialSocketIOPolling(ctx, addr, 1)
		if err != nil {
			return member{}, err
		}
		return member{close: s.Close}, errors.Join(s.Call(), s.Park(), s.ClosePost())
	})
	return ws, polling, errors.Join(err1, err2)
}

// certificate writes a self-signed certificate and its key.
func certificate(dir string) ([]string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	files := []string{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	return files, errors.Join(
		os.WriteFile(files[0], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(files[1], pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
}
