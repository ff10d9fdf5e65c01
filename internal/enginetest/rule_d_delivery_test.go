package enginetest_test

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// collect keeps what each RPC received.
type collect struct{ got chan string }

func (c *collect) handle(st *registry.Stream) {
	for {
		m, err := st.Recv(st.Context())
		if err != nil {
			c.got <- fmt.Sprintf("%d:%v", st.ID(), err)
			st.End(wire.End{})
			return
		}
		c.got <- fmt.Sprintf("%d:%s", st.ID(), m.Bytes())
	}
}

func (c *collect) all() []string {
	synctest.Wait()
	var all []string
	for {
		select {
		case s := <-c.got:
			all = append(all, s)
		default:
			return all
		}
	}
}

// D1: each frame once, in order, whatever the order of batches.
func TestRule_orderAndDuplicates(t *testing.T) {
	c := &collect{}
	bubble(t, registry.Config{Handle: c.handle}, func(t *testing.T, reg *registry.Registry) {
		c.got = make(chan string, 1000)
		p := newPeer(t, reg)
		p.open()
		one := p.batch(nil, openFrame(1), dataFrame(1, "a"))
		two := p.batch(nil, dataFrame(1, "b"), dataFrame(1, "c"))
		three := p.batch(nil, dataFrame(1, "d"), frameOf(1, wire.TypeHalfClose))
		acks := []uint64{}
		for _, b := range []*wire.Batch{three, two, two, one, three, one} {
			a := <-p.park(b)
			if a == nil || a.Close != nil {
				t.Fatalf("%+v", a)
			}
			acks = append(acks, a.Ack)
		}
		if want := []uint64{0, 0, 0, 6, 6, 6}; !reflect.DeepEqual(acks, want) {
			t.Errorf("acks %v, want %v", acks, want)
		}
		if got, want := c.all(), []string{"1:a", "1:b", "1:c", "1:d", "1:EOF"}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// D1: what is too far ahead is dropped and asked for.
func TestRule_tooFarAhead(t *testing.T) {
	c := &collect{}
	const most = 7 * 1024
	bubble(t, registry.Config{Handle: c.handle, StreamWindow: 1 << 20}, func(t *testing.T, reg *registry.Registry) {
		c.got = make(chan string, 2*most)
		p := newPeer(t, reg)
		p.open()
		first := p.batch(nil, openFrame(1))
		frames := slices.Repeat([]wire.Frame{dataFrame(1, "")}, most/2)
		if a := <-p.park(p.batch(nil, frames...)); a.Ack != 0 || a.Resend {
			t.Fatalf("ack %d, resend %v", a.Ack, a.Resend)
		}
		ahead := p.batch(nil, append(frames, frames[:100]...)...)
		if a := <-p.park(ahead); a.Ack != 0 || !a.Resend {
			t.Fatalf("ack %d, resend %v", a.Ack, a.Resend)
		}
		if a := <-p.park(first); a.Ack != most+1 || !a.Resend {
			t.Fatalf("ack %d, resend %v", a.Ack, a.Resend)
		}
		again := p.batch(nil)
		again.Frames = ahead.Frames[most/2:]
		if a := <-p.park(again); a.Ack != most+101 || a.Resend {
			t.Fatalf("ack %d, resend %v", a.Ack, a.Resend)
		}
		if n := len(c.all()); n != most+100 {
			t.Errorf("%d messages", n)
		}
	})
}

// D1: what is ahead of order counts in the budget, and is less where that is used up.
func TestRule_aheadInBudget(t *testing.T) {
	const budget = 4 << 20
	bubble(t, registry.Config{Handle: echo, MaxBufferedBytes: budget}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		p.batch(nil, openFrame(1)) // never arrives
		before := reg.Stats().BufferedBytes
		piece := dataFrame(1, strings.Repeat("x", wire.MaxFragment))
		for range 8 {
			<-p.park(p.batch(nil, slices.Repeat([]wire.Frame{piece}, 60)...))
		}
		got := reg.Stats().BufferedBytes - before
		if most := int64(budget / 4 * 3); got > most || got < most-2*wire.MaxFragment {
			t.Errorf("%d bytes ahead of order, want nearly %d", got, most)
		}
	})
}

// D1, D3, D5, O4: what ends a session, and that it says why.
func TestRule_protocolViolations(t *testing.T) {
	long := dataFrame(1, "")
	long.Length, long.Data = 1<<20, make([]byte, wire.MaxFragment+1)
	beyond := []wire.Frame{openFrame(1)}
	for i := range 5 {
		f := wire.Frame{Stream: 1, Type: wire.TypeMessage, First: i == 0, Data: make([]byte, wire.MaxFragment)}
		if f.First {
			f.Length = 5 * wire.MaxFragment
		}
		beyond = append(beyond, f)
	}
	cases := map[string][]wire.Frame{
		"stream used twice":       {openFrame(1), openFrame(1)},
		"stream below another":    {openFrame(2), openFrame(1)},
		"continuation first":      {openFrame(1), {Stream: 1, Type: wire.TypeMessage, Data: []byte("x")}},
		"message in a message":    {openFrame(1), {Stream: 1, Type: wire.TypeMessage, First: true, Length: 9, Data: []byte("x")}, dataFrame(1, "y")},
		"more than was stated":    {openFrame(1), {Stream: 1, Type: wire.TypeMessage, First: true, Length: 1, Data: []byte("xy")}},
		"an empty fragment":       {openFrame(1), {Stream: 1, Type: wire.TypeMessage, First: true, Length: 9}},
		"a fragment too long":     {openFrame(1), long},
		"beyond the window":       append(beyond, dataFrame(1, "")),
		"empty messages for ever": append([]wire.Frame{openFrame(1)}, bytesOf(2049)...),
	}
	idle := func(st *registry.Stream) {
		<-st.Context().Done()
		st.End(wire.End{})
	}
	for name, frames := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, registry.Config{Handle: idle}, func(t *testing.T, reg *registry.Registry) {
				p := newPeer(t, reg)
				p.open()
				a := <-p.park(p.batch(nil, frames...))
				if a.Close == nil || a.Close.Code != wire.CodeProtocolViolation || a.Close.Message == "" {
					t.Errorf("%+v", a.Close)
				}
				if n := reg.Stats().SessionsClosed[engine.ReasonViolation]; n != 1 {
					t.Errorf("%d sessions closed for a protocol violation", n)
				}
			})
		})
	}
	bubble(t, registry.Config{}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		if a := <-p.park(p.batch(func(b *wire.Batch) { b.Ack = 1 })); a.Close == nil || a.Close.Code != wire.CodeProtocolViolation {
			t.Errorf("ack of what was never sent: %+v", a.Close)
		}
	})
}

