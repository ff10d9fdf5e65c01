package enginetest_test

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// model is the naive reference: what was sent on each stream comes back on it,
// in order and once, and then a good end; or, when the script had the session
// expire, the beginning of that and one UNAVAILABLE.
type model struct {
	dice
	t       *testing.T
	net     *simnet.Network
	s       *dialer.Session
	streams []*modelStream
	expired atomic.Bool // the script outlasted the resume window
	readers sync.WaitGroup
}

// modelStream is one RPC of the echo service.
type modelStream struct {
	*dialer.Stream
	sends   chan int      // sizes
	permits chan struct{} // one for each message that may be read
	sent    atomic.Int64
}

const (
	modelStreams = 6
	modelOps     = 200
)

// follow carries one script out and compares.
func follow(t *testing.T, script []byte) {
	synctest.Test(t, func(t *testing.T) {
		reg := enginetest.NewRegistry(registry.Config{Handle: echo})
		m := &model{dice: dice{script[:min(len(script), 2*modelOps)]}, t: t}
		kinds := transports()[[]string{"longpoll", "ws", "auto"}[m.byte()%3]]
		m.net = simnet.New(uint64(m.byte()), simnet.Profile{RTT: 20 * ms})
		carrier := enginetest.NewCarrier(m.net, reg)
		m.s = dialer.Start(dialer.Config{Carrier: carrier, Transports: kinds, Pause: 30 * time.Minute})
		pingpong(t, m.s, 1, 1) // from now on the bridge keeps more than a Hello
		for !m.done() {
			m.step(kinds)
		}
		m.net.Calm()
		m.net.Thaw()
		m.net.Up()
		for _, st := range m.streams {
			close(st.sends)
			close(st.permits)
		}
		m.readers.Wait()
		if err := m.s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(31 * time.Minute)
		carrier.Close()
		synctest.Wait()
		checkIdle(t, reg)
		reg.Close()
	})
}

// step does what the next bytes say.
func (m *model) step(kinds []transport.Kind) {
	exchange, sock := simnet.ExchangeFaults(), simnet.SocketFaults()
	switch op := m.byte() % 16; op {
	case 0, 1:
		m.open()
	case 2, 3, 4:
		m.send(int(m.byte()))
	case 5:
		m.send(int(m.byte()) * 2000)
	case 6, 7:
		m.read(int(m.byte() % 8))
	case 8, 9:
		m.net.Inject(exchange[int(m.byte())%len(exchange)])
	case 10:
		if len(kinds) > 1 || kinds[0] == transport.WS {
			m.net.Inject(sock[int(m.byte())%len(sock)])
			m.net.Cut()
		}
	case 11:
		m.s.Kill()
	case 12:
		m.net.MuteSockets(m.one(2), m.one(2))
	case 13:
		m.net.Freeze()
		time.Sleep(time.Duration(m.byte()) * 20 * ms)
		m.net.Thaw()
	case 14:
		time.Sleep(time.Duration(m.byte()) * ms)
	case 15:
		if m.byte() == 255 {
			m.expired.Store(true)
			m.net.Down()
			time.Sleep(31 * time.Minute)
			m.net.Up()
		}
	}
}

func (m *model) open() {
	if len(m.streams) == modelStreams {
		return
	}
	open, err := m.s.Open(m.t.Context(), wire.Open{Method: "/model/Echo"})
	if err != nil {
		if !m.expired.Load() {
			m.t.Errorf("open: %v", err)
		}
		return
	}
	st := &modelStream{Stream: open, sends: make(chan int, modelOps), permits: make(chan struct{}, 8*modelOps)}
	m.streams = append(m.streams, st)
	var sender sync.WaitGroup
	sender.Go(func() {
		for size := range st.sends {
			_ = st.Send(m.t.Context(), message(modelMessage(int(st.sent.Load()), size)))
			st.sent.Add(1)
		}
		_ = st.CloseSend()
	})
	m.readers.Go(func() {
		m.readAll(st)
		sender.Wait()
	})
}

// modelMessage is the n-th message of a stream: it begins with its number.
func modelMessage(n, size int) []byte {
	b := make([]byte, size+2)
	b[0], b[1] = byte(n>>8), byte(n)
	return b
}

func (m *model) send(size int) {
	if len(m.streams) > 0 {
		m.streams[int(m.byte())%len(m.streams)].sends <- size
	}
}

func (m *model) read(n int) {
	if len(m.streams) == 0 {
		return
	}
	st := m.streams[int(m.byte())%len(m.streams)]
	for range n {
		st.permits <- struct{}{}
	}
}

// readAll reads a stream to its end, as fast as it is let.
func (m *model) readAll(st *modelStream) {
	for got := 0; ; got++ {
		<-st.permits
		msg, err := st.Recv(m.t.Context())
		if errors.Is(err, io.EOF) {
			m.ended(st, got)
			return
		}
		if err != nil {
			m.t.Errorf("after %d messages: %v", got, err)
			return
		}
		if b := msg.Bytes(); int(b[0])<<8|int(b[1]) != got {
			m.t.Errorf("message %d came as number %d", int(b[0])<<8|int(b[1]), got)
		}
	}
}

// ended compares a stream's end with the reference's.
func (m *model) ended(st *modelStream, got int) {
	end, sent := st.Status(), int(st.sent.Load())
	if end.Status == 0 {
		if want := fmt.Sprint(sent); end.Message != want || got != sent {
			m.t.Errorf("%d messages came back of %d, and %q", got, sent, end.Message)
		}
		return
	}
	lost := end.Reason == engine.ReasonExpired || end.Reason == engine.ReasonUnknown
	if !m.expired.Load() || end.Status != 14 || !lost || got > sent+1 {
		m.t.Errorf("%d messages came back of %d, then %+v", got, sent, *end)
	}
}

func FuzzModel(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(noise(seed, 2*modelOps))
	}
	f.Fuzz(follow)
}

// TestModel is the same with many scripts.
func TestModel(t *testing.T) {
	for seed := range uint64(*simModels) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { follow(t, noise(*simSeed<<32|seed, 2*modelOps)) })
	}
}
