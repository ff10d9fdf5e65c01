// Package fake is a transport.Acceptor whose links a test holds in its hand.
package fake

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/pollbridge/pollbridge/transport"
)

// Acceptor hands each link that it accepts to the test.
type Acceptor struct {
	// Links gets every link accepted. Buffer it.
	Links chan *Link
	// Answer, if not nil, is said on each link at once.
	Answer func(transport.Hello) []byte
}

// New returns an Acceptor with room for n links.
func New(n int) *Acceptor { return &Acceptor{Links: make(chan *Link, n)} }

// Accept implements transport.Acceptor.
func (a *Acceptor) Accept(_ context.Context, hello transport.Hello) transport.Link {
	l := &Link{
		Hello:     hello,
		Delivered: make(chan []byte, 1024),
		Say:       make(chan []byte, 1024),
		End:       make(chan error, 1),
		Closed:    make(chan struct{}),
	}
	if a.Answer != nil {
		l.Say <- a.Answer(hello)
	}
	a.Links <- l
	return l
}

// Link is a transport.Link of which the test is the engine.
type Link struct {
	Hello     transport.Hello
	Delivered chan []byte
	Say       chan []byte   // what Next yields
	End       chan error    // what Next returns at the end
	Closed    chan struct{} // closed by Close; a second Close panics

	Failure atomic.Pointer[error] // what Deliver returns
	Busy    atomic.Bool           // Deliver waits for its context's end
}

// Deliver implements transport.Link.
func (l *Link) Deliver(ctx context.Context, batch []byte) error {
	l.Delivered <- batch
	if l.Busy.Load() {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if err := l.Failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Next implements transport.Link. All that was said comes before the end, and
// that before the context's.
func (l *Link) Next(ctx context.Context, max int) (transport.Batch, error) {
	var batch []byte
	var err error
	select {
	case batch = <-l.Say:
	case err = <-l.End:
	default:
		select {
		case batch = <-l.Say:
		case err = <-l.End:
		case <-ctx.Done():
			if err = context.Cause(ctx); errors.Is(err, transport.ErrAnswerNow) {
				batch, err = []byte("now"), nil
			}
			return transport.Batch{batch}, err
		}
	}
	if err != nil && len(l.Say) > 0 {
		l.End <- err
		batch, err = <-l.Say, nil
	}
	return transport.Batch{batch[:min(len(batch), max)]}, err
}

// Close implements transport.Link.
func (l *Link) Close() { close(l.Closed) }
