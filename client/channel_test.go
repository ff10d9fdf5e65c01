package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/client"
	"github.com/pollbridge/pollbridge/internal/enginetest"
	"github.com/pollbridge/pollbridge/internal/registry"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/longpoll"
	"github.com/pollbridge/pollbridge/transport/ws"
)

// echoes is a bridge without a backend: it echoes messages until half-close.
type echoes struct {
	http.Handler
	registry *registry.Registry
}

func newEchoes(cfg registry.Config) *echoes {
	cfg.Handle = func(s *registry.Stream) {
		var end wire.End
		defer func() { s.End(end) }()
		if s.SendHeaders([]wire.Metadatum{{Key: "echo", Value: "1"}}) != nil {
			return
		}
		for {
			m, err := s.Recv(s.Context())
			if err != nil {
				if !errors.Is(err, io.EOF) {
					end = wire.End{Status: uint32(codes.Canceled)}
				}
				return
			}
			if s.Send(s.Context(), m) != nil {
				return
			}
		}
	}
	registry := enginetest.NewRegistry(cfg)
	mux := http.NewServeMux()
	mux.Handle("/bridge/v1/{sid}/poll", longpoll.New(registry, longpoll.Config{}))
	mux.Handle("/bridge/v1/{sid}/ws", ws.New(registry, ws.Config{}))
	return &echoes{mux, registry}
}

// front is a balancer: new sessions go to the latest bridge, others stay where
// they are.
type front struct {
	mu     sync.Mutex
	latest http.Handler
	known  map[string]http.Handler
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sid := strings.Split(r.URL.Path, "/")[3]
	f.mu.Lock()
	to, ok := f.known[sid]
	if !ok {
		to = f.latest
		f.known[sid] = to
	}
	f.mu.Unlock()
	to.ServeHTTP(w, r)
}

// replace sends new sessions to h; with all also the known ones.
func (f *front) replace(h http.Handler, all bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latest = h
	if all {
		clear(f.known)
	}
}

// eachTransport runs a test for each way to the bridge, with a front that two
// bridges stand behind, and holds that no goroutine is left.
func eachTransport(t *testing.T, test func(t *testing.T, c *client.Channel, f *front, first, second *echoes)) {
	for _, way := range []string{"ws", "longpoll", "ws longpoll"} {
		t.Run(way, func(t *testing.T) {
			before := runtime.NumGoroutine()
			first, second := newEchoes(registry.Config{}), newEchoes(registry.Config{})
			f := &front{latest: first, known: map[string]http.Handler{}}
			server := httptest.NewServer(f)
			c, err := client.New(server.URL, client.Config{Transports: strings.Fields(way)})
			if err != nil {
				t.Fatal(err)
			}
			test(t, c, f, first, second)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			first.registry.Close()
			second.registry.Close()
			server.Close()
			wantGoroutines(t, before)
		})
	}
}

// wantGoroutines waits for the goroutines that are about to end.
func wantGoroutines(t *testing.T, want int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > want {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), want, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// waitEmpty waits until the bridge has forgotten every session.
func waitEmpty(bridge *echoes) {
	for bridge.registry.Stats().Sessions > 0 {
		time.Sleep(time.Millisecond)
	}
}

// talk opens a chat and has one message echoed.
func talk(t *testing.T, c *client.Channel, opts ...grpc.CallOption) grpc.ClientStream {
	t.Helper()
	s, err := c.NewStream(t.Context(), chat, "/echo/Chat", append(opts, grpc.ForceCodecV2(bytesCodec{&counter{}}))...)
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, s, "hello")
	return s
}

func wantEcho(t *testing.T, s grpc.ClientStream, word string) {
	t.Helper()
	if err := s.SendMsg([]byte(word)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	if err := s.RecvMsg(&got); err != nil || string(got) != word {
		t.Fatalf("%q, %v", got, err)
	}
}

func wantOK(t *testing.T, s grpc.ClientStream) {
	t.Helper()
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := s.RecvMsg(new([]byte)); !errors.Is(err, io.EOF) {
		t.Errorf("%v, want EOF", err)
	}
}

// A restarted bridge ends the RPCs that it had with one UNAVAILABLE; the next
// one opens another session (rule E2).
func TestBridgeRestarted(t *testing.T) {
	eachTransport(t, func(t *testing.T, c *client.Channel, f *front, first, second *echoes) {
		open := talk(t, c)
		f.replace(second, true)
		first.registry.Close()
		err := open.RecvMsg(new([]byte))
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "may have run") {
			t.Errorf("%v", err)
		}
		wantOK(t, talk(t, c))
	})
}

