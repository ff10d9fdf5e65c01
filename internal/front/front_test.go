package front_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/pollbridge/pollbridge/internal/front"
)

// pipes is a listener of net.Pipe.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	over  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), over: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.over) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// accept returns the next connection of those that the Front hands to gRPC, or of the
// others.
func accept(t *testing.T, f *front.Front, native bool) net.Conn {
	t.Helper()
	to := f.HTTP()
	if native {
		to = f.GRPC()
	}
	conn, err := to.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// frames are what a client sends.
func frames(write func(f *http2.Framer)) string {
	var b bytes.Buffer
	write(http2.NewFramer(&b, nil))
	return b.String()
}

func settings() string { return frames(func(f *http2.Framer) { _ = f.WriteSettings() }) }

func ack() string { return frames(func(f *http2.Framer) { _ = f.WriteSettingsAck() }) }

// head is a request's HEADERS, of pairs of names and values.
func head(pairs ...string) string {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i < len(pairs); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return frames(func(f *http2.Framer) {
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	})
}

// request is a native client's, with some fields changed or more of them.
func request(changes ...string) string {
	pairs := []string{
		":method", "POST", ":scheme", "http", ":path", "/a.B/C", ":authority", "bridge",
		"content-type", "application/grpc", "user-agent", "grpc-go/1.85.0", "te", "trailers",
	}
	for i := 0; i < len(changes); i += 2 {
		changed := false
		for j := 0; j < len(pairs); j += 2 {
			if pairs[j] == changes[i] {
				pairs[j+1], changed = changes[i+1], true
			}
		}
		if !changed {
			pairs = append(pairs, changes[i], changes[i+1])
		}
	}
	return head(pairs...)
}

const preface = http2.ClientPreface

// TestFront: whose a connection is by what its client sends first, and its server
// reads all of that.
func TestFront(t *testing.T) {
	for _, tt := range []struct {
		name, sent string
		native     bool
	}{
		{"HTTP/1.1", "POST /a.B/C HTTP/1.1\r\nContent-Type: application/grpc\r\nUser-Agent: grpc-go/1\r\n\r\n", false},
		{"HTTP/1.1 that begins like HTTP/2", "PRI * HTTP/1.1\r\n\r\n", false},
		{"half a preface", preface[:20], false},
		{"native", preface + settings() + request(), true},
		{"native, with a subtype", preface + settings() + request("content-type", "application/grpc+json"), true},
		{"native, with parameters", preface + settings() + request("content-type", "application/grpc;charset=utf-8"), true},
		{"native, of a program with a name", preface + settings() + request("user-agent", "shop/1.2 grpc-java-netty/1.70.0"), true},
		{"native, Python", preface + settings() + request("user-agent", "grpc-python/1.70.0 grpc-c/45.0.0 (linux; chttp2)"), true},
		{"native, Node", preface + settings() + request("user-agent", "grpc-node-js/1.12.0"), true},
		{"native, with metadata", preface + settings() + request("authorization", "Bearer x", "grpc-timeout", "1S"), true},
		{"gRPC-Web", preface + settings() + request("content-type", "application/grpc-web+proto"), false},
		{"Connect", preface + settings() + request("content-type", "application/proto"), false},
		{"no content type", preface + settings() + request("content-type", ""), false},
		{"Connect's client of gRPC", preface + settings() + request("user-agent", "grpc-go-connect/2.0.2 (go1.26)"), false},
		{".NET", preface + settings() + request("user-agent", "grpc-dotnet/2.67.0 (.NET 9.0)"), false},
		{"browser", preface + settings() + request("user-agent", "Mozilla/5.0"), false},
		{"a name without a version", preface + settings() + request("user-agent", "grpc-go"), false},
		{"no te", preface + settings() + request("te", "gzip"), false},
		{"GET", preface + settings() + request(":method", "GET"), false},
		{"behind a proxy", preface + settings() + request("x-forwarded-for", "192.0.2.1"), false},
		{"behind Envoy", preface + settings() + request("x-envoy-expected-rq-timeout-ms", "1000"), false},
		{"behind a gateway", preface + settings() + request("via", "2 gate"), false},
		{"a page's", preface + settings() + request("origin", "https://app.example"), false},
		{"a header block of too many fields", preface + settings() + request("a", string(bytes.Repeat([]byte("x"), 20<<10))), false},
		{"a frame that is too long", preface + "\xff\xff\xff\x04\x00\x00\x00\x00\x00", false},
		{"HEADERS of stream 0", preface + settings() + "\x00\x00\x01\x01\x04\x00\x00\x00\x00\x88", false},
		{"bad HPACK", preface + settings() + "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x80", false},
		{"no SETTINGS first", preface + request(), true}, // its server refuses it
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for _, step := range []int{1, len(tt.sent)} {
					inner := newPipes()
					f := front.New(inner, front.Config{HandshakeTimeout: time.Second, IdleTimeout: time.Minute, MaxStreams: 100})
					client := inner.dial()
					go func() { _, _ = io.Copy(io.Discard, client) }()
					go func() {
						for rest := tt.sent; len(rest) > 0; rest = rest[min(step, len(rest)):] {
							_, _ = io.WriteString(client, rest[:min(step, len(rest))])
						}
						client.Close()
					}()
					conn := accept(t, f, tt.native)
					if got, err := io.ReadAll(conn); err != nil || string(got) != tt.sent {
						t.Errorf("in steps of %d the server reads %q, %v", step, got, err)
					}
					conn.Close()
					if err := f.HTTP().Close(); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestFront_waits: clients that wait for SETTINGS get some before their first
// request, and for a ping its answer; their servers see neither's answer.
func TestFront_waits(t *testing.T) {
	ping := frames(func(f *http2.Framer) { _ = f.WritePing(false, [8]byte{1}) })
	pong := frames(func(f *http2.Framer) { _ = f.WritePing(true, [8]byte{1}) })
	told := frames(func(f *http2.Framer) {
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 100})
	})
	data := frames(func(f *http2.Framer) { _ = f.WriteData(1, false, bytes.Repeat([]byte("x"), 16<<10)) })
	foreign := request("x-forwarded-for", "192.0.2.1")
	for _, tt := range []struct {
		name         string
		first, then  string
		want, reads  string // what the client is told; what its server reads
		native, idle bool
	}{
		{name: "native", first: preface + settings(), then: ack() + request(), want: told, reads: preface + settings() + request(), native: true},
		{name: "native, late ack", first: preface + settings(), then: request() + ack(), want: told, reads: preface + settings() + request() + ack(), native: true},
		{name: "other", first: preface + settings(), then: ack() + foreign, want: told, reads: preface + settings() + foreign},
		{name: "other, late ack", first: preface + settings(), then: foreign + data + data + ack(), want: told, reads: preface + settings() + foreign + data + data},
		{name: "ping", first: preface + settings() + ping, then: ack() + foreign, want: told + pong, reads: preface + settings() + foreign},
		{name: "ack of nothing", first: preface + settings() + ack() + foreign, reads: preface + settings() + ack() + foreign},
		{name: "no request", first: preface + settings(), then: ack(), want: told + frames(func(f *http2.Framer) { _ = f.WriteGoAway(0, 0, nil) }), idle: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner := newPipes()
				f := front.New(inner, front.Config{HandshakeTimeout: time.Second, IdleTimeout: time.Minute, MaxStreams: 100})
				defer f.HTTP().Close()
				client := inner.dial()
				var got bytes.Buffer
				ended := make(chan error, 1)
				go func() {
					_, err := io.Copy(&got, client)
					ended <- err
				}()
				go func() {
					_, _ = io.WriteString(client, tt.first)
					time.Sleep(30 * time.Second) // that of gRPC's handshake does not hold any more
					_, _ = io.WriteString(client, tt.then)
					if !tt.idle {
						client.Close()
					}
				}()
				if !tt.idle {
					conn := accept(t, f, tt.native)
					if reads, err := io.ReadAll(conn); err != nil || string(reads) != tt.reads {
						t.Errorf("the server reads %q, %v, want %q", reads, err, tt.reads)
					}
					conn.Close()
				}
				<-ended
				if got.String() != tt.want {
					t.Errorf("the client is told %q, want %q", got.String(), tt.want)
				}
			})
		})
	}
}

