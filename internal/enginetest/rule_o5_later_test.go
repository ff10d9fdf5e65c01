package enginetest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// O5: who cannot find out whose a token is refuses nobody: at Hello the client is
// told to come again, later its token of before counts on. One that has expired is
// looked at once more when it comes again.
func TestRule_authenticateLater(t *testing.T) {
	down := false
	auth := func(context.Context, transport.Hello, string) (registry.Principal, error) {
		if down {
			return registry.Principal{}, fmt.Errorf("the issuer is down: %w", registry.ErrTryLater)
		}
		return registry.Principal{Name: "ann", Expires: time.Now().Add(time.Minute)}, nil
	}
	bubble(t, registry.Config{Authenticate: auth}, func(t *testing.T, reg *registry.Registry) {
		down = true
		bearing := func(b *wire.Batch) { b.Token = "token" }
		p := newPeer(t, reg)
		if a := <-p.park(p.batch(withHello)); a.Close == nil || a.Close.Code != wire.CodeBusy || a.Close.RetryAfterMillis == 0 {
			t.Errorf("at Hello: %+v", a.Close)
		}
		down = false
		p.open()
		stream := uint64(0)
		rpc := func(change func(*wire.Batch)) string {
			stream++
			frames := p.poll(p.batch(change, openFrame(stream), frameOf(stream, wire.TypeHalfClose))).Frames
			for {
				for _, f := range frames {
					if f.Type == wire.TypeEnd && f.Stream == stream {
						return f.End.Reason
					}
				}
				frames = p.poll(p.batch(holding(time.Second))).Frames
			}
		}
		down = true
		got := []string{rpc(bearing)}
		time.Sleep(time.Minute)
		got = append(got, rpc(bearing))
		down = false
		got = append(got, rpc(bearing))
		time.Sleep(time.Minute)
		got = append(got, rpc(bearing))
		equal(t, "ends", got, []string{"", "unauthenticated", "", ""})
	})
}

// O5: a credential that has expired is renewed by another Authorization too, once
// for each; one that is not good, or another's, changes nothing.
func TestRule_authorizationHeader(t *testing.T) {
	var asked []string
	auth := func(_ context.Context, hello transport.Hello, _ string) (registry.Principal, error) {
		name := hello.Header.Get("Authorization")
		asked = append(asked, name)
		if name == "bad" {
			return registry.Principal{}, errors.New("nobody's")
		}
		return registry.Principal{Name: strings.TrimRight(name, "0123456789"), Expires: time.Now().Add(time.Minute)}, nil
	}
	bubble(t, registry.Config{Authenticate: auth}, func(t *testing.T, reg *registry.Registry) {
		asked = nil
		p := newPeer(t, reg)
		stream := uint64(0)
		rpc := func(authorization string) string {
			p.header = http.Header{"Authorization": {authorization}}
			stream++
			frames := p.poll(p.batch(nil, openFrame(stream), frameOf(stream, wire.TypeHalfClose))).Frames
			for {
				for _, f := range frames {
					if f.Type == wire.TypeEnd && f.Stream == stream {
						return f.End.Reason
					}
				}
				frames = p.poll(p.batch(holding(time.Second))).Frames
			}
		}
		p.header = http.Header{"Authorization": {"ann1"}}
		p.open()
		got := []string{rpc("ann1"), rpc("ann2")}
		time.Sleep(time.Minute)
		for _, header := range []string{"", "bad", "bad", "bob1", "ann3", "ann3"} {
			got = append(got, rpc(header))
		}
		const expired = "unauthenticated"
		equal(t, "ends", got, []string{"", "", expired, expired, expired, expired, "", ""})
		equal(t, "asked", asked, []string{"ann1", "bad", "bob1", "ann3"})
	})
}

// TestSession_resumed: a session comes back when a link follows a WebSocket that
// was lost, or a silence; one exchange after the other is no coming back.
func TestSession_resumed(t *testing.T) {
	var session *registry.Session
	handle := func(st *registry.Stream) {
		session = st.Session()
		<-st.Context().Done()
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		var got []string
		say := func() {
			kind, resumed := session.Transport()
			got = append(got, fmt.Sprint(kind, resumed))
		}
		p.poll(p.batch(nil, openFrame(1)))
		synctest.Wait()
		say()
		for range 5 {
			p.poll(p.batch(holding(time.Second)))
			time.Sleep(time.Second)
		}
		say()
		so := p.socket(nil)
		b := p.batch(nil)
		b.X, b.Prefer = so.x, so.x
		if err := so.link.Deliver(t.Context(), wire.AppendBatch(nil, b)); err != nil {
			t.Fatal(err)
		}
		say()
		so.close()
		synctest.Wait()
		p.poll(p.batch(nil))
		say()
		time.Sleep(time.Minute)
		p.poll(p.batch(nil))
		p.poll(p.batch(nil))
		say()
		equal(t, "states", got, []string{"longpoll 0", "longpoll 0", "ws 0", "longpoll 1", "longpoll 2"})
	})
}
