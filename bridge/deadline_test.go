package bridge_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

// ask is a request whose answer nobody reads.
type ask struct {
	admin        bool
	method, path string
	headers      []string // in pairs
	body         string
	onlyHTTP1    bool
}

const checkRun = `{"run":"AAAAAAAAAAAAAAAAAAAAAA","n":1`

// asks has each route, and each way in which one refuses.
var asks = map[string]ask{
	"client":           {method: "GET", path: "/bridge/client.js"},
	"later":            {method: "GET", path: "/bridge/later.js"},
	"global":           {method: "GET", path: "/bridge/client.global.js"},
	"script, 405":      {method: "POST", path: "/bridge/client.js"},
	"page":             {method: "GET", path: "/bridge/check"},
	"page's file":      {method: "GET", path: "/bridge/check/check.js"},
	"diagnose":         {method: "GET", path: "/bridge/diagnose.js"},
	"nonce":            {method: "GET", path: "/bridge/v1/check/nonce"},
	"echo":             {method: "POST", path: "/bridge/v1/check/echo", body: checkRun + `,"down":100000}` + "\n"},
	"echo, in pieces":  {method: "POST", path: "/bridge/v1/check/echo", body: checkRun + `,"stream":"padded"}` + "\n"},
	"echo, refused":    {method: "POST", path: "/bridge/v1/check/echo", body: "{}"},
	"check's socket":   {method: "GET", path: "/bridge/v1/check/ws?run=AAAAAAAAAAAAAAAAAAAAAA&n=1"},
	"poll, garbled":    {method: "POST", path: "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", headers: []string{"content-type", "application/octet-stream"}, body: "x"},
	"poll, preflight":  {method: "OPTIONS", path: "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", headers: []string{"origin", "https://good.example"}},
	"poll, 403":        {method: "POST", path: "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", headers: []string{"origin", "https://evil.example"}},
	"poll, 405":        {method: "GET", path: "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll"},
	"bundle, 400":      {method: "POST", path: "/bridge/v1/g/bundle", headers: []string{"content-type", "application/octet-stream"}, body: "x"},
	"socket, 400":      {method: "GET", path: "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/ws"},
	"socket, no 101":   {method: "GET", path: "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/ws", headers: []string{"sec-websocket-protocol", "pollbridge.v1"}},
	"404":              {method: "GET", path: "/bridge/nothing"},
	"metrics":          {admin: true, method: "GET", path: "/metrics"},
	"healthz":          {admin: true, method: "GET", path: "/healthz"},
	"readyz":           {admin: true, method: "GET", path: "/readyz"},
	"admin's 404":      {admin: true, method: "GET", path: "/"},
	"connect":          {method: "POST", path: echopb.Echo_Unary_FullMethodName, headers: []string{"content-type", "application/proto"}, body: script(nil, &echopb.Script{ReplyBytes: 1 << 20})},
	"connect, stream":  {method: "POST", path: echopb.Echo_ServerStream_FullMethodName, headers: []string{"content-type", "application/connect+proto"}, body: script(envelope, &echopb.Script{Replies: 100, ReplyBytes: 1 << 18})},
	"grpc-web, stream": {method: "POST", path: echopb.Echo_ServerStream_FullMethodName, headers: []string{"content-type", "application/grpc-web-text"}, body: base64.StdEncoding.EncodeToString([]byte(script(envelope, &echopb.Script{Replies: 100, ReplyBytes: 1 << 18})))},
	"rpc, 415":         {method: "POST", path: echopb.Echo_Unary_FullMethodName, headers: []string{"content-type", "text/html"}, body: "x"},
	"socket, open":     {method: "GET", path: "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/ws", headers: upgradeHeaders, onlyHTTP1: true},
	"check's, open":    {method: "GET", path: "/bridge/v1/check/ws?run=AAAAAAAAAAAAAAAAAAAAAA&n=2", headers: upgradeHeaders, onlyHTTP1: true},
	"poll, in a crowd": {method: "POST", path: "/bridge/v1/AAAAAAAAAAAAAAAAAAAAAA/poll", headers: []string{"content-type", "application/octet-stream"}, body: strings.Repeat("x", 3<<20)},
}

// script is a request of the echo service's, after what wrap puts before it.
func script(wrap func([]byte) []byte, s *echopb.Script) string {
	b, err := proto.Marshal(&echopb.Request{Number: 1, Script: s})
	if err != nil {
		panic(err)
	}
	if wrap != nil {
		b = wrap(b)
	}
	return string(b)
}

// envelope is a message of a stream.
func envelope(b []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
}

var upgradeHeaders = []string{
	"connection", "Upgrade", "upgrade", "websocket", "sec-websocket-version", "13",
	"sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==", "sec-websocket-protocol", "pollbridge.v1",
}

// TestDeadline_everyAnswer: who does not read an answer loses it, and its
// handler ends, over HTTP/1 with the HTTP connection, over HTTP/2 with the
// stream.
func TestDeadline_everyAnswer(t *testing.T) {
	for name, a := range asks {
		t.Run("HTTP1 "+name, func(t *testing.T) { deadlineTest(t, a, unreadHTTP1) })
		if !a.onlyHTTP1 {
			t.Run("HTTP2 "+name, func(t *testing.T) { deadlineTest(t, a, unreadHTTP2) })
		}
	}
}

