package simnet

import (
	"bytes"
	"context"
	"net/http"
	"time"
)

// Serve is a bridge that takes an exchange: the body of a request in, the body
// of its answer out. The request's bytes are its own.
type Serve func(ctx context.Context, request []byte) ([]byte, error)

const (
	lateBy      = 3 * time.Minute
	lateAgain   = 5 * time.Minute
	holdRequest = 3 * time.Second
	holdAnswer  = 20 * time.Second
	cutDefault  = 10 * time.Second
	remembered  = 16 // answers, for Stale
)

// Exchange carries one exchange. An error stands for a cut or refused carriage.
func (n *Network) Exchange(ctx context.Context, request []byte, serve Serve) (*Answer, error) {
	d, err := n.draw(&n.exchanges, 0, ExchangeFaults())
	if err != nil {
		return nil, err
	}
	ctx, done := n.fly(ctx)
	defer done()
	if err := d.travel(ctx, towardsBridge, len(request)); err != nil {
		return nil, err
	}
	if err := n.deafened(ctx, towardsBridge); err != nil {
		return nil, err
	}
	body, err := d.ask(ctx, request, serve)
	if err != nil {
		return nil, err
	}
	if err := n.deafened(ctx, towardsClient); err != nil {
		return nil, err
	}
	a := d.answer(body)
	if d.fault == HoldAnswer {
		n.waitForPass(ctx, holdAnswer)
	}
	if err := d.travel(ctx, towardsClient, len(a.Body)); err != nil {
		return nil, err
	}
	n.markPass()
	return a, nil
}

// MuteExchanges makes every exchange deaf in the given directions, as on
// connections that died unseen, until the client gives one of them up.
func (n *Network) MuteExchanges(up, down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.muted = [2]bool{up, down}
}

// deafened keeps an exchange that its direction no longer carries.
func (n *Network) deafened(ctx context.Context, way int) error {
	n.mu.Lock()
	muted := n.muted[way]
	n.mu.Unlock()
	if !muted {
		return nil
	}
	<-ctx.Done()
	n.MuteExchanges(false, false)
	return context.Cause(ctx)
}

// fly makes an exchange subject to Cut.
func (n *Network) fly(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	f := &flight{cancel}
	n.mu.Lock()
	n.flights[f] = struct{}{}
	n.mu.Unlock()
	return ctx, func() {
		cancel(nil)
		n.mu.Lock()
		delete(n.flights, f)
		n.mu.Unlock()
	}
}

// ask brings the request to the bridge. A nil answer without an error means
// that the network answers in its place.
func (d *draw) ask(ctx context.Context, request []byte, serve Serve) ([]byte, error) {
	n := d.n
	switch d.fault {
	case BadStatus:
		if d.coin() {
			n.copyOf(0, request, serve)
		}
		return nil, nil
	case Inject, Empty, Deaf:
		n.copyOf(0, request, serve)
		if d.fault != Deaf {
			return nil, nil
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	case Swallow:
		<-ctx.Done()
		return nil, context.Cause(ctx)
	case Late:
		n.copyOf(time.Second+d.within(lateBy), request, serve)
		return nil, errCut
	case Dup:
		if d.coin() {
			n.copyOf(0, request, serve)
			break
		}
		defer n.copyOf(0, request, serve)
	case DupDelay:
		n.copyOf(time.Second+d.within(lateAgain), request, serve)
	case FlipRequest:
		request = d.flip(request)
	case Reorder:
		n.waitForPass(ctx, holdRequest)
	case Cut:
		n.mu.Lock()
		age := n.profile.Cut
		n.mu.Unlock()
		if age == 0 {
			age = cutDefault
		}
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, age, errCut)
		defer stop()
	}
	body, err := serve(ctx, bytes.Clone(request))
	if err == nil {
		n.remember(body)
	}
	return body, err
}

// copyOf brings a copy of a request to the bridge after a while. Nobody reads
// its answer.
func (n *Network) copyOf(after time.Duration, request []byte, serve Serve) {
	request = bytes.Clone(request)
	n.tasks.Go(func() {
		if sleep(n.ctx, after) != nil {
			return
		}
		if body, err := serve(n.ctx, request); err == nil {
			n.remember(body)
		}
	})
}

// answer spoils the bridge's answer, or stands in for it.
func (d *draw) answer(body []byte) *Answer {
	a := &Answer{Status: http.StatusOK, Body: body}
	switch d.fault {
	case BadStatus:
		a.Status = d.status()
		a.Body = []byte("<html><body>the proxy is not amused")
	case Inject:
		a.Body = []byte("<html><body><form>Please log in to the guest network")
	case Empty:
		a.Body = nil
	case Truncate:
		a.Body = body[:d.rng.IntN(len(body))]
	case DropLastByte:
		a.Body = body[:len(body)-1]
	case Flip:
		a.Body = d.flip(body)
	case Stale:
		a.Body = d.old(body)
	}
	return a
}

func (d *draw) status() int {
	d.n.mu.Lock()
	defer d.n.mu.Unlock()
	return statuses[d.rng.IntN(len(statuses))]
}

func (d *draw) flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[d.rng.IntN(len(b))] ^= 1 << d.rng.IntN(8)
	return b
}

// remember keeps an answer for Stale.
func (n *Network) remember(body []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.past) == remembered {
		n.past = n.past[1:]
	}
	n.past = append(n.past, bytes.Clone(body))
}

// old returns an earlier answer.
func (d *draw) old(body []byte) []byte {
	d.n.mu.Lock()
	defer d.n.mu.Unlock()
	if len(d.n.past) == 0 {
		return body
	}
	return d.n.past[d.rng.IntN(len(d.n.past))]
}

// waitForPass waits until another exchange has passed, for a while at most.
func (n *Network) waitForPass(ctx context.Context, most time.Duration) {
	n.mu.Lock()
	passed := n.passed
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	select {
	case <-passed:
	case <-ctx.Done():
	}
}

func (n *Network) markPass() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.passed)
	n.passed = make(chan struct{})
}
