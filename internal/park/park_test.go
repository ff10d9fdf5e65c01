//go:build linux

package park_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pollbridge/pollbridge/internal/park"
	"github.com/pollbridge/pollbridge/transport"
)

// pending is a parked request that a test holds in its hand.
type pending struct {
	body   string // of the request
	secure bool
	conn   *park.Conn
	say    chan string   // what Next yields
	cut    chan struct{} // has Next end the connection
	closed chan struct{} // closed by Close; a second Close panics
}

func (p *pending) Next(ctx context.Context) ([]byte, error) {
	select {
	case answer := <-p.say:
		return []byte(answer), nil
	case <-p.cut:
		return nil, errors.New("cut")
	case <-ctx.Done():
		return fmt.Append(nil, context.Cause(ctx)), nil
	default:
		return nil, transport.ErrIdle
	}
}

func (p *pending) Close() { close(p.closed) }

// answer has the request answered.
func (p *pending) answer(body string) {
	p.say <- body
	p.conn.Wake()
}

// site is an http.Server whose requests are parked at once.
type site struct {
	*httptest.Server
	parker *park.Parker
	parked chan *pending
	fresh  atomic.Int64 // connections that it took
}

const writeTimeout = 10 * time.Second

func open(t *testing.T, configure func(*httptest.Server)) *site {
	t.Helper()
	idle(t)
	s := &site{parker: park.New(), parked: make(chan *pending, 4096)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.fresh.Add(1)
		}
	}
	secure := false
	if configure != nil {
		configure(s.Server)
		secure = s.TLS != nil
	}
	s.parker.Attach(s.Config)
	if secure {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.parker.Close()
		s.Server.Close()
	})
	return s
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	g := &pending{
		body: string(body), secure: r.TLS != nil, conn: park.Of(r),
		say: make(chan string, 1), cut: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	w.Header().Set("X-Path", r.URL.Path)
	if g.conn == nil {
		fmt.Fprint(w, "cannot be parked")
		return
	}
	if !g.conn.Park(w, g, writeTimeout) {
		fmt.Fprint(w, "not parked")
		return
	}
	s.parked <- g
}

// idle checks that a test leaves no goroutine and no file behind.
func idle(t *testing.T) {
	t.Helper()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	t.Cleanup(func() {
		until(t, func() bool { return runtime.NumGoroutine() <= goroutines && openFiles(t) <= files })
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// until waits for a condition.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not within 30 s; %d goroutines, %d files", runtime.NumGoroutine(), openFiles(t))
		}
	}
}

// peer is a client's connection.
type peer struct {
	net.Conn
	answers *bufio.Reader
}

func (s *site) dial(t *testing.T) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // should it hang, the test says where
	if s.TLS != nil {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{conn, bufio.NewReader(conn)}
}

func request(body string) string {
	return fmt.Sprintf("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func (p *peer) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(p, text); err != nil {
		t.Fatal(err)
	}
}

// expect reads one answer, and gives it.
func (p *peer) expect(t *testing.T, body string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(p.answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || string(got) != body || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %q, %v; want %q", resp.StatusCode, got, err, body)
	}
	if resp.ContentLength != int64(len(body)) || resp.Header.Get("X-Path") != "/p" {
		t.Errorf("header %v", resp.Header)
	}
	if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
		t.Error(err)
	}
	return resp
}

// expectEnd checks that the connection is closed.
func (p *peer) expectEnd(t *testing.T) {
	t.Helper()
	if b, err := p.answers.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("read %q, %v; want the end", b, err)
	}
}

// withTLS is both ways to configure a site.
func withTLS(t *testing.T, test func(t *testing.T, configure func(*httptest.Server))) {
	t.Run("plain", func(t *testing.T) { test(t, nil) })
	t.Run("tls", func(t *testing.T) {
		test(t, func(s *httptest.Server) { s.TLS = &tls.Config{} })
	})
}