// deadlineTest has a server of a bridge asked. unread sends the request over
// conn, and returns a function that fails unless the server gave up.
func deadlineTest(t *testing.T, a ask, unread func(*testing.T, net.Conn, ask) (over func() error)) {
	synctest.Test(t, func(t *testing.T) {
		conn, handlers := serveOne(t, a.admin, 0)
		over := unread(t, conn, a)
		synctest.Wait()
		if handlers.began.Load() == 0 {
			t.Fatal("the request did not come")
		}
		// A piece may take as long as the timeout, and these have few.
		time.Sleep(4 * httpwrite.Timeout)
		synctest.Wait()
		if n := handlers.began.Load() - handlers.ended.Load(); n != 0 {
			t.Errorf("%d handlers run", n)
		}
		if err := over(); err != nil {
			t.Error(err)
		}
	})
}

// counts counts handlers.
type counts struct{ began, ended atomic.Int64 }

// serveOne serves a bridge, or its admin handler, on one connection, and counts
// handlers.
func serveOne(t *testing.T, admin bool, writeTimeout time.Duration) (net.Conn, *counts) {
	srv, _ := newServer(t, bridge.Config{AllowOrigins: []string{"https://good.example"}, Check: true, RPC: true})
	handler := http.Handler(srv)
	if admin {
		handler = srv.AdminHandler()
	}
	n := new(counts)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.began.Add(1)
		defer n.ended.Add(1)
		handler.ServeHTTP(w, r)
	}), Protocols: new(http.Protocols), WriteTimeout: writeTimeout}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	here, there := net.Pipe()
	listener := &oneConn{conn: there, done: make(chan struct{})}
	go func() { _ = server.Serve(listener) }() // until Close
	t.Cleanup(func() {
		server.Close()
		here.Close()
	})
	return here, n
}

// TestDeadline_quietStream: an answer that is a stream may be quiet for longer
// than any deadline, the server's own among them.
func TestDeadline_quietStream(t *testing.T) {
	for _, name := range []string{"HTTP1", "HTTP2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, _ := serveOne(t, false, time.Minute)
				transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
				transport.Protocols.SetHTTP1(name == "HTTP1")
				transport.Protocols.SetUnencryptedHTTP2(name == "HTTP2")
				body := script(envelope, &echopb.Script{Replies: 3, ReplyBytes: 1 << 20, DelayMs: 600_000, HeadersFirst: true})
				resp, err := (&http.Client{Transport: transport}).Post("http://bridge.example"+echopb.Echo_ServerStream_FullMethodName, "application/connect+proto", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				got, err := io.ReadAll(resp.Body)
				if err != nil || len(got) < 3<<20 || !strings.HasSuffix(string(got), "{}") {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				transport.CloseIdleConnections()
			})
		})
	}
}

// unreadHTTP1 reads nothing, so that not a byte of an answer leaves.
func unreadHTTP1(t *testing.T, conn net.Conn, a ask) func() error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: bridge.example\r\nContent-Length: %d\r\n", a.method, a.path, len(a.body))
	for i := 0; i < len(a.headers); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", a.headers[i], a.headers[i+1])
	}
	b.WriteString("\r\n" + a.body)
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(b.Bytes())
		written <- err
	}()
	return func() error {
		_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := conn.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			return fmt.Errorf("the connection is not closed: %w", err)
		}
		<-written
		return nil
	}
}

// unreadHTTP2 gives the stream no window, so that no byte of a body leaves.
func unreadHTTP2(t *testing.T, conn net.Conn, a ask) func() error {
	ended := make(chan string, 1)
	ready := make(chan struct{})
	framer := http2.NewFramer(conn, conn)
	go func() {
		defer close(ended)
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			switch f := frame.(type) {
			case *http2.SettingsFrame:
				if f.IsAck() {
					close(ready)
				}
			case *http2.RSTStreamFrame:
				ended <- "reset"
			case *http2.HeadersFrame: // of an answer without a body
				if f.StreamEnded() {
					ended <- "no body"
				}
			case *http2.DataFrame:
				if f.StreamEnded() && len(f.Data()) == 0 {
					ended <- "no body"
				}
			}
		}
	}()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := io.WriteString(conn, http2.ClientPreface)
	check(err)
	check(framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	<-ready
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	fields := append([]string{":method", a.method, ":scheme", "http", ":authority", "bridge.example", ":path", a.path}, a.headers...)
	for i := 0; i < len(fields); i += 2 {
		check(encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}))
	}
	check(framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: a.body == ""}))
	for body := a.body[:min(len(a.body), 64<<10-1)]; len(body) > 0; { // the window that the server gives
		piece := body[:min(len(body), 16<<10)]
		body = body[len(piece):]
		check(framer.WriteData(1, body == "", []byte(piece)))
	}
	return func() error {
		select {
		case <-ended:
			return nil
		default:
			return errors.New("the stream is not over")
		}
	}
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn net.Conn
	done chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	close(l.done)
	return nil
}

func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }
