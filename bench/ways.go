package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/pollbridge/pollbridge/bench/light"
	"github.com/pollbridge/pollbridge/client"
)

// Names of ways.
const (
	native        = "grpc-go direct"
	proxy         = "grpc-go proxy"
	proxy400      = "grpc-go proxy, GOGC=400"
	ws            = "Pollbridge ws"
	longpoll      = "Pollbridge longpoll"
	lightWS       = "Pollbridge ws, light client"
	lightLongpoll = "Pollbridge longpoll, light client"
	gwpHTTP       = "grpcwebproxy HTTP/1.1"
	gwpWS         = "grpcwebproxy WebSocket"
	connectFront  = "connect-go HTTP/1.1 front"
	socketioWS    = "Socket.IO WebSocket (no gRPC)"
	socketioPoll  = "Socket.IO polling (no gRPC)"
	bareWS        = "coder/websocket echo (no gRPC)"
	barePOST      = "net/http POST echo (no gRPC)"
)

// clientConn is a connection of gRPC's own client code.
type clientConn interface {
	grpc.ClientConnInterface
	Close() error
}

// connWay is a way with gRPC's own client code, over connections that are kept
// from one sample to the next, until the lab closes.
func (l *lab) connWay(name string, hop *process, dial func() (clientConn, error)) *way {
	var mu sync.Mutex
	var conns []clientConn
	return &way{name: name, hop: hop, open: func(ctx context.Context, s scenario) ([]driver, func(), error) {
		mu.Lock()
		defer mu.Unlock()
		for len(conns) < s.sessions {
			conn, err := dial()
			if err != nil {
				return nil, nil, err
			}
			conns = append(conns, conn)
			l.closers = append(l.closers, conn.Close)
		}
		ctx, cancel := context.WithCancel(ctx)
		var drivers []driver
		for i := range s.sessions * s.each {
			call, err := s.caller(ctx, conns[i/s.each])
			if err != nil {
				cancel()
				return nil, nil, err
			}
			drivers = append(drivers, calling(call))
		}
		return drivers, cancel, nil
	}}
}

func (l *lab) grpcWay(name string, hop *process, addr string) *way {
	return l.connWay(name, hop, func() (clientConn, error) { return dialGRPC(addr) })
}

func (l *lab) clientWay(name string, hop *process, transport string) *way {
	return l.connWay(name, hop, func() (clientConn, error) {
		return client.New("http://"+hop.addr, client.Config{Transports: []string{transport}})
	})
}

var errEcho = errors.New("the echo differs")

// caller is one operation on a connection.
func (s scenario) caller(ctx context.Context, conn grpc.ClientConnInterface) (func() error, error) {
	m := &message{Value: s.value()}
	check := func(reply *message) error {
		if len(reply.Value) != s.size {
			return errEcho
		}
		return nil
	}
	if s.kind == unary {
		return func() error {
			reply := new(message)
			if err := conn.Invoke(ctx, unaryMethod, m, reply); err != nil {
				return err
			}
			return check(reply)
		}, nil
	}
	desc, method := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, pingPongMethod
	if s.kind == stream {
		desc, method = &grpc.StreamDesc{ServerStreams: true}, streamMethod
	}
	st, err := conn.NewStream(ctx, desc, method)
	if err != nil {
		return nil, err
	}
	if s.kind == stream {
		if err := errors.Join(st.SendMsg(m), st.CloseSend()); err != nil {
			return nil, err
		}
	}
	return func() error {
		if s.kind == pingPong {
			if err := st.SendMsg(m); err != nil {
				return err
			}
		}
		reply := new(message)
		if err := st.RecvMsg(reply); err != nil {
			return err
		}
		return check(reply)
	}, nil
}

// dialled is a client that makes one operation after another.
type dialled interface {
	Call() error
	Close() error
}

// callWay is a way of light clients, one for each RPC in flight.
func callWay[C dialled](name string, hop *process, dial func(context.Context, scenario) (C, error)) *way {
	return &way{name: name, hop: hop, open: func(ctx context.Context, s scenario) ([]driver, func(), error) {
		var drivers []driver
		var closers []func() error
		end := closing(&closers)
		for range s.sessions * s.each {
			c, err := dial(ctx, s)
			if err != nil {
				end()
				return nil, nil, err
			}
			closers = append(closers, c.Close)
			drivers = append(drivers, calling(c.Call))
		}
		return drivers, end, nil
	}}
}

// closing calls all closers, once.
func closing(closers *[]func() error) func() {
	var once sync.Once
	return func() {
		once.Do(func() {
			for _, c := range *closers {
				_ = c() // measured already
			}
		})
	}
}