// TestFront_silent: who sends nothing is left to HTTP's server, after a while; a
// proxy's connections are at once, and all once gRPC's listener is closed.
func TestFront_silent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, passes := newPipes(), false
		f := front.New(inner, front.Config{HandshakeTimeout: time.Second, IdleTimeout: time.Minute, Passes: func(net.Conn) bool { return passes }})
		began := time.Now()
		place := func() time.Duration {
			client := inner.dial()
			defer client.Close()
			conn, err := f.HTTP().Accept()
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			return time.Since(began)
		}
		if after := place(); after != time.Second {
			t.Errorf("silent: %v", after)
		}
		passes, began = true, time.Now()
		if after := place(); after != 0 {
			t.Errorf("a proxy's: %v", after)
		}
		passes, began = false, time.Now()
		if err := f.GRPC().Close(); err != nil {
			t.Error(err)
		}
		if after := place(); after != 0 {
			t.Errorf("without gRPC: %v", after)
		}
		waiting := inner.dial() // ended by Close, which waits for it
		if err := f.HTTP().Close(); err != nil {
			t.Error(err)
		}
		if _, err := waiting.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the last one: %v", err)
		}
		if _, err := f.HTTP().Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
	})
}

// TestFront_TLS: by TLS only clients that want nothing but HTTP/2 are looked into. A
// handshake that fails is HTTP's server's to report.
func TestFront_TLS(t *testing.T) {
	certified := httptest.NewUnstartedServer(http.NotFoundHandler())
	certified.StartTLS()
	defer certified.Close()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := front.New(inner, front.Config{TLS: &tls.Config{Certificates: certified.TLS.Certificates}})
	defer f.HTTP().Close()
	for _, tt := range []struct {
		name   string
		protos []string
		sent   string
		native bool
		state  bool // TLSState has it
	}{
		{"native", []string{"h2"}, preface + settings() + request(), true, false},
		{"other", []string{"h2"}, preface + settings() + request("user-agent", "curl/8"), false, true},
		{"browser", []string{"h2", "http/1.1"}, preface + settings() + request(), false, false},
		{"HTTP/1.1", []string{"http/1.1"}, "GET / HTTP/1.1\r\n\r\n", false, false},
		{"no ALPN", nil, "GET / HTTP/1.1\r\n\r\n", false, false},
	} {
		client, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			roots := certified.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
			secured := tls.Client(client, &tls.Config{RootCAs: roots, ServerName: "example.com", NextProtos: tt.protos, MinVersion: tls.VersionTLS12})
			_, _ = io.WriteString(secured, tt.sent)
			_ = secured.CloseWrite()
		}()
		conn := accept(t, f, tt.native)
		_, known := conn.(interface{ ConnectionState() tls.ConnectionState })
		if state := front.TLSState(conn); known == tt.state || (state != nil) != tt.state || tt.state && state.NegotiatedProtocol != "h2" {
			t.Errorf("%s: of TLS is known: %v, %v", tt.name, known, state)
		}
		if got, err := io.ReadAll(conn); err != nil || string(got) != tt.sent {
			t.Errorf("%s: the server reads %q, %v", tt.name, got, err)
		}
		conn.Close()
		client.Close()
	}
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := io.WriteString(client, "GET / HTTP/1.1\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	conn, err := f.HTTP().Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](conn.(*tls.Conn).Handshake()); !ok {
		t.Errorf("plain text: %v", conn.(*tls.Conn).Handshake())
	}
	conn.Close()
}

