package bridge

import (
	"context"
	"time"

	"github.com/pollbridge/pollbridge/internal/wire"
)

// Stream is what a proxy needs of a registry.Stream.
type Stream = stream

// RunRPC runs one RPC over a stream of the test's own.
func (s *Server) RunRPC(ctx context.Context, st Stream, open *wire.Open) wire.End {
	end, _ := s.serve(ctx, st, call{open: open, session: "test"})
	return end
}

// Allows tells whether the Config admits a method.
func (c Config) Allows(method string) bool { return newMethodRules(c).allows(method) }

var (
	RequestMetadata = requestMetadata
	Forwarded       = forwarded
	CallEnd         = callEnd
)

// ObserveNothing runs what an RPC does for those who watch, when nobody does.
func (s *Server) ObserveNothing(ctx context.Context, st Stream) {
	o := s.observer.begin(nil, time.Time{})
	_ = o.context(ctx)
	_ = o.watch(st)
	o.end(ctx, &wire.End{}, 0)
	s.metrics.of(sessionProtocol).completed(nil, 0, 0, o.traceID())
}
