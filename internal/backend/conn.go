package backend

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Conn adapts the pool to generated code, for RPCs of the bridge itself. An RPC
// waits for a channel until its context ends.
func (p *Pool) Conn() grpc.ClientConnInterface { return conn{p} }

type conn struct{ pool *Pool }

var errNoUnary = errors.New("backend: only streams")

// Invoke implements grpc.ClientConnInterface. It is not supported: the bridge
// itself makes streams only.
func (conn) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return errNoUnary }

// NewStream implements grpc.ClientConnInterface. The place on the channel is
// freed when ctx ends.
func (c conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	group, channel, err := c.pool.acquire(CallOptions{})
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	stream, err := channel.cc.NewStream(ctx, desc, method, append(c.pool.base[:len(c.pool.base):len(c.pool.base)], opts...)...)
	if err != nil {
		c.pool.release(group, channel)
		return nil, err
	}
	context.AfterFunc(ctx, func() { c.pool.release(group, channel) })
	return stream, nil
}
