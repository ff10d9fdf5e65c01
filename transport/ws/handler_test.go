package ws_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/pollbridge/pollbridge/internal/transporttest/fake"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/access"
	"github.com/pollbridge/pollbridge/transport/ws"
)

const maxBatch = 100 << 10

func handler(t *testing.T, acceptor transport.Acceptor) *ws.Handler {
	t.Helper()
	policy, err := access.New(access.Config{AllowOrigins: []string{"https://app.example"}})
	if err != nil {
		t.Fatal(err)
	}
	return ws.New(acceptor, ws.Config{Access: policy, MaxBatch: maxBatch})
}

// mounted mounts a handler as a bridge does.
func mounted(h *ws.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/bridge/v1/{sid}/ws", h)
	return mux
}

// serve serves a handler over a real socket.
func serve(t *testing.T, acceptor transport.Acceptor) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(mounted(handler(t, acceptor)))
	t.Cleanup(s.Close)
	return s
}

func dial(t *testing.T, s *httptest.Server) *websocket.Conn {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), s.URL+"/bridge/v1/c2lk/ws", &websocket.DialOptions{
		HTTPClient:      s.Client(),
		Subprotocols:    []string{"other", ws.Subprotocol},
		CompressionMode: websocket.CompressionContextTakeover,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { c.CloseNow() })
	return c
}

func write(t *testing.T, c *websocket.Conn, message []byte) {
	t.Helper()
	if err := c.Write(t.Context(), websocket.MessageBinary, message); err != nil {
		t.Fatal(err)
	}
}

// expect reads one binary message.
func expect(t *testing.T, c *websocket.Conn, want []byte) {
	t.Helper()
	kind, got, err := c.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if kind != websocket.MessageBinary || !bytes.Equal(got, want) {
		t.Fatalf("message of kind %v with %d bytes, want binary with %d", kind, len(got), len(want))
	}
}

// expectClose reads the close frame.
func expectClose(t *testing.T, c *websocket.Conn, code websocket.StatusCode, reason string) {
	t.Helper()
	_, _, err := c.Read(t.Context())
	closed, ok := errors.AsType[websocket.CloseError](err)
	if !ok || closed.Code != code || !strings.Contains(closed.Reason, reason) {
		t.Fatalf("%v, want close %d %q", err, code, reason)
	}
}

func TestBatchesBothWays(t *testing.T) {
	acceptor := fake.New(1)
	s := serve(t, acceptor)
	c := dial(t, s)
	if c.Subprotocol() != ws.Subprotocol {
		t.Errorf("subprotocol %q", c.Subprotocol())
	}
	batches := [][]byte{[]byte("first"), {}, bytes.Repeat([]byte{0xb1}, 4095), bytes.Repeat([]byte{0xd6}, maxBatch), []byte("last")}
	for _, b := range batches {
		write(t, c, b)
	}
	link := <-acceptor.Links
	if got := link.Hello; got.Kind != transport.WS || got.Session != "c2lk" || got.RemoteAddr != "127.0.0.1" || got.TooLarge != 0 {
		t.Errorf("hello %v of session %s from %s, limit %d", got.Kind, got.Session, got.RemoteAddr, got.TooLarge)
	}
	if got := link.Hello; got.Method != http.MethodGet || got.URI != "/bridge/v1/c2lk/ws" || got.Host == "" || got.TLS != nil || got.Header.Get("Upgrade") == "" {
		t.Errorf("hello of %s %s at %q, TLS %v, header %v", got.Method, got.URI, got.Host, got.TLS, got.Header)
	}
	if !bytes.Equal(link.Hello.Batch, batches[0]) {
		t.Errorf("first batch %q", link.Hello.Batch)
	}
	for i, want := range batches[1:] {
		if got := <-link.Delivered; !bytes.Equal(got, want) {
			t.Fatalf("batch %d has %d bytes, want %d", i+1, len(got), len(want))
		}
	}
	for _, n := range []int{1, 100, 125, 126, 127, 1024, 4096, 1<<16 - 1, 1 << 16, 5} {
		b := bytes.Repeat([]byte{byte(n)}, n)
		link.Say <- b
		expect(t, c, b)
	}
	link.Say <- make([]byte, 2*maxBatch) // the link is asked for less
	expect(t, c, make([]byte, maxBatch))
	c.Close(websocket.StatusNormalClosure, "")
	<-link.Closed
}

