package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"connectrpc.com/connect"
	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/client"
)

// Names of ways.
const (
	native       = "grpc-go, no hop"
	proxy        = "grpc-go proxy"
	ws           = "Pollbridge ws"
	longpoll     = "Pollbridge longpoll"
	gwpHTTP      = "grpcwebproxy, HTTP/1.1"
	gwpWS        = "grpcwebproxy, WebSocket"
	connectFront = "connect-go, HTTP/1.1"
	rpcGRPC      = "Pollbridge --rpc, gRPC"
	rpcWeb       = "Pollbridge --rpc, gRPC-Web, HTTP/1.1"
	rpcConnect   = "Pollbridge --rpc, Connect, HTTP/1.1"
)

// conn is a connection that RPCs go over.
type conn interface {
	grpc.ClientConnInterface
	Close() error
}

// A way is one way from here to the backend.
type way struct {
	name   string
	hop    *process   // what is measured; nil: nothing stands between
	beside []*process // what is measured together with it
	dial   func() (conn, error)

	conns []conn // kept from one sample to the next
}

// open returns n connections.
func (w *way) open(n int) ([]conn, error) {
	for len(w.conns) < n {
		c, err := w.dial()
		if err != nil {
			return nil, err
		}
		w.conns = append(w.conns, c)
	}
	return w.conns[:n], nil
}

func (w *way) close() error {
	var errs []error
	for _, c := range w.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// ways starts the hops, and returns the ways through those that could be
// started. Why others could not is noted.
func (l *lab) ways(ctx context.Context, s *section) (map[string]*way, error) {
	forward, err := l.role(ctx, "proxy", l.backend.addr)
	if err != nil {
		return nil, err
	}
	bridge, err := l.bridge(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]*way{}
	add := func(name string, hop *process, dial func() (conn, error)) {
		w := &way{name: name, hop: hop, dial: dial}
		all[name] = w
		l.closers = append(l.closers, w.close)
	}
	add(native, nil, func() (conn, error) { return dialGRPC(l.backend.addr) })
	add(proxy, forward, func() (conn, error) { return dialGRPC(forward.addr) })
	for name, transport := range map[string]string{ws: "ws", longpoll: "longpoll"} {
		add(name, bridge, func() (conn, error) {
			return client.New("http://"+bridge.addr, client.Config{Transports: []string{transport}})
		})
	}
	if err := l.rpcWays(ctx, add); err != nil {
		s.note("bridge serve --rpc: %v", err)
	}
	if l.cfg.ownOnly {
		return all, nil
	}
	if front, err := l.role(ctx, "connect", l.backend.addr); err != nil {
		s.note("connect-go: %v", err)
	} else {
		add(connectFront, front, func() (conn, error) { return newConnectConn(front.addr), nil })
	}
	if gwp, err := l.grpcwebproxy(ctx); err != nil {
		s.note("grpcwebproxy: %v", err)
	} else {
		add(gwpHTTP, gwp, func() (conn, error) { return newConnectConn(gwp.addr, connect.WithGRPCWeb()), nil })
		add(gwpWS, gwp, func() (conn, error) { return webSocketConn(gwp.addr), nil })
	}
	return all, nil
}

// rpcWays adds the ways through a bridge with --rpc, if they are measured: an older
// bridge has none.
func (l *lab) rpcWays(ctx context.Context, add func(name string, hop *process, dial func() (conn, error))) error {
	if !slices.ContainsFunc([]string{rpcGRPC, rpcWeb, rpcConnect}, l.cfg.measuresWay) {
		return nil
	}
	b, err := l.bridge(ctx, "--rpc")
	if err != nil {
		return err
	}
	add(rpcGRPC, b, func() (conn, error) { return dialGRPC(b.addr) })
	add(rpcWeb, b, func() (conn, error) { return newConnectConn(b.addr, connect.WithGRPCWeb()), nil })
	add(rpcConnect, b, func() (conn, error) { return newConnectConn(b.addr), nil })
	return nil
}

// connectConn makes unary RPCs and server streams by connect-go, over one
// HTTP/1.1 connection for each that is under way.
type connectConn struct {
	http          *http.Transport
	unary, stream *connect.Client[message, message]
}

func newConnectConn(addr string, opts ...connect.ClientOption) *connectConn {
	c := &connectConn{http: &http.Transport{MaxIdleConnsPerHost: 64}}
	web := &http.Client{Transport: c.http}
	c.unary = connect.NewClient[message, message](web, "http://"+addr+unaryMethod, opts...)
	c.stream = connect.NewClient[message, message](web, "http://"+addr+streamMethod, opts...)
	return c
}

// Invoke calls unaryMethod.
func (c *connectConn) Invoke(ctx context.Context, _ string, args, reply any, _ ...grpc.CallOption) error {
	answer, err := c.unary.CallUnary(ctx, connect.NewRequest(args.(*message)))
	if err == nil {
		reply.(*message).Value = answer.Msg.Value
	}
	return err
}

// NewStream begins a call of streamMethod.
func (c *connectConn) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	return &connectStream{ctx: ctx, conn: c}, nil
}