// socketWay is the way of light clients with sessions over WebSockets.
func socketWay(name string, hop *process) *way {
	return &way{name: name, hop: hop, open: func(ctx context.Context, s scenario) ([]driver, func(), error) {
		var drivers []driver
		var closers []func() error
		end := closing(&closers)
		for range s.sessions {
			c, err := light.DialSocket(ctx, hop.addr)
			if err != nil {
				end()
				return nil, nil, err
			}
			closers = append(closers, c.Close)
			if s.kind == stream {
				c.Prepare(streamMethod, s.value(), light.ServerStream)
				drivers = append(drivers, c.Receive)
				continue
			}
			c.Prepare(unaryMethod, s.value(), light.Unary)
			drivers = append(drivers, func(until time.Time, done func(time.Duration)) error {
				return c.Run(until, s.each, done)
			})
		}
		return drivers, end, nil
	}}
}

// ours are the ways that need nothing from outside.
func (l *lab) ours() []*way {
	return []*way{
		l.grpcWay(native, nil, l.backend.addr),
		l.grpcWay(proxy, l.proxy, l.proxy.addr),
		l.grpcWay(proxy400, l.proxy400, l.proxy400.addr),
		l.clientWay(ws, l.bridge, "ws"),
		l.clientWay(longpoll, l.bridge, "longpoll"),
		socketWay(lightWS, l.bridge),
		callWay(lightLongpoll, l.bridge, func(ctx context.Context, s scenario) (*light.Poll, error) {
			p, err := light.DialPoll(ctx, l.bridge.addr, false)
			if err == nil {
				p.Prepare(unaryMethod, s.value(), light.Unary)
			}
			return p, err
		}),
		callWay(bareWS, l.bare, func(ctx context.Context, s scenario) (bareSocket, error) {
			w, err := light.DialWebSocket(ctx, l.bare.addr, "/", "")
			return bareSocket{w, s.value()}, err
		}),
		callWay(barePOST, l.bare, func(ctx context.Context, s scenario) (barePost, error) {
			h, err := light.DialHTTP(ctx, l.bare.addr, false)
			return barePost{h, s.value()}, err
		}),
	}
}

// rivals are the ways over other people's programs, as far as they run.
func (l *lab) rivals() []*way {
	var ways []*way
	if l.grpcwebproxy != nil {
		ways = append(ways,
			callWay(gwpHTTP, l.grpcwebproxy, func(ctx context.Context, s scenario) (*light.GRPCWeb, error) {
				return light.DialGRPCWeb(ctx, l.grpcwebproxy.addr, unaryMethod, s.value())
			}),
			callWay(gwpWS, l.grpcwebproxy, func(ctx context.Context, s scenario) (grpcWebSocket, error) {
				method := pingPongMethod
				if s.kind == stream {
					method = streamMethod
				}
				g, err := light.DialGRPCWebSocket(ctx, l.grpcwebproxy.addr, method, s.value())
				if err == nil && s.kind == stream {
					err = errors.Join(g.Send(), g.Finish())
				}
				return grpcWebSocket{g, s.kind}, err
			}))
	}
	if l.connect != nil {
		ways = append(ways, callWay(connectFront, l.connect, func(ctx context.Context, s scenario) (*light.Connect, error) {
			return light.DialConnect(ctx, l.connect.addr, unaryMethod, s.value())
		}))
	}
	if l.socketio != nil {
		ways = append(ways,
			callWay(socketioWS, l.socketio, func(ctx context.Context, s scenario) (*light.SocketIO, error) {
				return light.DialSocketIO(ctx, l.socketio.addr, s.size)
			}),
			callWay(socketioPoll, l.socketio, func(ctx context.Context, s scenario) (*light.SocketIOPolling, error) {
				return light.DialSocketIOPolling(ctx, l.socketio.addr, s.size)
			}))
	}
	return ways
}

type bareSocket struct {
	*light.WebSocket
	value []byte
}

func (b bareSocket) Call() error {
	if err := b.Write(light.Binary, b.value); err != nil {
		return err
	}
	_, err := b.Read()
	return err
}

type barePost struct {
	*light.HTTP
	value []byte
}

func (b barePost) Call() error {
	_, err := b.Do("POST", "/", "application/octet-stream", b.value)
	return err
}

type grpcWebSocket struct {
	*light.GRPCWebSocket
	kind kind
}

func (g grpcWebSocket) Call() error {
	if g.kind == pingPong {
		if err := g.Send(); err != nil {
			return err
		}
	}
	return g.Receive()
}
