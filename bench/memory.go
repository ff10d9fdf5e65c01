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

// perHead measures what each of n of a kind adds to a process's memory, in
// KiB, and to its goroutines.
func perHead(p *process, n int, open func(i int) error) (kib, goroutines float64, err error) {
	before, err := p.collected()
	if err != nil {
		return none, none, err
	}
	if err := together(n, open); err != nil {
		return none, none, err
	}
	time.Sleep(settle)
	after, err := p.collected()
	if err != nil {
		return none, none, err
	}
	return float64(after.RSS-before.RSS) / float64(n) / 1024, float64(after.Goroutines-before.Goroutines) / float64(n), nil
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
func memory(ctx context.Context, cfg config, secure bool, open func(ctx context.Context, addr string) (member, error)) (kib, goroutines float64, err error) {
	var crowd members
	defer crowd.close()
	l := &lab{}
	defer l.close()
	if l.backend, err = l.role(ctx, nil, "backend", "-"); err != nil {
		return none, none, err
	}
	args := []string{l.backend.addr}
	if secure {
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			return none, none, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		files, err := certificate(dir)
		if err != nil {
			return none, none, err
		}
		args = append(args, files...)
	}
	if l.bridge, err = l.role(ctx, nil, "bridge", args...); err != nil {
		return none, none, err
	}
	return perHead(l.bridge, cfg.crowd, func(int) error {
		m, err := open(ctx, l.bridge.addr)
		if err == nil {
			crowd.add(m)
		}
		return err
	})
}

// measureMemory fills rows 10 to 12.
func measureMemory(ctx context.Context, cfg config) (*found, error) {
	f := &found{}
	var errs []error
	figure := func(secure bool, open func(ctx context.Context, addr string) (member, error)) (kib, goroutines float64) {
		kib, goroutines, err := memory(ctx, cfg, secure, open)
		errs = append(errs, err)
		return kib, goroutines
	}
	wsKiB, wsGoroutines := figure(false, openIdleSocket)
	pollKiB, pollGoroutines := figure(false, func(ctx context.Context, addr string) (member, error) { return openParked(ctx, addr, false) })
	tlsKiB, _ := figure(true, func(ctx context.Context, addr string) (member, error) { return openParked(ctx, addr, true) })
	idleKiB, idleGoroutines := figure(false, openIdlePoll)
	ioWS, ioPolling, err := socketIOMemory(ctx, cfg)
	errs = append(errs, err)
	f.claims = []claim{
		atMost(10, "RSS each", wsKiB, " KiB", 16, 12),
		seen(10, "goroutines each", wsGoroutines, ""),
		atMost(10, "÷ Socket.IO's WebSocket", wsKiB/ioWS, " ×", 1, none),
		atMost(11, "RSS each ÷ Socket.IO's polling", pollKiB/ioPolling, " ×", 1, none),
		atMost(11, "RSS each, plaintext", pollKiB, " KiB", none, 6),
		seen(11, "goroutines each, two of them the RPC's", pollGoroutines, ""),
		atMost(11, "RSS each, TLS", tlsKiB, " KiB", 30, none),
		atMost(12, "RSS each", idleKiB, " KiB", 4, 2),
		atMost(12, "goroutines each", idleGoroutines, "", 0.01, none),
		seen(10, "Socket.IO's WebSocket", ioWS, " KiB"),
		seen(11, "Socket.IO's polling", ioPolling, " KiB"),
	}
	return f, errors.Join(errs...)
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
		kib, _, err := perHead(l.socketio, cfg.crowd/2, func(int) error {
			m, err := open(l.socketio.addr)
			if err == nil {
				crowd.add(m)
			}
			return err
		})
		return kib, err
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