// A thousand requests are parked without a goroutine each, and answered, and
// their connections go on to the next.
func TestPark(t *testing.T) {
	withTLS(t, func(t *testing.T, configure func(*httptest.Server)) {
		s := open(t, configure)
		n, rounds := 1000, 3
		if configure != nil {
			n = 100 // handshakes are slow
		}
		before := runtime.NumGoroutine()
		peers := make([]*peer, n)
		for i := range peers {
			peers[i] = s.dial(t)
		}
		for round := range rounds {
			var all sync.WaitGroup
			for i, p := range peers {
				all.Go(func() { p.send(t, request(fmt.Sprint(i))) })
			}
			all.Wait()
			waiting := make([]*pending, n)
			for i := range waiting {
				waiting[i] = <-s.parked
			}
			until(t, func() bool { return runtime.NumGoroutine() < before+20 })
			for _, g := range waiting {
				all.Go(func() { g.answer(fmt.Sprint(round, " ", g.body)) })
			}
			all.Wait()
			for i, p := range peers {
				p.expect(t, fmt.Sprint(round, " ", i))
			}
			for _, g := range waiting {
				<-g.closed
			}
		}
		if got, want := s.fresh.Load(), int64(n*rounds); got != want {
			t.Errorf("the server took %d connections, want %d", got, want)
		}
	})
}

// A response that is not there when it is woken is parked again.
func TestWokenForNothing(t *testing.T) {
	s := open(t, nil)
	p := s.dial(t)
	p.send(t, request("x"))
	g := <-s.parked
	for range 100 {
		g.conn.Wake()
	}
	g.answer("y")
	p.expect(t, "y")
}

// A peer that leaves is found, whether it says so or not, and its response closed.
func TestGone(t *testing.T) {
	withTLS(t, func(t *testing.T, configure func(*httptest.Server)) {
		s := open(t, configure)
		for i := range 40 {
			p := s.dial(t)
			p.send(t, request("x"))
			g := <-s.parked
			if i%2 == 0 {
				if tcp, ok := p.Conn.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0) // RST
				}
			}
			_ = p.Close()
			<-g.closed
			g.conn.Wake() // means nothing any more
		}
	})
}

// Whoever wins when a peer leaves while it is answered: the response is closed once.
func TestGoneWhileAnswered(t *testing.T) {
	s := open(t, nil)
	for range 300 {
		p := s.dial(t)
		p.send(t, request("x"))
		g := <-s.parked
		var both sync.WaitGroup
		both.Go(func() { g.answer("y") })
		both.Go(func() { _ = p.Close() })
		both.Wait()
		<-g.closed
	}
}

// What comes behind a request is read once that is answered, whether it came
// before the request was parked or after.
func TestPipelined(t *testing.T) {
	withTLS(t, func(t *testing.T, configure func(*httptest.Server)) {
		s := open(t, configure)
		p := s.dial(t)
		p.send(t, request("1")+request("2")+request("3"))
		for i := range 3 {
			g := <-s.parked
			if want := fmt.Sprint(i + 1); g.body != want || g.secure != (configure != nil) {
				t.Fatalf("request %q, TLS %v; want %q", g.body, g.secure, want)
			}
			if i == 1 {
				p.send(t, request("4"))
			}
			g.answer(g.body)
			p.expect(t, g.body)
		}
		g := <-s.parked
		g.answer("four")
		p.expect(t, "four")
	})
}

// A connection that its peer does not keep ends with the answer, which gets there.
func TestLast(t *testing.T) {
	withTLS(t, func(t *testing.T, configure func(*httptest.Server)) {
		for _, head := range []string{"POST /p HTTP/1.0\r\n", "POST /p HTTP/1.1\r\nConnection: close\r\n"} {
			s := open(t, configure)
			p := s.dial(t)
			p.send(t, head+"Host: h\r\nContent-Length: 1\r\n\r\nx")
			g := <-s.parked
			p.send(t, "never read")
			g.answer(strings.Repeat("y", 100<<10))
			resp := p.expect(t, strings.Repeat("y", 100<<10))
			if !resp.Close || resp.Proto != head[8:16] {
				t.Errorf("%s, close %v", resp.Proto, resp.Close)
			}
			p.expectEnd(t)
		}
	})
}

// The same for one whose requests came together.
func TestLastOfSeveral(t *testing.T) {
	withTLS(t, func(t *testing.T, configure func(*httptest.Server)) {
		s := open(t, configure)
		p := s.dial(t)
		closing := strings.Replace(request("3"), "Host", "Connection: close\r\nHost", 1)
		p.send(t, request("1")+request("2")+closing+"never read")
		for i := range 3 {
			g := <-s.parked
			answer := strings.Repeat(g.body, 100<<10)
			g.answer(answer)
			if resp := p.expect(t, answer); resp.Close != (i == 2) {
				t.Errorf("answer %d: close %v", i, resp.Close)
			}
		}
		p.expectEnd(t)
	})
}

