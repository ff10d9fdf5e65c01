package transporttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pollbridge/pollbridge/internal/engine"
	"github.com/pollbridge/pollbridge/internal/simnet"
	"github.com/pollbridge/pollbridge/transport"
)

// mixed are message sizes at and around the bounds of fragments and windows.
var mixed = []int{0, 1, 100, 16383, 16384, 16385, 64 << 10, 0, 200 << 10, 300 << 10, 2 << 20, 5}

func scenarios(kind transport.Kind) []scenario {
	list := []scenario{
		{name: "all sizes", tcp: true, run: allSizes},
		{name: "thousand streams", tcp: true, run: thousandStreams},
		{name: "client that stops reading", tcp: true, run: stoppedClient},
		{name: "backend that stops reading", tcp: true, run: stoppedBackend},
		{name: "cancelled while parked", tcp: true, run: cancelledWhileParked},
		{name: "idle for an hour of calls", run: rareCalls},
		{name: "bad input", tcp: true, run: badInput},
		{name: "registry closed", tcp: true, run: registryClosed},
	}
	all, share := simnet.ExchangeFaults(), 0.25
	if kind.Lasting() { // there are few, and each lives long
		all, share = simnet.SocketFaults(), 0.75
	}
	lossy := scenario{name: "thousand streams, lossy", run: thousandStreams, faults: rated(share, all...)}
	list = append(list, lossy)
	for _, f := range all {
		list = append(list, scenario{name: string(f), faults: rated(share, f), run: underFaults})
	}
	for seed := range uint64(3) {
		list = append(list, scenario{name: fmt.Sprintf("all faults %d", seed), seed: seed, faults: rated(share, all...), run: underFaults})
	}
	return list
}

// rated is a network that spoils a share of what it carries, by each of the faults
// alike.
func rated(share float64, faults ...simnet.Fault) simnet.Profile {
	p := simnet.Profile{Rates: make(map[simnet.Fault]float64)}
	for _, f := range faults {
		p.Rates[f] = share / float64(len(faults))
	}
	return p
}