// A bridge that goes away keeps its RPCs; new ones go to another session (rule
// E3).
func TestGoAway(t *testing.T) {
	eachTransport(t, func(t *testing.T, c *client.Channel, f *front, first, second *echoes) {
		old := talk(t, c)
		f.replace(second, false)
		drained := make(chan error)
		go func() { drained <- first.registry.Drain(t.Context()) }()
		talkTo(t, c, second)
		wantEcho(t, old, "still here")
		wantOK(t, old)
		if err := <-drained; err != nil {
			t.Error(err)
		}
	})
}

// talkTo opens chats until one arrives at the bridge.
func talkTo(t *testing.T, c *client.Channel, bridge *echoes) {
	t.Helper()
	for {
		s := talk(t, c)
		if bridge.registry.Stats().Streams > 0 {
			return
		}
		wantOK(t, s)
	}
}

// Closing ends the sessions that are going away, too.
func TestCloseWhileGoingAway(t *testing.T) {
	eachTransport(t, func(t *testing.T, c *client.Channel, f *front, first, second *echoes) {
		old := talk(t, c)
		f.replace(second, false)
		drained := make(chan error)
		go func() { drained <- first.registry.Drain(t.Context()) }()
		talkTo(t, c, second)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wantStatus(t, old.RecvMsg(new([]byte)), codes.Canceled, "grpc: the client connection is closing")
		if err := <-drained; err != nil {
			t.Error(err)
		}
		waitEmpty(first)
		waitEmpty(second)
	})
}

func TestClose(t *testing.T) {
	const closing = "grpc: the client connection is closing"
	eachTransport(t, func(t *testing.T, c *client.Channel, f *front, first, second *echoes) {
		open := talk(t, c)
		ended := make(chan error)
		go func() { ended <- open.RecvMsg(new([]byte)) }()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		wantStatus(t, <-ended, codes.Canceled, closing)
		wantStatus(t, c.Invoke(t.Context(), "/echo/Unary", nil, nil), codes.Canceled, closing)
		if _, err := c.NewStream(t.Context(), chat, "/echo/Chat"); status.Code(err) != codes.Canceled {
			t.Error(err)
		}
		if got := c.State().Phase; got != "closed" {
			t.Errorf("phase %q", got)
		}
		waitEmpty(first)
	})
}

// A stream that nobody looks at any more ends with its context.
func TestAbandoned(t *testing.T) {
	eachTransport(t, func(t *testing.T, c *client.Channel, f *front, first, second *echoes) {
		ctx, cancel := context.WithCancel(t.Context())
		for range 10 {
			s, err := c.NewStream(ctx, chat, "/echo/Chat", grpc.ForceCodecV2(bytesCodec{&counter{}}))
			if err != nil {
				t.Fatal(err)
			}
			wantEcho(t, s, "x")
		}
		cancel()
		for first.registry.Stats().Streams > 0 {
			time.Sleep(time.Millisecond)
		}
	})
}

func TestLazy(t *testing.T) {
	bridge := newEchoes(registry.Config{})
	defer bridge.registry.Close()
	server := httptest.NewServer(bridge)
	defer server.Close()
	var phases []string
	var mu sync.Mutex
	c, err := client.New(server.URL, client.Config{Lazy: true, Transports: []string{"longpoll"}, OnState: func(s client.State) {
		mu.Lock()
		defer mu.Unlock()
		phases = append(phases, s.Phase)
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.State(); got.Phase != "idle" || bridge.registry.Stats().SessionsOpened != 0 {
		t.Errorf("before the first RPC: %+v", got)
	}
	wantOK(t, talk(t, c))
	if got := c.State(); got.Phase != "open" || got.Transport != "longpoll" {
		t.Errorf("after it: %+v", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(phases) == 0 || phases[len(phases)-1] != "open" {
		t.Errorf("phases %q", phases)
	}
}

// roundTripper answers requests in place of a network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A bridge that is not there fails RPCs, unless they wait for ready; the error
// says what was seen.
func TestUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gateway := roundTripper(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			http.Error(w, "<h1>no upstream</h1>", http.StatusBadGateway)
			return w.Result(), nil
		})
		c, err := client.New("http://bridge.test", client.Config{HTTPClient: &http.Client{Transport: gateway}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		err = c.Invoke(t.Context(), "/echo/Unary", nil, nil)
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "status 502") || !strings.Contains(err.Error(), "no upstream") {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err = c.Invoke(ctx, "/echo/Unary", nil, nil, grpc.WaitForReady(true))
		wantStatus(t, err, codes.DeadlineExceeded, "context deadline exceeded")
	})
}

// within answers requests by a handler in the same process, with no network.
func within(h http.Handler) *http.Client {
	return &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.ServeHTTP(w, r)
		}()
		select {
		case <-done:
			return w.Result(), nil
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	})}
}

