package light

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

const (
	grpcPrefix  = 5    // a flag and the length before each gRPC-Web message
	trailerFlag = 0x80 // of the message that holds the trailers
)

// grpcMessage is a gRPC-Web message.
func grpcMessage(payload []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(payload)))
	return append(b, payload...)
}

// GRPCWeb calls unary methods by gRPC-Web over HTTP/1.1.
type GRPCWeb struct {
	*HTTP
	method  string
	request []byte
}

// DialGRPCWeb connects; the calls will be of a method, with a BytesValue.
func DialGRPCWeb(ctx context.Context, addr, method string, value []byte) (*GRPCWeb, error) {
	h, err := DialHTTP(ctx, addr, false)
	return &GRPCWeb{h, method, grpcMessage(BytesValue(value))}, err
}

// Call makes one call.
func (g *GRPCWeb) Call() error {
	answer, err := g.Do("POST", g.method, "application/grpc-web+proto", g.request)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(answer, g.request) || !bytes.Contains(bytes.ToLower(answer), []byte("grpc-status: 0")) && !bytes.Contains(bytes.ToLower(answer), []byte("grpc-status:0")) {
		return fmt.Errorf("gRPC-Web answered %.200q", answer)
	}
	return nil
}

// GRPCWebSocket is one RPC over grpcwebproxy's WebSocket.
type GRPCWebSocket struct {
	ws      *WebSocket
	request []byte
	seen    int // bytes of the present message of the stream
}

// DialGRPCWebSocket begins an RPC of a method.
func DialGRPCWebSocket(ctx context.Context, addr, method string, value []byte) (*GRPCWebSocket, error) {
	ws, err := DialWebSocket(ctx, addr, method, "grpc-websockets")
	if err != nil {
		return nil, err
	}
	g := &GRPCWebSocket{ws: ws, request: append([]byte{0}, grpcMessage(BytesValue(value))...)}
	return g, ws.Write(Binary, []byte("content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\n"))
}

// Close closes the connection.
func (g *GRPCWebSocket) Close() error { return g.ws.Close() }

// Send sends one message.
func (g *GRPCWebSocket) Send() error { return g.ws.Write(Binary, g.request) }

// Finish says that no more messages follow.
func (g *GRPCWebSocket) Finish() error { return g.ws.Write(Binary, []byte{1}) }

// Receive waits for one message. grpcwebproxy sends a message's prefix and its
// bytes in WebSocket messages of their own, and the headers before.
func (g *GRPCWebSocket) Receive() error {
	need := len(g.request) - 1
	for g.seen < need {
		piece, err := g.ws.Read()
		if err != nil {
			return err
		}
		if len(piece) > 0 && piece[0] == trailerFlag && g.seen == 0 {
			if bytes.Contains(bytes.ToLower(piece), []byte("grpc-status:0")) || bytes.Contains(piece, []byte("grpc-status: 0")) {
				return errors.New("the stream ended")
			}
			continue // headers
		}
		g.seen += len(piece)
	}
	g.seen -= need
	return nil
}

// Connect calls unary methods by the Connect protocol over HTTP/1.1.
type Connect struct {
	*HTTP
	method  string
	request []byte
}

// DialConnect connects; the calls will be of a method, with a BytesValue.
func DialConnect(ctx context.Context, addr, method string, value []byte) (*Connect, error) {
	h, err := DialHTTP(ctx, addr, false)
	return &Connect{h, method, BytesValue(value)}, err
}

// Call makes one call.
func (c *Connect) Call() error {
	answer, err := c.Do("POST", c.method, "application/proto", c.request)
	if err == nil && !bytes.Equal(answer, c.request) {
		err = fmt.Errorf("connect-go answered %.200q", answer)
	}
	return err
}

// Socket.IO's packets, of its protocol 5 over Engine.IO's 4, as text.
const (
	engineOpen = "0"
	enginePing = "2"
	enginePong = "3"
	ioConnect  = "40"
	ioEvent    = "42"
	separator  = "\x1e"
)

func ioEcho(size int) []byte {
	return []byte(ioEvent + `["echo","` + strings.Repeat("x", size) + `"]`)
}

// SocketIO is a client of Socket.IO over a WebSocket.
type SocketIO struct {
	ws    *WebSocket
	event []byte
}