// An idle connection is closed after the server's time for that.
func TestIdleTimeout(t *testing.T) {
	s := open(t, func(s *httptest.Server) { s.Config.IdleTimeout = 20 * time.Millisecond })
	p := s.dial(t)
	p.send(t, request("x"))
	g := <-s.parked
	g.answer("y")
	p.expect(t, "y")
	p.expectEnd(t)
}

// A server that is shut down does not wait for what is parked, closes what is
// idle, and what is parked still gets its answer.
func TestShutdown(t *testing.T) {
	s := open(t, nil)
	parked, idle := s.dial(t), s.dial(t)
	idle.send(t, request("x"))
	(<-s.parked).answer("y")
	idle.expect(t, "y")
	parked.send(t, request("x"))
	g := <-s.parked
	if err := s.Config.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	idle.expectEnd(t)
	g.answer("z")
	if resp := parked.expect(t, "z"); !resp.Close {
		t.Error("the answer does not say that the connection ends")
	}
	parked.expectEnd(t)
}

// A Parker that is closed has what waits answered, and parks nothing any more.
func TestClose(t *testing.T) {
	s := open(t, nil)
	parked, idle, later := s.dial(t), s.dial(t), s.dial(t)
	idle.send(t, request("x"))
	(<-s.parked).answer("y")
	idle.expect(t, "y")
	parked.send(t, request("x"))
	g := <-s.parked
	s.parker.Close()
	<-g.closed
	parked.expect(t, transport.ErrAnswerNow.Error())
	parked.expectEnd(t)
	idle.expectEnd(t)
	later.send(t, request("x"))
	later.expect(t, "not parked")
}

// A peer that does not read its answer is cut after the time for it.
func TestWriteTimeout(t *testing.T) {
	s := open(t, nil)
	p := s.dial(t)
	p.send(t, request("x"))
	g := <-s.parked
	g.answer(strings.Repeat("y", 64<<20)) // more than buffers take
	<-g.closed
	s.parker.Close() // waits for less than writeTimeout
	if n, err := io.Copy(io.Discard, p.answers); n >= 64<<20 {
		t.Errorf("all of it came: %v", err)
	}
}

func TestResponseFails(t *testing.T) {
	s := open(t, nil)
	p := s.dial(t)
	p.send(t, request("x"))
	g := <-s.parked
	g.cut <- struct{}{}
	g.conn.Wake()
	<-g.closed
	p.expectEnd(t)
}

// What cannot be parked stays with its handler.
func TestNotParkable(t *testing.T) {
	for name, configure := range map[string]func(*httptest.Server){
		"HTTP/2":           func(s *httptest.Server) { s.EnableHTTP2, s.TLS = true, &tls.Config{} },
		"another listener": func(s *httptest.Server) { s.Listener = wrapped{s.Listener} },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, configure)
			resp, err := s.Client().Post(s.URL, "", strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(body) != "cannot be parked" {
				t.Errorf("%q", body)
			}
		})
	}
}

type wrapped struct{ net.Listener }

func (w wrapped) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return struct{ net.Conn }{conn}, nil
}

// A handler whose writer cannot be hijacked, or whose connection was woken meanwhile,
// goes on itself.
func TestHandlerGoesOn(t *testing.T) {
	idle(t)
	parker := park.New()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := park.Of(r)
		if conn.Park(struct{ http.ResponseWriter }{w}, nil, 0) {
			t.Error("parked what cannot be hijacked")
		}
		go conn.Wake()
		if err := conn.Wait(r.Context()); err != nil {
			t.Error(err)
		}
		conn.Wake()
		if conn.Park(w, nil, 0) {
			t.Error("parked what was woken")
		}
		if err := conn.Wait(r.Context()); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		cancel(io.ErrNoProgress)
		if err := conn.Wait(ctx); !errors.Is(err, io.ErrNoProgress) {
			t.Error(err)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	parker.Attach(server.Config)
	server.Start()
	defer server.Close()
	defer parker.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Error(resp.Status)
	}
}

// The server's own ConnContext is called too.
func TestConnContext(t *testing.T) {
	type key struct{}
	parker := park.New()
	defer parker.Close()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.Context().Value(key{}) != 1 || park.Of(r) == nil {
			t.Error("the context lacks something")
		}
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, key{}, 1)
	}
	parker.Attach(server.Config)
	server.Start()
	defer server.Close()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}