// FuzzFront: whatever a client sends, in whatever pieces, it comes to one listener,
// whose server reads it: all of it but acks and pings that the front has answered.
func FuzzFront(f *testing.F) {
	f.Add([]byte(preface+settings()+request()), uint8(1))
	f.Add([]byte(preface+settings()+ack()+request("via", "x")), uint8(40))
	f.Add([]byte(preface+settings()+frames(func(f *http2.Framer) { _ = f.WritePing(false, [8]byte{}) })+request()), uint8(255))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(0))
	f.Add([]byte(preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x09\x04\x00\x00\x00\x01"), uint8(5))
	f.Fuzz(func(t *testing.T, sent []byte, step uint8) {
		synctest.Test(t, func(t *testing.T) {
			inner := newPipes()
			fr := front.New(inner, front.Config{HandshakeTimeout: time.Second, IdleTimeout: time.Minute, MaxStreams: 100})
			client := inner.dial()
			var told bytes.Buffer
			heard := make(chan struct{})
			go func() {
				defer close(heard)
				_, _ = io.Copy(&told, client)
			}()
			go func() {
				for rest := sent; len(rest) > 0; rest = rest[min(int(step)+1, len(rest)):] {
					_, _ = client.Write(rest[:min(int(step)+1, len(rest))])
				}
				time.Sleep(time.Millisecond) // until answers are there
				client.Close()
			}()
			got := make(chan []byte, 2)
			for _, l := range []net.Listener{fr.HTTP(), fr.GRPC()} {
				go func() {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					read, _ := io.ReadAll(conn)
					conn.Close()
					got <- read
				}()
			}
			read := <-got
			<-heard
			if told.Len() == 0 && !bytes.Equal(read, sent) {
				t.Errorf("of %q the server reads %q", sent, read)
			}
			if missing := len(sent) - len(read); missing < 0 || missing > told.Len() {
				t.Errorf("%d bytes are missing, the client was told %d", missing, told.Len())
			}
			if err := fr.HTTP().Close(); err != nil {
				t.Error(err)
			}
		})
	})
}
