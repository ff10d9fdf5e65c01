package enginetest_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Of the network that streams share.
const (
	shareRTT  = 20 * time.Millisecond
	shareRate = 2_000_000
)

// share is a session over a network of that rate.
type share struct {
	t    *testing.T
	reg  *registry.Registry
	net  *simnet.Network
	s    *dialer.Session
	sent atomic.Int64 // bytes that stopped readers' backends could send
}

// sharing runs f in a bubble. The bridge's end of /test/Flood sends for ever, of
// /test/Long one message of 16 MiB; any other echoes.
func sharing(t *testing.T, choice string, f func(*share)) {
	synctest.Test(t, func(t *testing.T) {
		sh := &share{t: t, net: simnet.New(1, simnet.Profile{RTT: shareRTT, Rate: shareRate})}
		sh.reg = enginetest.NewRegistry(registry.Config{Handle: sh.handle})
		carrier := enginetest.NewCarrier(sh.net, sh.reg)
		sh.s = dialer.Start(dialer.Config{Carrier: carrier, Transports: transports()[choice]})
		time.Sleep(5 * time.Second)
		f(sh)
		if err := sh.s.State().LastError; err != nil {
			t.Errorf("a link was lost: %v", err)
		}
		if err := sh.s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		carrier.Close()
		synctest.Wait()
		checkIdle(t, sh.reg)
		sh.reg.Close()
	})
}

func (sh *share) handle(st *registry.Stream) {
	const piece = 10_000
	switch st.Request().Method {
	case "/test/Flood", "/test/Stopped":
		for st.Send(st.Context(), message(make([]byte, piece))) == nil {
			if st.Request().Method == "/test/Stopped" {
				sh.sent.Add(piece)
			}
		}
		st.End(wire.End{Status: 1})
	case "/test/Long":
		_ = st.Send(st.Context(), message(make([]byte, longMessage)))
		st.End(wire.End{})
	default:
		echo(st)
	}
}

const longMessage = 16 << 20

func (sh *share) open(method string) *dialer.Stream {
	st, err := sh.s.Open(sh.t.Context(), wire.Open{Method: method})
	if err != nil {
		sh.t.Fatal(err)
	}
	return st
}

// floods is how many bytes three RPCs receive in a while.
func (sh *share) floods(during time.Duration) int64 {
	var got atomic.Int64
	var readers sync.WaitGroup
	var all []*dialer.Stream
	for range 3 {
		st := sh.open("/test/Flood")
		all = append(all, st)
		readers.Go(func() {
			for {
				m, err := st.Recv(sh.t.Context())
				if err != nil {
					return
				}
				got.Add(int64(m.Len()))
			}
		})
	}
	time.Sleep(during)
	n := got.Load()
	for _, st := range all {
		st.Cancel()
	}
	readers.Wait()
	return n
}

// Promise 6: a reader that has stopped costs the bridge its window at most,
// stops its backend, and leaves its neighbours nine tenths of what they have
// without it.
func TestRule_stoppedReader(t *testing.T) {
	const during = 10 * time.Second
	for name := range transports() {
		t.Run(name, func(t *testing.T) {
			sharing(t, name, func(sh *share) {
				alone := sh.floods(during)
				if path := int64(shareRate * during.Seconds()); alone < path*9/10 {
					t.Errorf("%d bytes over a path for %d", alone, path)
				}
				stopped := sh.open("/test/Stopped")
				if _, err := stopped.Recv(sh.t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(5 * time.Second)
				held, sent := sh.reg.Stats().BufferedBytes, sh.sent.Load()
				beside := sh.floods(during)
				t.Logf("%d bytes alone, %d beside a stopped reader, which holds %d of %d", alone, beside, held, sent)
				if beside < alone*9/10 {
					t.Errorf("%d bytes in place of %d", beside, alone)
				}
				if held > 256<<10 {
					t.Errorf("%d bytes held for a stopped reader", held)
				}
				equal(t, "sent by its backend since", sh.sent.Load()-sent, int64(0))
				stopped.Cancel()
			})
		})
	}
}

// Section 6: a message of 16 MiB holds up neither a short one nor heartbeats.
func TestRule_longMessageBeside(t *testing.T) {
	for name := range transports() {
		for _, down := range []bool{true, false} {
			t.Run(map[bool]string{true: "down/", false: "up/"}[down]+name, func(t *testing.T) {
				sharing(t, name, func(sh *share) {
					var long sync.WaitGroup
					began := time.Now()
					done := make(chan struct{})
					long.Go(func() {
						defer close(done)
						sh.long(down)
					})
					short, n := sh.open("/test/Echo"), 0
					var longest time.Duration
					for ; !isClosed(done); n++ {
						sent := time.Now()
						if err := short.Send(sh.t.Context(), message([]byte("0123456789"))); err != nil {
							t.Fatal(err)
						}
						if m, err := short.Recv(sh.t.Context()); err != nil || string(m.Bytes()) != "0123456789" {
							t.Fatal(m.Len(), err)
						}
						longest = max(longest, time.Since(sent))
						time.Sleep(50 * time.Millisecond)
					}
					t.Logf("16 MiB in %v; %d short messages beside it, longest round trip %v", time.Since(began), n, longest)
					limit := 250 * time.Millisecond
					if name == "longpoll" { // a batch is what goes in a second
						limit = 1500 * time.Millisecond
					}
					if n < 10 || longest > limit {
						t.Errorf("%d short messages in %v, longest round trip %v, limit %v", n, time.Since(began), longest, limit)
					}
					_ = short.CloseSend()
					long.Wait()
				})
			})
		}
	}
}

// long carries one message of 16 MiB.
func (sh *share) long(down bool) {
	if down {
		st := sh.open("/test/Long")
		if m, err := st.Recv(sh.t.Context()); err != nil || m.Len() != longMessage {
			sh.t.Errorf("%d bytes, %v", m.Len(), err)
		}
		if _, err := st.Recv(sh.t.Context()); !errors.Is(err, io.EOF) {
			sh.t.Error(err)
		}
		return
	}
	st := sh.open("/test/Echo")
	want := bytes.Repeat([]byte("up"), longMessage/2)
	if err := st.Send(sh.t.Context(), message(want)); err != nil {
		sh.t.Error(err)
	}
	if m, err := st.Recv(sh.t.Context()); err != nil || !bytes.Equal(m.Bytes(), want) {
		sh.t.Errorf("%d bytes, %v", m.Len(), err)
	}
	_ = st.CloseSend()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
