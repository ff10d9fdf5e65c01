package enginetest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// What an operator sees of a session through its life.
func TestInspect(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		began := time.Now()
		p := newPeer(t, reg)
		p.open()
		id := wire.EncodeSession(p.id)
		time.Sleep(time.Second)
		so := p.socket(func(b *wire.Batch) { b.Prefer = b.X }, openFrame(1), dataFrame(1, "hello"))
		so.frames()
		time.Sleep(time.Second)

		all := slices.Collect(reg.Sessions())
		if len(all) != 1 {
			t.Fatalf("%d sessions, want 1", len(all))
		}
		got := all[0]
		if got.ReceivedBytes == 0 || got.SentBytes == 0 || got.ReceivedRate <= 0 || got.SentRate <= 0 || got.Buffered != 5 {
			t.Errorf("counts %+v", got)
		}
		st := reg.Stats()
		if n := st.ReceivedBytes[transport.WS] + st.ReceivedBytes[transport.Longpoll]; n != got.ReceivedBytes || st.ReceivedBytes[transport.WS] == 0 {
			t.Errorf("all sessions received %d bytes, the only one %d", n, got.ReceivedBytes)
		}
		if n := st.SentBytes[transport.WS] + st.SentBytes[transport.Longpoll]; n != got.SentBytes || st.SentBytes[transport.WS] == 0 {
			t.Errorf("all sessions sent %d bytes, the only one %d", n, got.SentBytes)
		}
		want := registry.Info{
			ID: id, Principal: "192.0.2.1", Remote: "192.0.2.1", Client: "test/1", Opened: began, Transport: transport.WS, RPCs: 1,
			RTT: got.RTT, Buffered: got.Buffered, ReceivedBytes: got.ReceivedBytes, SentBytes: got.SentBytes, ReceivedRate: got.ReceivedRate, SentRate: got.SentRate,
		}
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}

		so.close()
		time.Sleep(5 * time.Second)
		if d, ok := reg.Session(id).Inspect(); !ok || d.Away != 5*time.Second || d.Transport != transport.Longpoll || d.Window != 2*time.Minute {
			t.Errorf("without a link: %+v", d)
		}
		<-p.park(p.batch(nil))
		d, ok := reg.Session(id).Inspect()
		if !ok || d.Away != 0 || d.Resumed != 1 || d.RPCsOpened != 1 {
			t.Errorf("resumed: %+v", d)
		}
		if want := []registry.RPC{{Stream: 1, Method: "/test/Echo", Began: began.Add(time.Second)}}; !slices.Equal(d.RPCs, want) {
			t.Errorf("RPCs %+v, want %+v", d.RPCs, want)
		}
		wantEvents := []registry.Event{
			{At: began, What: "opened", Detail: "carried by longpoll"},
			{At: began.Add(time.Second), What: "carried by ws"},
			{At: began.Add(7 * time.Second), What: "resumed", Detail: "without a link for 5s"},
		}
		if len(d.Events) < 3 || !slices.Equal(d.Events[:3], wantEvents) {
			t.Errorf("events %+v, want %+v first", d.Events, wantEvents)
		}
	})
}

// A session that an operator disconnects ends as one that is drained, for its
// client, and is remembered.
func TestInspect_disconnect(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		p, other := newPeer(t, reg), newPeer(t, reg)
		p.open()
		other.open()
		p.poll(p.batch(nil, openFrame(1)))
		p.poll(p.batch(nil)) // headers
		id := wire.EncodeSession(p.id)
		sess, parked := reg.Session(id), p.park(p.batch(holding(10*time.Second)))
		sess.Disconnect()
		sess.Disconnect()
		answer := answered(parked)
		if answer == nil || answer.Close == nil || answer.Close.Code != wire.CodeDrained || answer.Close.Message != "disconnected by an operator" {
			t.Fatalf("answer %+v", answer)
		}
		if reg.Session(id) != nil || reg.Session(wire.EncodeSession(other.id)) == nil || reg.Session("nobody") != nil {
			t.Error("another session ended, or none")
		}
		if _, ok := sess.Inspect(); ok {
			t.Error("the session says that it lives")
		}
		want := registry.Ended{ID: id, Principal: "192.0.2.1", At: time.Now(), Reason: "disconnected", Message: "disconnected by an operator"}
		if got := reg.Ended(); !slices.Equal(got, []registry.Ended{want}) {
			t.Errorf("ended %+v, want %+v", got, want)
		}
		if n := reg.Stats().SessionsClosed["disconnected"]; n != 1 {
			t.Errorf("%d sessions disconnected, want 1", n)
		}
	})
}

// What is kept of a session, and of those that are over, is bounded.
func TestInspect_bounds(t *testing.T) {
	bubble(t, registry.Config{MaxStreams: 1000}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.poll(p.batch(func(b *wire.Batch) {
			withHello(b)
			b.Hello.Release = strings.Repeat("x", 10_000)
		}))
		p.incarnation = p.poll(p.batch(func(b *wire.Batch) { withHello(b) })).Incarnation
		for n := range uint64(1200) {
			p.poll(p.batch(nil, openFrame(n+1)))
		}
		d, ok := reg.Session(wire.EncodeSession(p.id)).Inspect()
		if !ok || len(d.Client) != 64 || len(d.RPCs) != 100 || d.RPCs[99].Stream != 100 || len(d.Events) != 32 || d.RPCsOpened != 1200 {
			t.Errorf("client of %d bytes, %d RPCs, %d events, %d opened", len(d.Client), len(d.RPCs), len(d.Events), d.RPCsOpened)
		}
		for range 110 {
			q := newPeer(t, reg)
			q.open()
			reg.Session(wire.EncodeSession(q.id)).Disconnect()
		}
		if n := len(reg.Ended()); n != 100 {
			t.Errorf("%d ended sessions are known, want 100", n)
		}
	})
}

// Who looks at the sessions holds up none of them, and no new one.
func TestInspect_holdsNothing(t *testing.T) {
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		peers := map[string]*peer{}
		for range 20 {
			p := newPeer(t, reg)
			p.open()
			peers[wire.EncodeSession(p.id)] = p
		}
		seen := 0
		for info := range reg.Sessions() {
			seen++
			p := peers[info.ID]
			p.poll(p.batch(nil, openFrame(1)))
			newPeer(t, reg).open()
			reg.Session(info.ID).Disconnect()
		}
		if seen != 20 || len(reg.Ended()) != 20 || reg.Stats().Sessions != 20 {
			t.Errorf("%d seen, %d ended, %d left, want 20 of each", seen, len(reg.Ended()), reg.Stats().Sessions)
		}
	})
}