// DialSocketIO connects; events will have size bytes.
func DialSocketIO(ctx context.Context, addr string, size int) (*SocketIO, error) {
	ws, err := DialWebSocket(ctx, addr, "/socket.io/?EIO=4&transport=websocket", "")
	if err != nil {
		return nil, err
	}
	s := &SocketIO{ws, ioEcho(size)}
	if err := s.expect(engineOpen); err != nil {
		return nil, err
	}
	if err := ws.Write(Text, []byte(ioConnect)); err != nil {
		return nil, err
	}
	return s, s.expect(ioConnect)
}

// Close closes the connection.
func (s *SocketIO) Close() error { return s.ws.Close() }

func (s *SocketIO) expect(prefix string) error {
	for {
		packet, err := s.ws.Read()
		switch {
		case err != nil:
			return err
		case string(packet) == enginePing:
			if err := s.ws.Write(Text, []byte(enginePong)); err != nil {
				return err
			}
		case bytes.HasPrefix(packet, []byte(prefix)):
			return nil
		default:
			return fmt.Errorf("Socket.IO sent %.100q, want %s", packet, prefix)
		}
	}
}

// Call has one event echoed.
func (s *SocketIO) Call() error {
	if err := s.ws.Write(Text, s.event); err != nil {
		return err
	}
	return s.expect(ioEvent)
}

// Idle answers pings until the connection ends.
func (s *SocketIO) Idle() error { return s.expect("none") }

// SocketIOPolling is a client of Socket.IO over HTTP: one connection for posts
// and one for polls, as a browser has.
type SocketIOPolling struct {
	post, poll *HTTP
	path       string
	event      []byte
}

// DialSocketIOPolling connects; events will have size bytes.
func DialSocketIOPolling(ctx context.Context, addr string, size int) (*SocketIOPolling, error) {
	s := &SocketIOPolling{path: "/socket.io/?EIO=4&transport=polling", event: ioEcho(size)}
	var err1, err2 error
	s.post, err1 = DialHTTP(ctx, addr, false)
	s.poll, err2 = DialHTTP(ctx, addr, false)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	hello, err := s.poll.Do("GET", s.path, "", nil)
	if err != nil {
		return nil, err
	}
	var open struct{ SID string }
	if err := json.Unmarshal(bytes.TrimPrefix(hello, []byte(engineOpen)), &open); err != nil {
		return nil, fmt.Errorf("Socket.IO: %.100q: %w", hello, err)
	}
	s.path += "&sid=" + open.SID
	if err := s.send(ioConnect); err != nil {
		return nil, err
	}
	return s, s.expect(ioConnect)
}

// Close closes both connections.
func (s *SocketIOPolling) Close() error { return errors.Join(s.post.Close(), s.poll.Close()) }

// ClosePost closes the idle connection for posts, as a browser does in time.
func (s *SocketIOPolling) ClosePost() error { return s.post.Close() }

func (s *SocketIOPolling) send(packet string) error {
	_, err := s.post.Do("POST", s.path, "text/plain;charset=UTF-8", []byte(packet))
	return err
}

func (s *SocketIOPolling) expect(prefix string) error {
	for {
		payload, err := s.poll.Do("GET", s.path, "", nil)
		if err != nil {
			return err
		}
		found, err := s.look(string(payload), prefix)
		if found || err != nil {
			return err
		}
	}
}

func (s *SocketIOPolling) look(payload, prefix string) (found bool, err error) {
	for packet := range strings.SplitSeq(payload, separator) {
		switch {
		case packet == enginePing:
			if err := s.send(enginePong); err != nil {
				return false, err
			}
		case strings.HasPrefix(packet, prefix):
			found = true
		case packet != "6": // noop
			return false, fmt.Errorf("Socket.IO sent %.100q, want %s", packet, prefix)
		}
	}
	return found, nil
}

// Park sends a poll that is held.
func (s *SocketIOPolling) Park() error { return s.poll.Send("GET", s.path, "", nil) }

// Call has one event echoed: a post, and the poll that the answer comes with.
func (s *SocketIOPolling) Call() error {
	if err := s.Park(); err != nil {
		return err
	}
	if err := s.send(string(s.event)); err != nil {
		return err
	}
	payload, err := s.poll.Receive()
	if err != nil {
		return err
	}
	found, err := s.look(string(payload), ioEvent)
	if found || err != nil {
		return err
	}
	return s.expect(ioEvent)
}
