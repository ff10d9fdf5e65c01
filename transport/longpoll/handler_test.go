package longpoll_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/transporttest/fake"
	"github.com/pollbridge/pollbridge/transport"
	"github.com/pollbridge/pollbridge/transport/access"
	"github.com/pollbridge/pollbridge/transport/longpoll"
)

const maxBatch = 100 << 10

// protocols are the HTTP versions that an exchange must work over.
var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// serve mounts a handler as a bridge does and serves it over a real socket.
func serve(t *testing.T, protocol string, acceptor transport.Acceptor, cfg longpoll.Config) *httptest.Server {
	t.Helper()
	cfg.MaxBatch = maxBatch
	if cfg.Access == nil {
		var err error
		cfg.Access, err = access.New(access.Config{AllowOrigins: []string{"https://app.example"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/bridge/v1/{sid}/poll", longpoll.New(acceptor, cfg))
	mux.HandleFunc("/", cfg.Access.NotFound)
	s := httptest.NewUnstartedServer(mux)
	if protocol == "HTTP/2.0" {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// answer says what the hello was, for tests that look at answers only.
func answer(hello transport.Hello) []byte {
	return []byte("batch " + strconv.Itoa(len(hello.Batch)) + " limit " + strconv.Itoa(hello.TooLarge))
}

// unsized hides a body's length, which makes the client send it chunked.
func unsized(body string) io.Reader { return io.MultiReader(strings.NewReader(body)) }

func TestExchange(t *testing.T) {
	for _, protocol := range protocols {
		for _, text := range []bool{false, true} {
			for _, sized := range []bool{true, false} {
				name := protocol + map[bool]string{true: " text", false: " binary"}[text] + map[bool]string{true: "", false: " unsized"}[sized]
				t.Run(name, func(t *testing.T) { testExchange(t, protocol, text, sized) })
			}
		}
	}
}

func testExchange(t *testing.T, protocol string, text, sized bool) {
	batch := bytes.Repeat([]byte{0xb1, 0xd6, 0, '\n'}, maxBatch/4)
	reply := bytes.Repeat([]byte{0xff, 1, 2}, maxBatch/3)
	acceptor := fake.New(1)
	acceptor.Answer = func(transport.Hello) []byte { return reply }
	s := serve(t, protocol, acceptor, longpoll.Config{})

	contentType, sent, want := "application/octet-stream", string(batch), string(reply)
	if text {
		contentType = "text/plain"
		sent, want = base64.StdEncoding.EncodeToString(batch), base64.StdEncoding.EncodeToString(reply)
	}
	var body io.Reader = strings.NewReader(sent)
	if !sized {
		body = unsized(sent)
	}
	req, err := http.NewRequest(http.MethodPost, s.URL+"/bridge/v1/c2lk/poll", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Origin", "https://app.example")
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Proto != protocol || resp.StatusCode != http.StatusOK || string(got) != want {
		t.Errorf("%s %d with %d bytes, want %s 200 with %d", resp.Proto, resp.StatusCode, len(got), protocol, len(want))
	}
	if resp.ContentLength != int64(len(want)) || resp.TransferEncoding != nil || resp.Uncompressed {
		t.Errorf("length %d, transfer encoding %v, want %d and none", resp.ContentLength, resp.TransferEncoding, len(want))
	}
	for key, want := range map[string]string{
		"Cache-Control":               "no-store, no-transform",
		"X-Accel-Buffering":           "no",
		"X-Content-Type-Options":      "nosniff",
		"Pollbridge":                  "1",
		"Vary":                        "Origin",
		"Access-Control-Allow-Origin": "https://app.example",
		"Trailer":                     "",
	} {
		if got := resp.Header.Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if got := resp.Header.Get("Content-Type"); !strings.HasPrefix(got, contentType) {
		t.Errorf("Content-Type: %q, want %q", got, contentType)
	}

	link := <-acceptor.Links
	<-link.Closed
	hello := link.Hello
	if !bytes.Equal(hello.Batch, batch) || hello.TooLarge != 0 {
		t.Errorf("batch of %d bytes, limit %d; want the %d sent", len(hello.Batch), hello.TooLarge, len(batch))
	}
	if hello.Kind != transport.Longpoll || hello.Session != "c2lk" || hello.RemoteAddr != "127.0.0.1" || hello.Header == nil {
		t.Errorf("hello %v of session %s from %s", hello.Kind, hello.Session, hello.RemoteAddr)
	}
	if hello.Method != http.MethodPost || hello.URI != "/bridge/v1/c2lk/poll" || hello.Host == "" || (hello.TLS != nil) != (resp.ProtoMajor == 2) {
		t.Errorf("hello of %s %s at %q, TLS %v", hello.Method, hello.URI, hello.Host, hello.TLS)
	}
}

func TestBadInput(t *testing.T) {
	const octetStream = "application/octet-stream"
	long := strings.Repeat("x", maxBatch+1)
	longText := base64.StdEncoding.EncodeToString([]byte(long))
	tests := []struct {
		name, method, path, contentType, origin string
		body                                    string
		unsized                                 bool
		status                                  int
		want                                    string // in the body
	}{
		{name: "empty", contentType: octetStream, status: 200, want: "batch 0 limit 0"},
		{name: "page", contentType: octetStream, body: "<html>", status: 200, want: "batch 6 limit 0"},
		{name: "one byte over", contentType: octetStream, body: long, status: 200, want: "batch 0 limit 102400"},
		{name: "one byte over, unsized", contentType: octetStream, body: long, unsized: true, status: 200, want: "batch 0 limit 102400"},
		{name: "far over", contentType: octetStream, body: strings.Repeat(long, 40), status: 200, want: "batch 0 limit 102400"},
		{name: "far over, unsized", contentType: octetStream, body: strings.Repeat(long, 40), unsized: true, status: 200, want: "batch 0 limit 102400"},
		{name: "text over", contentType: "text/plain", origin: "https://app.example", body: longText, status: 200, want: text("batch 0 limit 102400")},
		{name: "not base64", contentType: "text/plain", origin: "https://app.example", body: "b1*d6", status: 200, want: text("batch 0 limit 0")},
		{name: "cut base64", contentType: "text/plain;charset=UTF-8", origin: "https://app.example", body: "AAAAA", status: 200, want: text("batch 0 limit 0")},
		{name: "text without origin", contentType: "text/plain", body: "AAAA", status: 403, want: "needs the Origin of a page"},
		{name: "text from null", contentType: "text/plain", origin: "null", body: "AAAA", status: 403, want: "origin null"},
		{name: "text from elsewhere", contentType: "text/plain", origin: "https://evil.example", body: "AAAA", status: 403, want: "--allow-origin https://evil.example"},
		{name: "no type, no origin", body: "AAAA", status: 403, want: "needs the Origin of a page"},
		{name: "form, no origin", contentType: "application/x-www-form-urlencoded", body: "a=b", status: 403, want: "needs the Origin of a page"},
		{name: "broken type, no origin", contentType: "octet-stream", body: "AAAA", status: 403, want: "needs the Origin of a page"},
		{name: "from elsewhere", contentType: octetStream, origin: "https://evil.example", status: 403, want: "--allow-origin https://evil.example"},
		{name: "GET", method: http.MethodGet, status: 405, want: "only OPTIONS, POST"},
		{name: "GET from a page", method: http.MethodGet, origin: "https://app.example", status: 405, want: "only OPTIONS, POST"},
		{name: "PUT", method: http.MethodPut, contentType: octetStream, body: "AAAA", status: 405, want: "only OPTIONS, POST"},
		{name: "preflight", method: http.MethodOptions, origin: "https://app.example", status: 204},
		{name: "preflight from elsewhere", method: http.MethodOptions, origin: "https://evil.example", status: 403},
		{name: "other path", path: "/bridge/v1/c2lk/pool", contentType: octetStream, status: 404},
		{name: "other path from a page", path: "/bridge/v1/c2lk/poll/x", contentType: octetStream, origin: "https://app.example", status: 404},
		{name: "no session", path: "/bridge/v1/poll", contentType: octetStream, status: 404},
	}
	for _, protocol := range protocols {
		acceptor := fake.New(len(tests))
		acceptor.Answer = answer
		s := serve(t, protocol, acceptor, longpoll.Config{})
		for _, tt := range tests {
			t.Run(protocol+" "+tt.name, func(t *testing.T) {
				var sent io.Reader = strings.NewReader(tt.body)
				if tt.unsized {
					sent = unsized(tt.body)
				}
				method, path := cmp.Or(tt.method, http.MethodPost), cmp.Or(tt.path, "/bridge/v1/c2lk/poll")
				req, err := http.NewRequest(method, s.URL+path, sent)
				if err != nil {
					t.Fatal(err)
				}
				for key, value := range map[string]string{"Content-Type": tt.contentType, "Origin": tt.origin} {
					if value != "" {
						req.Header.Set(key, value)
					}
				}
				resp, err := s.Client().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
					t.Errorf("%d %q, want %d %q", resp.StatusCode, body, tt.status, tt.want)
				}
				if resp.Header.Get("Pollbridge") != "1" {
					t.Error("no marker")
				}
				if tt.origin == "https://app.example" && resp.Header.Get("Access-Control-Allow-Origin") != tt.origin {
					t.Errorf("an allowed page cannot read the answer: %v", resp.Header)
				}
				if tt.status == 405 && resp.Header.Get("Allow") != "OPTIONS, POST" {
					t.Errorf("Allow: %q", resp.Header.Get("Allow"))
				}
			})
		}
	}
}

func text(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func TestClientGone(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			acceptor := fake.New(1)
			s := serve(t, protocol, acceptor, longpoll.Config{})
			ctx, cancel := context.WithCancel(t.Context())
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/bridge/v1/c2lk/poll", strings.NewReader("AAAA"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/octet-stream")
			failed := make(chan error, 1)
			go func() {
				_, err := s.Client().Do(req)
				failed <- err
			}()
			link := <-acceptor.Links
			cancel()
			<-link.Closed
			if err := <-failed; err == nil {
				t.Error("an abandoned exchange was answered")
			}
		})
	}
}

// TestLinkWithNothingToSay: an empty 200 would look like a middlebox's work.
func TestLinkWithNothingToSay(t *testing.T) {
	acceptor := fake.New(1)
	s := serve(t, "HTTP/1.1", acceptor, longpoll.Config{})
	go func() {
		link := <-acceptor.Links
		link.End <- transport.ErrLinkDone
	}()
	resp, err := s.Client().Post(s.URL+"/bridge/v1/c2lk/poll", "application/octet-stream", strings.NewReader("AAAA"))
	if err == nil {
		resp.Body.Close()
		t.Errorf("status %d, want a cut connection", resp.StatusCode)
	}
}

func TestTrustedProxyTellsTheClient(t *testing.T) {
	policy, err := access.New(access.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	acceptor := fake.New(1)
	acceptor.Answer = answer
	s := serve(t, "HTTP/1.1", acceptor, longpoll.Config{Access: policy})
	req, err := http.NewRequest(http.MethodPost, s.URL+"/bridge/v1/c2lk/poll", strings.NewReader("AAAA"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.7")
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := (<-acceptor.Links).Hello.RemoteAddr; got != "203.0.113.7" {
		t.Errorf("client %s, want 203.0.113.7", got)
	}
}

// TestAnswerNow: a request whose context the edge ends is answered as at the end
// of its hold; one whose client is gone is not.
func TestAnswerNow(t *testing.T) {
	for _, bundled := range []bool{false, true} {
		acceptor := fake.New(1)
		handler, body := http.Handler(longpoll.New(acceptor, longpoll.Config{})), []byte("batch")
		if bundled {
			handler, body = longpoll.NewBundleHandler(acceptor, longpoll.Config{}), encodeBundle(0, entry{1, true, "batch"})
		}
		for _, cause := range []error{transport.ErrAnswerNow, context.Canceled} {
			ctx, cancel := context.WithCancelCause(t.Context())
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/octet-stream")
			w := httptest.NewRecorder()
			done := make(chan any)
			go func() {
				defer func() { done <- recover() }()
				handler.ServeHTTP(w, r)
			}()
			link := <-acceptor.Links
			cancel(cause)
			aborted := <-done != nil
			if answered := strings.HasSuffix(w.Body.String(), "now"); answered == aborted || answered != (cause == transport.ErrAnswerNow) {
				t.Errorf("bundled %v, %v: answered %v with %q, aborted %v", bundled, cause, answered, w.Body, aborted)
			}
			<-link.Closed
		}
	}
}