func TestRefusedBeforeTheUpgrade(t *testing.T) {
	upgrade := http.Header{
		"Connection":             {"Upgrade"},
		"Upgrade":                {"websocket"},
		"Sec-Websocket-Version":  {"13"},
		"Sec-Websocket-Key":      {"AAAAAAAAAAAAAAAAAAAAAA=="},
		"Sec-Websocket-Protocol": {"other, pollbridge.v1"},
	}
	tests := []struct {
		name, method, path string
		change             http.Header // nil value: header left out
		status             int
		want               string
	}{
		{name: "accepted", status: 101},
		{name: "accepted from an allowed page", change: http.Header{"Origin": {"https://app.example"}, "Sec-Fetch-Site": {"cross-site"}}, status: 101},
		{name: "from elsewhere", change: http.Header{"Origin": {"https://evil.example"}}, status: 403, want: "--allow-origin https://evil.example"},
		{name: "from null", change: http.Header{"Origin": {"null"}}, status: 403},
		{name: "no subprotocol", change: http.Header{"Sec-Websocket-Protocol": nil}, status: 400, want: "want the WebSocket subprotocol pollbridge.v1"},
		{name: "wrong subprotocol", change: http.Header{"Sec-Websocket-Protocol": {"pollbridge.v2"}}, status: 400, want: "pollbridge.v2"},
		{name: "upgrade stripped", change: http.Header{"Upgrade": nil, "Connection": nil}, status: 426},
		{name: "bad key", change: http.Header{"Sec-Websocket-Key": {"x"}}, status: 400},
		{name: "old version", change: http.Header{"Sec-Websocket-Version": {"8"}}, status: 400},
		{name: "POST", method: http.MethodPost, status: 405, want: "only GET"},
		{name: "POST of a page that may", method: http.MethodPost, change: http.Header{"Origin": {"https://app.example"}, "Sec-Fetch-Site": {"cross-site"}}, status: 405, want: "only GET"},
		{name: "POST that asks why", method: http.MethodPost, change: http.Header{"Origin": {"http://localhost:5173"}, "Sec-Fetch-Site": {"same-origin"}}, status: 403, want: "--allow-origin http://localhost:5173"},
		{name: "other path", path: "/bridge/v1/c2lk/wss", status: 404},
	}
	acceptor := fake.New(0)
	s := serve(t, acceptor)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := "/bridge/v1/c2lk/ws"
			if tt.path != "" {
				path = tt.path
			}
			req, err := http.NewRequest(tt.method, s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range []http.Header{upgrade, tt.change} {
				maps.Copy(req.Header, h)
			}
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tt.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.status)
			}
			if resp.StatusCode == http.StatusSwitchingProtocols {
				return
			}
			if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), tt.want) {
				t.Errorf("%q, %v; want %q", body, err, tt.want)
			}
		})
	}
}

func TestBadMessages(t *testing.T) {
	t.Run("text first", func(t *testing.T) {
		c := dial(t, serve(t, fake.New(0)))
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		expectClose(t, c, ws.CloseText, "binary")
	})
	t.Run("text later", func(t *testing.T) {
		acceptor := fake.New(1)
		c := dial(t, serve(t, acceptor))
		write(t, c, []byte("first"))
		if err := c.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		expectClose(t, c, ws.CloseText, "binary")
		link := <-acceptor.Links
		<-link.Closed
		if len(link.Delivered) != 0 {
			t.Error("a text message was delivered")
		}
	})
	t.Run("too large first", func(t *testing.T) {
		acceptor := fake.New(1)
		acceptor.Answer = func(h transport.Hello) []byte { return fmt.Appendf(nil, "%d %d", len(h.Batch), h.TooLarge) }
		c := dial(t, serve(t, acceptor))
		write(t, c, make([]byte, maxBatch+1))
		expect(t, c, []byte("0 102400"))
		expectClose(t, c, ws.CloseTooLarge, "limit of 102400 bytes")
		<-(<-acceptor.Links).Closed
	})
	t.Run("too large later", func(t *testing.T) {
		acceptor := fake.New(1)
		c := dial(t, serve(t, acceptor))
		write(t, c, []byte("first"))
		write(t, c, make([]byte, 3*maxBatch))
		expectClose(t, c, ws.CloseTooLarge, "limit of 102400 bytes")
		link := <-acceptor.Links
		<-link.Closed
		if len(link.Delivered) != 0 {
			t.Error("part of a message over the limit was delivered")
		}
	})
	t.Run("protocol violation", func(t *testing.T) {
		acceptor := fake.New(1)
		c := dial(t, serve(t, acceptor))
		write(t, c, []byte("first"))
		link := <-acceptor.Links
		violation := errors.New("protocol violation")
		link.Failure.Store(&violation)
		write(t, c, []byte("second"))
		write(t, c, []byte("third"))
		if got := <-link.Delivered; string(got) != "second" {
			t.Errorf("delivered %q", got)
		}
		link.Say <- []byte("why")
		expect(t, c, []byte("why"))
		link.End <- transport.ErrSessionOver
		expectClose(t, c, ws.CloseSession, "")
		<-link.Closed
		if len(link.Delivered) != 0 {
			t.Error("delivered to a link after its error")
		}
	})
}