// A session on which nothing happens lapses unnoticed: the next RPC opens
// another (rule E1).
func TestIdleSessionLapses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bridge := newEchoes(registry.Config{})
		defer bridge.registry.Close()
		c, err := client.New("http://bridge.test", client.Config{Transports: []string{"longpoll"}, HTTPClient: within(bridge)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 3 {
			wantOK(t, talk(t, c))
			time.Sleep(10 * time.Minute)
		}
		if got := bridge.registry.Stats(); got.SessionsOpened != 3 || got.Sessions != 0 {
			t.Errorf("%d sessions opened, %d left", got.SessionsOpened, got.Sessions)
		}
	})
}

// The token goes to the bridge's Authenticate; a refusal ends RPCs
// UNAUTHENTICATED.
func TestToken(t *testing.T) {
	for _, way := range []string{"ws", "longpoll"} {
		bridge := newEchoes(registry.Config{Authenticate: func(_ context.Context, _ transport.Hello, token string) (registry.Principal, error) {
			if token != "open sesame" {
				return registry.Principal{}, errors.New("nobody knows you")
			}
			return registry.Principal{Name: "ali"}, nil
		}})
		server := httptest.NewServer(bridge)
		for token, want := range map[string]codes.Code{"open sesame": codes.OK, "open barley": codes.Unauthenticated, "": codes.Unauthenticated} {
			c, err := client.New(server.URL, client.Config{Transports: []string{way}, Token: func(context.Context) (string, error) {
				if token == "" {
					return "", errors.New("no token to be had")
				}
				return token, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			var reply []byte
			err = c.Invoke(t.Context(), "/echo/Unary", []byte("x"), &reply, grpc.ForceCodecV2(bytesCodec{&counter{}}))
			if status.Code(err) != want {
				t.Errorf("%s, token %q: %v", way, token, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		server.Close()
		bridge.registry.Close()
	}
}

// A token that the bridge ignores is told in the log (O5).
func TestTokenIsIgnored(t *testing.T) {
	for _, way := range []string{"ws", "longpoll"} {
		bridge := newEchoes(registry.Config{IgnoresTokens: true})
		server := httptest.NewServer(bridge)
		for _, tt := range []struct {
			token string
			lines int
		}{{"", 0}, {"open sesame", 1}} {
			var log bytes.Buffer
			c, err := client.New(server.URL, client.Config{
				Transports: []string{way},
				Token:      func(context.Context) (string, error) { return tt.token, nil },
				Logger:     slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
			if err != nil {
				t.Fatal(err)
			}
			var reply []byte
			err = c.Invoke(t.Context(), "/echo/Unary", []byte("x"), &reply, grpc.ForceCodecV2(bytesCodec{&counter{}}))
			if err := errors.Join(err, c.Close()); err != nil {
				t.Errorf("%s, token %q: %v", way, tt.token, err)
			}
			if n := strings.Count(log.String(), "the bridge ignores the token"); n != tt.lines || strings.Contains(log.String(), "sesame") {
				t.Errorf("%s, token %q: the log is %q, want %d lines", way, tt.token, &log, tt.lines)
			}
		}
		server.Close()
		bridge.registry.Close()
	}
}

// An expired token ends the RPCs that were under way to the bridge; those after
// wait for a fresh one, on the same session (O5).
func TestTokenIsRefreshed(t *testing.T) {
	for _, way := range []string{"ws", "longpoll"} {
		bridge := newEchoes(registry.Config{Authenticate: func(_ context.Context, _ transport.Hello, token string) (registry.Principal, error) {
			who := registry.Principal{Name: "ali"}
			if token == "token 1" {
				who.Expires = time.Now()
			}
			return who, nil
		}})
		server := httptest.NewServer(bridge)
		asked := 0
		c, err := client.New(server.URL, client.Config{Transports: []string{way}, Token: func(context.Context) (string, error) {
			asked++
			return fmt.Sprintf("token %d", asked), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []codes.Code{codes.Unauthenticated, codes.OK, codes.OK} {
			var reply []byte
			err := c.Invoke(t.Context(), "/echo/Unary", []byte("x"), &reply, grpc.ForceCodecV2(bytesCodec{&counter{}}))
			if status.Code(err) != want {
				t.Errorf("%s: %v, want %v", way, err, want)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if opened := bridge.registry.Stats().SessionsOpened; opened != 1 || asked != 2 {
			t.Errorf("%s: %d sessions, %d tokens asked for", way, opened, asked)
		}
		server.Close()
		bridge.registry.Close()
	}
}
