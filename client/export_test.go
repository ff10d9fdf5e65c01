package client

import (
	"context"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/pollbridge/pollbridge/internal/dialer"
	"github.com/pollbridge/pollbridge/internal/httpclient"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// Names that the tests share with the package.
type RPC = rpc

const Release = release

var (
	EndError   = endError
	EndTrailer = endTrailer
)

// NewCarrier returns the carrier that a Channel to url would use.
func NewCarrier(url string, cfg Config) (dialer.Carrier, func(), error) {
	to, err := httpclient.ParseURL(url)
	if err != nil {
		return nil, nil, err
	}
	c := newCarrier(to.Base, &cfg)
	return c, c.close, nil
}

// ExchangeTransport is what exchanges of a Channel with cfg go through.
func ExchangeTransport(cfg Config) *http.Transport {
	return newCarrier("http://bridge.test", &cfg).posts.Transport.(*http.Transport)
}

// Outgoing is the request metadata of an RPC on a Channel to url.
func Outgoing(ctx context.Context, url, method string, opts ...grpc.CallOption) (metadata.MD, error) {
	c, err := New(url, Config{Lazy: true, UserAgent: "app/1"})
	if err != nil {
		return nil, err
	}
	options, err := parseOptions(opts)
	if err != nil {
		return nil, err
	}
	list, err := c.outgoing(ctx, method, &options)
	return incoming(list), err
}

// FakeCaller opens RPCs by a function.
type FakeCaller func(context.Context, wire.Open) (RPC, error)

func (f FakeCaller) call(ctx context.Context, open wire.Open) (rpc, func(), error) {
	r, err := f(ctx, open)
	return r, func() {}, err
}

func (f FakeCaller) isClosed() bool { return false }

func (f FakeCaller) peer() peer.Peer { return peer.Peer{Addr: bridgeAddr("bridge.test")} }

// NewStream opens an RPC by f.
func (f FakeCaller) NewStream(ctx context.Context, desc *grpc.StreamDesc, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	options, err := parseOptions(opts)
	if err != nil {
		return nil, err
	}
	s := &clientStream{ctx: ctx, desc: desc, options: options, channel: f}
	s.open.WaitForReady = options.waitForReady
	if err := s.begin(); err != nil {
		return nil, err
	}
	s.watch()
	return s, nil
}
