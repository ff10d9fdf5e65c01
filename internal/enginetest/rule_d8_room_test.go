package enginetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// longMessages sends as many messages, of as many bytes, as the method says:
// "/count/bytes". What Send returned ends the RPC.
func longMessages(st *registry.Stream) {
	count, size, _ := strings.Cut(st.Request().Method[1:], "/")
	n, _ := strconv.Atoi(count)
	length, _ := strconv.Atoi(size)
	for i := range n {
		if err := st.Send(st.Context(), message(bytes.Repeat([]byte{byte(i)}, length))); err != nil {
			end := wire.End{Status: 8}
			if why, ok := errors.AsType[*engine.Error](err); ok {
				end.Message = why.Message
			}
			st.End(end)
			return
		}
	}
	st.End(wire.End{Message: "all"})
}

// member is a session of a principal.
type member struct {
	*dialer.Session
	t       *testing.T
	carrier *direct
}

func newMember(t *testing.T, reg *registry.Registry, name, choice string) *member {
	m := &member{t: t, carrier: &direct{reg: reg, delay: time.Millisecond}}
	m.Session = dialer.Start(dialer.Config{
		Carrier: m.carrier, Transports: transports()[choice],
		Token: func(context.Context) (string, error) { return name, nil },
	})
	return m
}

func (m *member) call(method string) *dialer.Stream {
	m.t.Helper()
	st, err := m.Open(m.t.Context(), wire.Open{Method: method})
	if err != nil {
		m.t.Fatal(err)
	}
	time.Sleep(time.Second)
	return st
}

// all takes n messages of a length, and how the RPC ended.
func (m *member) all(st *dialer.Stream, n, length int) wire.End {
	m.t.Helper()
	for i := range n {
		got, err := st.Recv(m.t.Context())
		if err != nil || !bytes.Equal(got.Bytes(), bytes.Repeat([]byte{byte(i)}, length)) {
			m.t.Errorf("message %d: %d bytes, %v; %+v", i, got.Len(), err, st.Status())
			return wire.End{}
		}
	}
	if _, err := st.Recv(m.t.Context()); err != io.EOF && st.Status().Status == 0 {
		m.t.Error(err)
	}
	return *st.Status()
}

// D8: a long message for which a principal's share has no room ends its RPC; the
// next of a stream that had one waits for room, and others have theirs.
func TestRule_longMessageRoom(t *testing.T) {
	const long = 200 << 10
	for _, choice := range []string{"longpoll", "ws"} {
		t.Run(choice, func(t *testing.T) {
			cfg := registry.Config{Authenticate: byToken, Handle: longMessages, MaxBufferedBytes: 1 << 20}
			bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
				ann, bob := newMember(t, reg, "ann", choice), newMember(t, reg, "bob", choice)
				method := fmt.Sprintf("/20/%d", long)
				var unread []*dialer.Stream
				last := ann.call(method)
				for reg.Stats().RefusedRPCs[engine.ReasonOverloaded] == 0 {
					unread = append(unread, last)
					last = ann.call(method)
				}
				held := reg.Stats().BufferedBytes
				end := ann.all(last, 0, long)
				if want := fmt.Sprintf("no room for a message of %d bytes: this principal holds its share of the bridge's buffers (%d of %d bytes)", long, held, 1<<20); end.Message != want {
					t.Errorf("an RPC too many: %+v, want %q", end, want)
				}
				if end := bob.all(bob.call(method), 20, long); end.Message != "all" {
					t.Errorf("another principal's RPC: %+v", end)
				}
				time.Sleep(time.Second) // what bob's client has taken is acked by then
				if got := reg.Stats().BufferedBytes; got != held {
					t.Errorf("%d bytes are held, before %d", got, held)
				}
				var readers sync.WaitGroup
				for _, st := range unread {
					readers.Go(func() {
						if end := ann.all(st, 20, long); end.Message != "all" {
							t.Errorf("an RPC that was not read: %+v", end)
						}
					})
				}
				readers.Wait()
				if got := reg.Stats().RefusedRPCs; len(got) != 1 || got[engine.ReasonOverloaded] != 1 {
					t.Errorf("RPCs refused: %v", got)
				}
				for _, m := range []*member{ann, bob} {
					if err := m.Close(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// D8: where a long message finds no room, sessions that are away make some for the
// next: those of the same principal, and of none that holds less.
func TestRule_longMessageEvicts(t *testing.T) {
	const long = 200 << 10
	cfg := registry.Config{Authenticate: byToken, Handle: longMessages, MaxBufferedBytes: 1 << 20}
	bubble(t, cfg, func(t *testing.T, reg *registry.Registry) {
		opens := func(name, method string) *client {
			c := newClient(t, reg, name)
			c.poll(c.batch(nil, wire.Frame{Stream: 1, Type: wire.TypeOpen, Open: &wire.Open{Method: method}}))
			synctest.Wait()
			return c
		}
		eve := opens("eve", fmt.Sprintf("/1/%d", 60<<10))
		for range 3 {
			opens("ann", fmt.Sprintf("/1/%d", long))
		}
		time.Sleep(5 * time.Second)
		equal(t, "sessions closed before", reg.Stats().SessionsClosed, map[string]uint64{})
		opens("ann", fmt.Sprintf("/1/%d", long))
		equal(t, "RPCs refused", reg.Stats().RefusedRPCs, map[string]uint64{engine.ReasonOverloaded: 1})
		if got := reg.Stats().SessionsClosed; len(got) != 1 || got[engine.ReasonOverloaded] == 0 {
			t.Errorf("sessions closed: %v", got)
		}
		if a := eve.poll(eve.batch(nil)); a.Close != nil {
			t.Errorf("eve's session: %+v", a.Close)
		}
		opens("ann", fmt.Sprintf("/1/%d", long))
		equal(t, "RPCs refused then", reg.Stats().RefusedRPCs, map[string]uint64{engine.ReasonOverloaded: 1})
	})
}

// dataIn is how many bytes of messages a batch brings.
func dataIn(b *wire.Batch) (n int) {
	for _, f := range b.Frames {
		n += len(f.Data)
	}
	return n
}

// Section 5: messages that have no credit are not announced as waiting, also when
// they were queued after credit had run out: the client would ask for them for ever.
func TestRule_waitingWithoutCredit(t *testing.T) {
	const half = 32<<10 - wire.FrameCost
	slowly := func(st *registry.Stream) {
		for range 3 {
			_ = st.Send(st.Context(), message(make([]byte, half)))
			_ = sleep(st.Context(), time.Second)
		}
		<-st.Context().Done()
	}
	bubble(t, registry.Config{Handle: slowly}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		last := p.poll(p.batch(nil, openFrame(1))) // it may bring the first message already
		got := dataIn(last)
		for range 20 {
			last = p.poll(p.batch(holding(time.Second)))
			got += dataIn(last)
		}
		equal(t, "bytes within the window", got, 2*half)
		equal(t, "bytes announced", last.WaitingBytes, uint64(0))
	})
}