func TestCloseCodes(t *testing.T) {
	tests := []struct {
		err  error
		want websocket.StatusCode
	}{
		{transport.ErrLinkDone, 1000},
		{transport.ErrReplaced, 3409},
		{transport.ErrMute, 3408},
		{transport.ErrUnavailable, 1013},
		{transport.ErrSessionOver, 3500},
		{transport.ErrDraining, 3503},
	}
	for _, tt := range tests {
		t.Run(tt.err.Error(), func(t *testing.T) {
			acceptor := fake.New(1)
			c := dial(t, serve(t, acceptor))
			write(t, c, []byte("first"))
			link := <-acceptor.Links
			link.Say <- []byte("last")
			link.End <- tt.err
			expect(t, c, []byte("last"))
			expectClose(t, c, tt.want, "")
			<-link.Closed
		})
	}
}

func TestPeerGone(t *testing.T) {
	tests := []struct {
		name string
		gone func(*websocket.Conn)
	}{
		{"cut", func(c *websocket.Conn) { c.CloseNow() }},
		{"closed", func(c *websocket.Conn) { c.Close(websocket.StatusGoingAway, "bye") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			acceptor := fake.New(1)
			c := dial(t, serve(t, acceptor))
			write(t, c, []byte("first"))
			link := <-acceptor.Links
			tt.gone(c)
			<-link.Closed
		})
	}
}

// TestEarlyFirstMessage sends the first batch in one packet with the request.
func TestEarlyFirstMessage(t *testing.T) {
	for _, n := range []int{5, 125, 3000} {
		acceptor := fake.New(1)
		s := serve(t, acceptor)
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		request := "GET /bridge/v1/c2lk/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: pollbridge.v1\r\n\r\n"
		batch := bytes.Repeat([]byte("x"), n)
		if _, err := io.WriteString(conn, request+maskedFrame(batch)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", resp, err)
		}
		link := <-acceptor.Links
		if !bytes.Equal(link.Hello.Batch, batch) {
			t.Errorf("first batch of %d bytes, want %d", len(link.Hello.Batch), n)
		}
		conn.Close()
		<-link.Closed
	}
}

// maskedFrame is a binary message under the mask 0.
func maskedFrame(p []byte) string {
	head := []byte{0x82, 0x80 | byte(len(p))}
	if len(p) > 125 {
		head = []byte{0x82, 0x80 | 126, byte(len(p) >> 8), byte(len(p))}
	}
	return string(head) + "\x00\x00\x00\x00" + string(p)
}

// TestIdle: an idle link is asked again after Wake, any number of times, and a
// socket may end while its link is idle.
func TestIdle(t *testing.T) {
	acceptor := fake.New(1)
	c := dial(t, serve(t, acceptor))
	write(t, c, []byte("first"))
	link := <-acceptor.Links
	link.Say <- []byte("awake") // a link is not idle before
	expect(t, c, []byte("awake"))
	for i := range 3 {
		link.End <- transport.ErrIdle
		said := fmt.Appendf(nil, "said %d", i)
		link.Say <- said
		link.Hello.Wake()
		expect(t, c, said)
		heard := fmt.Appendf(nil, "heard %d", i)
		write(t, c, heard)
		if got := <-link.Delivered; !bytes.Equal(got, heard) {
			t.Fatalf("delivered %q, want %q", got, heard)
		}
	}
	link.End <- transport.ErrIdle
	c.CloseNow()
	<-link.Closed
	link.Hello.Wake() // too late, and harmless
}

// TestClosedAfterIdle: a link that was idle may end its socket.
func TestClosedAfterIdle(t *testing.T) {
	acceptor := fake.New(1)
	c := dial(t, serve(t, acceptor))
	write(t, c, []byte("first"))
	link := <-acceptor.Links
	link.Say <- []byte("awake")
	expect(t, c, []byte("awake"))
	link.End <- transport.ErrIdle
	link.Hello.Wake()
	link.End <- transport.ErrReplaced
	expectClose(t, c, ws.CloseReplaced, "")
	<-link.Closed
}