func bytesOf(n int) []wire.Frame {
	frames := make([]wire.Frame, n)
	for i := range frames {
		frames[i] = dataFrame(1, "")
	}
	return frames
}

// D2: no more than the session's window is sent without an ack.
func TestRule_sessionWindow(t *testing.T) {
	flood := func(st *registry.Stream) {
		for range 64 {
			if st.Send(st.Context(), message(make([]byte, 32<<10))) != nil {
				break
			}
		}
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: flood, SessionWindow: 256 << 10}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		if w := p.open(); w.SessionWindow != 256<<10 {
			t.Errorf("%+v", w)
		}
		var frames []wire.Frame
		for i := range 8 {
			frames = append(frames, openFrame(uint64(i+1)))
		}
		so := p.socket(func(b *wire.Batch) { b.Prefer = b.X }, frames...)
		defer so.close()
		costs := make(map[uint64]int) // of each frame, by its number
		for range 40 {                // no acks: exchanges take what the WebSocket's flight does not
			p.ack = 0
			a := <-p.park(p.batch(func(b *wire.Batch) { b.Prefer = 0 }))
			for _, f := range append(so.frames(), a.Frames...) {
				costs[f.Seq] = len(f.Data) + wire.FrameCost
			}
		}
		sent := 0
		for _, cost := range costs {
			sent += cost
		}
		if sent > 256<<10 || sent < 200<<10 {
			t.Errorf("%d bytes sent without an ack", sent)
		}
	})
}

// D3: credit comes back when messages are consumed, and not before.
func TestRule_streamCredit(t *testing.T) {
	consume := make(chan struct{})
	handle := func(st *registry.Stream) {
		for range consume {
			if _, err := st.Recv(st.Context()); err != nil {
				break
			}
		}
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
		consume = make(chan struct{})
		p := newPeer(t, reg)
		p.open()
		frames := []wire.Frame{openFrame(1)}
		for range 4 {
			frames = append(frames, dataFrame(1, string(make([]byte, 16000))))
		}
		if a := p.poll(p.batch(nil, frames...)); len(a.Frames) != 0 {
			t.Fatalf("credit before anything was consumed: %+v", a.Frames)
		}
		for range 4 {
			consume <- struct{}{}
		}
		a := p.poll(p.batch(nil))
		if len(a.Frames) != 1 || a.Frames[0].Type != wire.TypeWindow {
			t.Fatalf("%+v", a.Frames)
		}
		if limit := a.Frames[0].Limit; limit < 64<<10+2*16032 || limit > 256<<10+4*16032 {
			t.Errorf("limit %d", limit)
		}
		close(consume)
	})
}

// D4: a message longer than the window arrives whole; one over the limit ends
// its RPC only.
func TestRule_longMessages(t *testing.T) {
	for name, kinds := range transports() {
		t.Run(name, func(t *testing.T) {
			bubble(t, registry.Config{MaxMessage: 3 << 20}, func(t *testing.T, reg *registry.Registry) {
				s := dialer.Start(dialer.Config{Carrier: &direct{reg: reg}, Transports: kinds})
				pingpong(t, s, 1, 3<<20)
				pingpong(t, s, 3, 300<<10)
				st, err := s.Open(t.Context(), wire.Open{Method: "/test/Echo"})
				if err != nil {
					t.Fatal(err)
				}
				_ = st.Send(t.Context(), message(make([]byte, 3<<20+1)))
				if _, err := st.Recv(t.Context()); err != io.EOF {
					t.Fatal(err)
				}
				if end := st.Status(); end.Status != 8 || end.Reason != engine.ReasonLimit ||
					end.Message != "message of 3145729 bytes is over the limit of 3145728" {
					t.Errorf("%+v", end)
				}
				pingpong(t, s, 1, 1)
				if err := s.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// D4: the budget for long messages is served first come, first served, for
// 10 s.
func TestRule_reassemblyBudget(t *testing.T) {
	c := &collect{}
	bubble(t, registry.Config{Handle: c.handle, MaxMessage: 1 << 20}, func(t *testing.T, reg *registry.Registry) {
		c.got = make(chan string, 10)
		p := newPeer(t, reg)
		p.open()
		var frames []wire.Frame
		for i := range uint64(3) {
			frames = append(frames, openFrame(i+1),
				wire.Frame{Stream: i + 1, Type: wire.TypeMessage, First: true, Length: 1 << 20, Data: make([]byte, 100)})
		}
		a := p.poll(p.batch(nil, frames...))
		granted := []uint64{}
		for _, f := range a.Frames {
			if f.Type == wire.TypeWindow {
				granted = append(granted, f.Stream)
			}
		}
		if !reflect.DeepEqual(granted, []uint64{1, 2}) {
			t.Errorf("granted %v", granted)
		}
		time.Sleep(11 * time.Second)
		a = p.poll(p.batch(nil))
		if len(a.Frames) != 1 || a.Frames[0].Type != wire.TypeEnd || a.Frames[0].Stream != 3 || a.Frames[0].End.Status != 8 {
			t.Errorf("%+v", a.Frames)
		}
	})
}

// D5: an OPEN whose CANCEL is in the same batch is not started; it has its END.
func TestRule_cancelAtOnce(t *testing.T) {
	c := &collect{}
	bubble(t, registry.Config{Handle: c.handle}, func(t *testing.T, reg *registry.Registry) {
		c.got = make(chan string, 10)
		p := newPeer(t, reg)
		p.open()
		a := p.poll(p.batch(holding(time.Second), openFrame(1), dataFrame(1, "x"), frameOf(1, wire.TypeCancel)))
		if got := c.all(); len(got) != 0 {
			t.Errorf("started: %v", got)
		}
		if len(a.Frames) != 1 || a.Frames[0].Type != wire.TypeEnd || a.Frames[0].End.Status != 1 {
			t.Errorf("%+v", a.Frames)
		}
		p.poll(p.batch(holding(time.Second), openFrame(2), dataFrame(2, "x")))
		b := p.poll(p.batch(holding(time.Second), frameOf(2, wire.TypeCancel), dataFrame(2, "late"), frameOf(7, wire.TypeCancel)))
		if len(b.Frames) != 1 || b.Frames[0].Type != wire.TypeEnd {
			t.Errorf("%+v", b.Frames)
		}
		if got := c.all(); len(got) != 2 || got[0] != "2:x" {
			t.Errorf("%v", got)
		}
		time.Sleep(time.Minute)
	})
}

// D6: over twice the window of outbox an OPEN waits, and is asked for again.
func TestRule_stopped(t *testing.T) {
	flood := func(st *registry.Stream) {
		_ = st.Send(st.Context(), message(make([]byte, 60<<10)))
		st.End(wire.End{})
	}
	bubble(t, registry.Config{Handle: flood, SessionWindow: 64 << 10}, func(t *testing.T, reg *registry.Registry) {
		p := newPeer(t, reg)
		p.open()
		lower := p.batch(nil) // its answer is empty: nothing leaves the outbox
		hold := p.park(p.batch(func(b *wire.Batch) { b.HoldMillis = 0 }))
		<-hold
		p.x = lower.X
		b := p.batch(nil, openFrame(1), openFrame(2), openFrame(3), openFrame(4))
		b.X = 1
		<-p.park(b)
		synctest.Wait()
		c := p.batch(nil, openFrame(5), dataFrame(5, "x"))
		c.X = 1
		a := <-p.park(c)
		if !a.Stopped || a.Ack != 4 || a.Resend {
			t.Fatalf("stopped %v, ack %d, resend %v", a.Stopped, a.Ack, a.Resend)
		}
		p.x = 10
		for range 20 {
			if a = p.poll(p.batch(nil)); a.Resend {
				break
			}
		}
		if !a.Resend {
			t.Fatal("it was never asked for")
		}
		again := p.batch(nil)
		again.Frames = c.Frames
		if a = p.poll(again); a.Ack != 6 || a.Resend {
			t.Errorf("ack %d, resend %v", a.Ack, a.Resend)
		}
	})
}

// D7: time before the batch counts against the deadline.
func TestRule_deadline(t *testing.T) {
	left := make(chan time.Duration, 1)
	handle := func(st *registry.Stream) {
		deadline, _ := st.Context().Deadline()
		left <- time.Until(deadline)
		<-st.Context().Done()
		var why *engine.Error
		if err := st.Send(st.Context(), message(nil)); !errors.As(err, &why) || why.Reason != engine.ReasonDeadline {
			t.Errorf("after the deadline: %v", err)
		}
		st.End(wire.End{Status: 4})
	}
	bubble(t, registry.Config{Handle: handle}, func(t *testing.T, reg *registry.Registry) {
		left = make(chan time.Duration, 1)
		p := newPeer(t, reg)
		p.open()
		open := openFrame(1)
		open.Open.HasTimeout, open.Open.TimeoutMicros, open.Open.CreatedMicros = true, 5_000_000, 1_000_000
		p.park(p.batch(func(b *wire.Batch) { b.NowMicros = 3_000_000 }, open))
		if got := <-left; got != 3*time.Second {
			t.Errorf("%v left", got)
		}
		time.Sleep(4 * time.Second)
	})
}