// together runs n functions at the same time and reports every error.
func together(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// startedOnce checks that each of the RPCs was started exactly once.
func (r *rig) startedOnce(t *testing.T, n int) {
	t.Helper()
	r.service.mu.Lock()
	defer r.service.mu.Unlock()
	if len(r.service.started) != n {
		t.Errorf("%d RPCs were started, want %d", len(r.service.started), n)
	}
	for name, times := range r.service.started {
		if times != 1 {
			t.Errorf("%s was started %d times", name, times)
		}
	}
}

func allSizes(t *testing.T, r *rig) {
	together(t, 2, func(i int) error { return r.echo(t.Context(), fmt.Sprintf("rpc%d", i), mixed) })
	r.startedOnce(t, 2)
}

func underFaults(t *testing.T, r *rig) {
	const rounds, rpcs = 4, 6
	sizes := []int{10, 0, 1000, 20 << 10, 3, 40 << 10}
	for round := range rounds {
		r.network.CutSockets()
		together(t, rpcs, func(i int) error { return r.echo(t.Context(), fmt.Sprintf("rpc%d.%d", round, i), sizes) })
	}
	r.startedOnce(t, rounds*rpcs)
	if len(r.network.Counts()) == 0 {
		t.Error("no fault struck")
	}
}

func thousandStreams(t *testing.T, r *rig) {
	const rpcs = 1000
	var open sync.WaitGroup
	open.Add(rpcs)
	together(t, rpcs, func(i int) error {
		name := fmt.Sprintf("rpc%d", i)
		st, err := r.open(t.Context(), methodEcho, name)
		if err != nil {
			open.Done()
			return err
		}
		if _, err = st.Headers(t.Context()); err != nil {
			err = fmt.Errorf("%s: headers: %w", name, err)
		}
		open.Done()
		if err != nil {
			return err
		}
		open.Wait()
		sizes := []int{50, 500}
		if err := sendAll(t.Context(), st, name, sizes); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return recvAll(t.Context(), st, name, sizes)
	})
	r.startedOnce(t, rpcs)
	if r.service.maxOpen != rpcs {
		t.Errorf("%d RPCs were open at once, want %d", r.service.maxOpen, rpcs)
	}
	if n := r.recorder.mostInFlight(); !r.kind.Lasting() && n > 2 {
		t.Errorf("%d exchanges were in flight at once, want 2 at most", n)
	}
	if got := r.reg.Stats().Sessions; got != 1 {
		t.Errorf("%d sessions, want 1", got)
	}
}

// bound is more than one stream may ever hold in windows and queues.
const bound = 1 << 20

// stoppedClient: a client that does not read one RPC stops that RPC's sender,
// and nothing else.
func stoppedClient(t *testing.T, r *rig) {
	st, err := r.open(t.Context(), methodSource, "source")
	if err != nil {
		t.Fatal(err)
	}
	neighbours(t, r)
	r.service.mu.Lock()
	sent := r.service.sent
	r.service.mu.Unlock()
	if sent*sourceSize > bound {
		t.Errorf("a sender whose reader stopped sent %d bytes, want at most %d", sent*sourceSize, bound)
	}
	if err := recvAll(t.Context(), st, "source", slices.Repeat([]int{sourceSize}, sourceCount)); err != nil {
		t.Fatal(err)
	}
}

// stoppedBackend: the same the other way.
func stoppedBackend(t *testing.T, r *rig) {
	st, err := r.open(t.Context(), methodSink, "sink")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	sent, done := 0, make(chan error, 1)
	go func() {
		for i := range sourceCount {
			if err := st.Send(t.Context(), engine.Message{Pieces: [][]byte{payload("sink", i, sourceSize)}}); err != nil {
				done <- err
				return
			}
			mu.Lock()
			sent++
			mu.Unlock()
		}
		done <- st.CloseSend()
	}()
	neighbours(t, r)
	mu.Lock()
	if sent*sourceSize > bound {
		t.Errorf("a sender whose reader stopped sent %d bytes, want at most %d", sent*sourceSize, bound)
	}
	mu.Unlock()
	close(r.service.release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := recvAll(t.Context(), st, "sink", nil); err != nil {
		t.Fatal(err)
	}
	if r.service.taken != sourceCount {
		t.Errorf("the backend took %d messages, want %d", r.service.taken, sourceCount)
	}
}

// neighbours are RPCs that have enough to say for windows to matter.
func neighbours(t *testing.T, r *rig) {
	t.Helper()
	sizes := slices.Repeat([]int{100, 30 << 10}, 10)
	together(t, 5, func(i int) error { return r.echo(t.Context(), fmt.Sprintf("neighbour%d", i), sizes) })
}

func cancelledWhileParked(t *testing.T, r *rig) {
	// A Recv whose context ends says so, and the RPC goes on.
	st, err := r.open(t.Context(), methodEcho, "echo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Headers(t.Context()); err != nil {
		t.Fatal(err)
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	received := make(chan error, 1)
	go func() {
		_, err := st.Recv(ctx)
		received <- err
	}()
	cancel(why)
	if err := <-received; !errors.Is(err, why) {
		t.Errorf("received %v, want the context's cause", err)
	}
	if err := errors.Join(sendAll(t.Context(), st, "echo", mixed[:5]), recvAll(t.Context(), st, "echo", mixed[:5])); err != nil {
		t.Fatal(err)
	}

	// A cancelled RPC's context ends at the bridge, and the session goes on.
	if st, err = r.open(t.Context(), methodSink, "sink"); err != nil {
		t.Fatal(err)
	}
	if err := st.Send(t.Context(), engine.Message{Pieces: [][]byte{[]byte("hello")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Headers(t.Context()); err != nil { // the sink has begun
		t.Fatal(err)
	}
	st.Cancel()
	if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) || st.Status() == nil || st.Status().Status != codeCancelled {
		t.Errorf("received %v with status %+v, want EOF and CANCELLED", err, st.Status())
	}
	if err := r.echo(t.Context(), "after", mixed[:3]); err != nil {
		t.Fatal(err)
	}
	r.startedOnce(t, 3)
}

// rareCalls: an idle session with no stream may lapse, and calls far apart all
// succeed. A session that lapsed is replaced as an application would.
func rareCalls(t *testing.T, r *rig) {
	for i := range 60 {
		if err := r.echo(t.Context(), fmt.Sprintf("rpc%d", i), []int{100}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
	}
	r.startedOnce(t, 60)
}

// registryClosed: every RPC ends once, and says why.
func registryClosed(t *testing.T, r *rig) {
	st, err := r.open(t.Context(), methodEcho, "echo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Headers(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.reg.Close()
	if _, err := st.Recv(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("received %v, want EOF", err)
	}
	// An exchange on its way finds no session any more; both are true.
	reasons := []string{engine.ReasonDrained, engine.ReasonUnknown}
	if end := st.Status(); end.Status != codeUnavailable || !slices.Contains(reasons, end.Reason) {
		t.Errorf("status %+v, want UNAVAILABLE for one of %v", end, reasons)
	}
	<-r.client.Done()
}