func (c *connectConn) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// connectStream is a server stream. It has only the methods that are used.
type connectStream struct {
	grpc.ClientStream
	ctx  context.Context
	conn *connectConn
	in   *connect.ServerStreamForClient[message]
}

func (s *connectStream) SendMsg(m any) (err error) {
	s.in, err = s.conn.stream.CallServerStream(s.ctx, connect.NewRequest(m.(*message)))
	return err
}

func (s *connectStream) CloseSend() error { return nil }

func (s *connectStream) RecvMsg(m any) error {
	if !s.in.Receive() {
		return errors.Join(io.EOF, s.in.Err())
	}
	m.(*message).Value = s.in.Msg().Value
	return nil
}

// webSocketConn makes streams over grpcwebproxy's WebSockets, one for each. Its
// value is the address.
type webSocketConn string

func (webSocketConn) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return errors.ErrUnsupported
}

func (webSocketConn) Close() error { return nil }

func (c webSocketConn) NewStream(ctx context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	socket, _, err := websocket.Dial(ctx, "ws://"+string(c)+method, &websocket.DialOptions{Subprotocols: []string{"grpc-websockets"}})
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = socket.CloseNow() })
	// A context that can end costs each read and write a goroutine.
	s := &webSocketStream{ctx: context.WithoutCancel(ctx), socket: socket}
	return s, socket.Write(s.ctx, websocket.MessageBinary, []byte("content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n"))
}

// webSocketStream has only the methods that are used.
type webSocketStream struct {
	grpc.ClientStream
	ctx    context.Context
	socket *websocket.Conn
	rest   bytes.Buffer // of what came
}

const (
	grpcPrefix  = 5    // a flag and the length before each gRPC-Web message
	trailerFlag = 0x80 // of the headers, and of the trailers
)

func (s *webSocketStream) SendMsg(m any) error {
	payload, err := proto.Marshal(m.(*message))
	if err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(len(payload))) // more follows; a message
	return s.socket.Write(s.ctx, websocket.MessageBinary, append(b, payload...))
}

func (s *webSocketStream) CloseSend() error {
	return s.socket.Write(s.ctx, websocket.MessageBinary, []byte{1})
}

// RecvMsg reads one message. grpcwebproxy sends its prefix and its bytes in
// WebSocket messages of their own, and the headers before.
func (s *webSocketStream) RecvMsg(m any) error {
	for {
		prefix, err := s.next(grpcPrefix)
		if err != nil {
			return err
		}
		headers := prefix[0] == trailerFlag
		payload, err := s.next(int(binary.BigEndian.Uint32(prefix[1:])))
		switch {
		case err != nil:
			return err
		case !headers:
			return proto.Unmarshal(payload, m.(*message))
		case bytes.Contains(bytes.ToLower(payload), []byte("grpc-status:")):
			return fmt.Errorf("the stream ended: %q", payload)
		}
	}
}

// next returns the next n bytes, which stay valid until the next call.
func (s *webSocketStream) next(n int) ([]byte, error) {
	for s.rest.Len() < n {
		_, piece, err := s.socket.Reader(s.ctx)
		if err != nil {
			return nil, err
		}
		if _, err := s.rest.ReadFrom(piece); err != nil {
			return nil, err
		}
	}
	return s.rest.Next(n), nil
}
