// Package fake is a transport.Acceptor whose links a test holds in its hand.
package fake

import (
	"context"
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

	Breach atomic.Pointer[error] // what Deliver returns
}

// Deliver implements transport.Link.
func (l *Link) Deliver(batch []byte) error {
	l.Delivered <- batch
	if err := l.Breach.Load(); err != nil {
		return *err
	}
	return nil
}

// Next implements transport.Link. All that was said comes before the end.
func (l *Link) Next(ctx context.Context, dst []byte, max int) ([]byte, error) {
	var end error
	select {
	case batch := <-l.Say:
		return append(dst, batch[:min(len(batch), max)]...), nil
	case end = <-l.End:
	case <-ctx.Done():
		if cause := context.Cause(ctx); cause != transport.ErrAnswerNow {
			return nil, cause
		}
		return append(dst, "now"...), nil
	}
	select {
	case batch := <-l.Say:
		l.End <- end
		return append(dst, batch[:min(len(batch), max)]...), nil
	default:
		return nil, end
	}
}

// Close implements transport.Link.
func (l *Link) Close() { close(l.Closed) }
