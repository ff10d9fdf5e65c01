package bridge_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/testsvc"
	"github.com/pollbridge/pollbridge/internal/testsvc/echopb"
)

const (
	unaryPath  = "/pollbridge.test.v1.Echo/Unary"
	streamPath = "/pollbridge.test.v1.Echo/ServerStream"
)

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // to memory
	_ = w.Close()
	return b.String()
}

// TestRPC_badInput: what is wrong with a request is said in its own protocol,
// whatever it is, and no backend is bothered.
func TestRPC_badInput(t *testing.T) {
	srv, svc := newServer(t, bridge.Config{RPC: true, MaxMessageBytes: 1 << 16, MaxMetadataBytes: 1 << 12})
	plain, _ := listen(t, srv)
	bomb := gzipped(strings.Repeat("\x00", 1<<20))
	long := strings.Repeat("x", 1<<16+1)
	for name, tt := range map[string]struct {
		path, contentType, body string
		header                  []string
		status                  int
		want                    string // in the body, or in a header of the answer
	}{
		"no content type":          {unaryPath, "", "", nil, 415, "is none of"},
		"other content type":       {unaryPath, "text/plain", "{}", nil, 415, "is none of"},
		"form":                     {unaryPath, "application/x-www-form-urlencoded", "a=b", nil, 415, "is none of"},
		"unknown codec":            {unaryPath, "application/grpc-web+thrift", "", nil, 415, ""},
		"unknown codec, streaming": {streamPath, "application/connect+thrift", "", nil, 415, ""},
		"unknown compression":      {unaryPath, "application/proto", "", []string{"Content-Encoding", "br"}, 501, `"code":"unimplemented"`},
		"unknown protocol version": {unaryPath, "application/proto", "", []string{"Connect-Protocol-Version", "9"}, 400, "Connect-Protocol-Version"},
		"bad timeout":              {unaryPath, "application/proto", "", []string{"Connect-Timeout-Ms", "soon"}, 400, `"code":"invalid_argument"`},
		"negative timeout":         {unaryPath, "application/proto", "", []string{"Connect-Timeout-Ms", "-1"}, 400, `"code":"invalid_argument"`},
		"bad gRPC-Web timeout":     {unaryPath, "application/grpc-web", enveloped(0, ""), []string{"Grpc-Timeout", "1x"}, 200, "Grpc-Status: 3"},
		"message too long":         {unaryPath, "application/proto", long, nil, 429, `"code":"resource_exhausted"`},
		"envelope too long":        {unaryPath, "application/grpc-web", enveloped(0, long), nil, 200, "Grpc-Status: 8"},
		"bomb":                     {unaryPath, "application/proto", bomb, []string{"Content-Encoding", "gzip"}, 429, `"code":"resource_exhausted"`},
		"bomb in an envelope":      {unaryPath, "application/grpc-web", enveloped(1, bomb), []string{"Grpc-Encoding", "gzip"}, 200, "Grpc-Status: 8"},
		"not gzip":                 {unaryPath, "application/proto", "x", []string{"Content-Encoding", "gzip"}, 400, `"code":"invalid_argument"`},
		"compressed unannounced":   {unaryPath, "application/grpc-web", enveloped(1, "x"), nil, 200, "Grpc-Status: 13"},
		"unknown flags":            {unaryPath, "application/grpc-web", enveloped(0x40, "x"), nil, 200, "Grpc-Status: 13"},
		"cut envelope":             {unaryPath, "application/grpc-web", enveloped(0, "xyz")[:6], nil, 200, "Grpc-Status: 13"},
		"cut prefix":               {unaryPath, "application/grpc-web", "\x00\x00", nil, 200, "Grpc-Status: 13"},
		"cut stream":               {streamPath, "application/connect+proto", enveloped(0, "xyz")[:6], nil, 200, `"code":"internal"`},
		"text is no base64":        {unaryPath, "application/grpc-web-text", "****", nil, 200, "Grpc-Status: "},
		"cut text":                 {unaryPath, "application/grpc-web-text", "AAA", nil, 200, "Grpc-Status: 13"},
		"bad binary metadata":      {unaryPath, "application/proto", "", []string{"A-Bin", "*"}, 500, `"a-bin\" is not base64`},
		"too much metadata":        {unaryPath, "application/proto", "", []string{"A", strings.Repeat("x", 5000)}, 429, "over the limit of 4096"},
		"method not allowed":       {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "application/proto", "", nil, 404, "is not allowed on this bridge"},
		"not allowed, gRPC-Web":    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "application/grpc-web", enveloped(0, ""), nil, 200, "Grpc-Status: 12"},
		"malformed method":         {"/pollbridge%2ftest/Echo", "application/proto", "", nil, 404, "malformed method name"},
		"unknown method":           {"/pollbridge.test.v1.Echo/None", "application/proto", "", nil, 501, `"code":"unimplemented"`},
		"three segments":           {"/a/b/c", "application/proto", "", nil, 404, "404 page not found"},
	} {
		answer, got := post(t, plain.URL+tt.path, tt.contentType, tt.body, tt.header...)
		for key, values := range answer.Header {
			got += "\n" + key + ": " + strings.Join(values, ", ")
		}
		if answer.StatusCode != tt.status || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %d %.600s, want %d and %q", name, answer.StatusCode, got, tt.status, tt.want)
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut} {
		if got := get(srv, method, unaryPath+"?encoding=json&message={}&connect=v1"); got.StatusCode != 405 || got.Header.Get("Allow") != "POST, OPTIONS" {
			t.Errorf("%s: got %d, Allow %q", method, got.StatusCode, got.Header.Get("Allow"))
		}
	}
	if n := svc.Counts().Active; n != 0 {
		t.Errorf("%d RPCs run at the backend", n)
	}
	if _, got := post(t, plain.URL+unaryPath, "application/proto", ""); got == "" {
		t.Error("no answer afterwards")
	}
}

// TestRPC_text: gRPC-Web's text form, padded in the middle or not at all.
func TestRPC_text(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{RPC: true})
	plain, _ := listen(t, srv)
	message := enveloped(0, "\x08\x07\x12\x03abc") // number 7, payload abc
	encode := base64.StdEncoding.EncodeToString
	for name, body := range map[string]string{"whole": encode([]byte(message)), "in pieces": encode([]byte(message[:5])) + encode([]byte(message[5:6])) + encode([]byte(message[6:]))} {
		answer, got := post(t, plain.URL+unaryPath, "application/grpc-web-text", body, "Accept", "application/grpc-web-text")
		if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "application/grpc-web-text" {
			t.Errorf("%s: got %d, %s", name, answer.StatusCode, answer.Header.Get("Content-Type"))
		}
		frames := open(t, decodeGroups(t, got))
		if len(frames) != 2 || !strings.Contains(frames[0].text, "abc") || frames[1].flags != 0x80 || !strings.Contains(frames[1].text, "grpc-status: 0\r\n") {
			t.Errorf("%s: got %q", name, frames)
		}
	}
}

// decodeGroups decodes base64 that may be padded anywhere.
func decodeGroups(t *testing.T, text string) string {
	t.Helper()
	var out []byte
	for ; len(text) >= 4; text = text[4:] {
		raw, err := base64.StdEncoding.DecodeString(text[:4])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, raw...)
	}
	return string(out)
}

// TestRPC_deadline: the deadline goes to the backend, and ends the RPC.
func TestRPC_deadline(t *testing.T) {
	svc := eachClient(t, bridge.Config{}, func(t *testing.T, call rpcClient) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if got := call(ctx, echopb.Echo_ServerStream_FullMethodName, &echopb.Request{Script: &echopb.Script{Hang: true}}); got.code != codes.DeadlineExceeded {
			t.Errorf("got %v %s", got.code, got.message)
		}
	})
	waitIdle(t, svc)
}

// TestRPC_cancel: a client that goes away ends its RPC at the backend.
func TestRPC_cancel(t *testing.T) {
	svc := eachClient(t, bridge.Config{}, func(t *testing.T, call rpcClient) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		if got := call(ctx, echopb.Echo_ServerStream_FullMethodName, &echopb.Request{Script: &echopb.Script{Replies: 2, Hang: true}}); got.code != codes.Canceled {
			t.Errorf("got %v %s", got.code, got.message)
		}
	})
	waitIdle(t, svc)
}

// waitIdle waits until the backend has no RPC.
func waitIdle(t *testing.T, svc *testsvc.Server) {
	t.Helper()
	for range 500 {
		if svc.Counts().Active == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d RPCs run at the backend", svc.Counts().Active)
}

// TestRPC_authenticate: each RPC is authenticated, by its own token.
func TestRPC_authenticate(t *testing.T) {
	cfg := bridge.Config{RPC: true, ForwardHeaders: []string{"Cookie"}, Authenticate: func(_ context.Context, info bridge.AuthInfo) (bridge.Principal, error) {
		if info.Token != "good" || info.RemoteAddr != "127.0.0.1" {
			return bridge.Principal{}, status.Error(codes.Unauthenticated, "who are you?")
		}
		return bridge.Principal{Name: "ada", AllowMethods: []string{"pollbridge.test.v1.Echo/Unary"}}, nil
	}}
	srv, _ := newServer(t, cfg)
	plain, _ := listen(t, srv)
	reflect := "\x1a\x02\x58\x01" // script.reflect
	for _, tt := range []struct {
		path, authorization string
		status              int
		want                string
	}{
		{unaryPath, "Bearer good", 200, "authorization"},
		{unaryPath, "bearer  good ", 200, "a=b"},
		{unaryPath, "Bearer bad", 401, "who are you?"},
		{unaryPath, "Basic good", 401, "who are you?"},
		{unaryPath, "", 401, `"code":"unauthenticated"`},
		{streamPath, "Bearer good", 403, `"code":"permission_denied"`},
	} {
		answer, got := post(t, plain.URL+tt.path, "application/proto", reflect, "Authorization", tt.authorization, "Cookie", "a=b")
		if answer.StatusCode != tt.status || !strings.Contains(got, tt.want) {
			t.Errorf("%s with %q: got %d %q, want %d and %q", tt.path, tt.authorization, answer.StatusCode, got, tt.status, tt.want)
		}
	}
}

// TestRPC_origins: pages of allowed origins may send and read all that the
// protocols need, others nothing.
func TestRPC_origins(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{RPC: true, AllowOrigins: []string{"https://good.example"}})
	preflight := func(origin string) *http.Response {
		return get(srv, "OPTIONS", unaryPath, "Origin", origin, "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "connect-protocol-version,content-type,grpc-timeout,my-key,x-grpc-web")
	}
	good := preflight("https://good.example")
	if good.StatusCode != 204 || good.Header.Get("Access-Control-Allow-Origin") != "https://good.example" ||
		good.Header.Get("Access-Control-Allow-Methods") != "POST, OPTIONS" ||
		good.Header.Get("Access-Control-Allow-Headers") != "connect-protocol-version,content-type,grpc-timeout,my-key,x-grpc-web" {
		t.Errorf("preflight: got %d %v", good.StatusCode, good.Header)
	}
	if bad := preflight("https://evil.example"); bad.StatusCode != 403 || bad.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of another origin: got %d %v", bad.StatusCode, bad.Header)
	}
	plain, _ := listen(t, srv)
	// Headers h, a trailer t and a status.
	script := "\x1a\x10\x22\x06\x0a\x01h\x12\x01v\x2a\x06\x0a\x01t\x12\x01w"
	for name, tt := range map[string]struct {
		contentType, body string
		exposed           []string
	}{
		"connect":  {"application/proto", script, []string{"H", "Trailer-T", "Content-Type"}},
		"grpc-web": {"application/grpc-web", enveloped(0, script), []string{"H"}},
		"refused":  {"application/grpc-web", enveloped(0x40, ""), []string{"Grpc-Status", "Grpc-Message"}},
	} {
		answer, _ := post(t, plain.URL+unaryPath, tt.contentType, tt.body, "Origin", "https://good.example")
		list := strings.Split(answer.Header.Get("Access-Control-Expose-Headers"), ", ")
		for _, want := range tt.exposed {
			if !slices.Contains(list, want) {
				t.Errorf("%s: %s is not among %q", name, want, list)
			}
		}
		if refused, _ := post(t, plain.URL+unaryPath, tt.contentType, tt.body, "Origin", "https://evil.example"); refused.StatusCode != 403 {
			t.Errorf("%s from another origin: got %d", name, refused.StatusCode)
		}
	}
}

// TestRPC_budget: messages of all RPCs together are bounded, and what they took
// comes back.
func TestRPC_budget(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{RPC: true, MaxMessageBytes: 1 << 20, MaxBufferedBytes: 1 << 20})
	plain, _ := listen(t, srv)
	for range 3 {
		// A message of 600 KiB is read and held at once.
		if answer, got := post(t, plain.URL+unaryPath, "application/proto", "\x12\x80\xb0\x24"+strings.Repeat("x", 600<<10)); answer.StatusCode != 429 || !strings.Contains(got, "over the bridge's limit of 1048576 bytes") {
			t.Errorf("got %d %.200q", answer.StatusCode, got)
		}
		if answer, got := post(t, plain.URL+unaryPath, "application/proto", "\x12\x80\xa0\x06"+strings.Repeat("x", 100<<10)); answer.StatusCode != 200 {
			t.Errorf("a short one: got %d %.200q", answer.StatusCode, got)
		}
	}
}

// TestRPC_drain: RPCs that are open may end, with a hint to go elsewhere, and
// are cut at last.
func TestRPC_drain(t *testing.T) {
	svc := testsvc.New()
	t.Cleanup(svc.Stop)
	srv, err := bridge.New(bridge.Config{RPC: true, Backends: []bridge.Backend{{GRPCServer: svc.GRPC}}})
	if err != nil {
		t.Fatal(err)
	}
	clients := rpcClients(t, srv)
	plain, _ := listen(t, srv)
	ended := make(chan outcome, len(clients))
	for _, call := range clients {
		go func() {
			ended <- call(t.Context(), echopb.Echo_ServerStream_FullMethodName, &echopb.Request{Script: &echopb.Script{Hang: true}})
		}()
	}
	for svc.Counts().Active < int64(len(clients)) {
		time.Sleep(time.Millisecond)
	}
	ctx, cut := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(ctx) }()
	for {
		answer, _ := post(t, plain.URL+unaryPath, "application/proto", "")
		if answer.StatusCode != 200 {
			t.Fatalf("while draining: got %d", answer.StatusCode)
		}
		if answer.Close {
			break
		}
	}
	cut()
	for range clients {
		if got := <-ended; got.code != codes.Unavailable || got.message != "the bridge is shutting down" {
			t.Errorf("got %v %s", got.code, got.message)
		}
	}
	if err := <-done; err == nil {
		t.Error("Shutdown says that nothing was cut")
	}
	if answer, got := post(t, plain.URL+unaryPath, "application/proto", ""); answer.StatusCode != 503 || !strings.Contains(got, "shutting down") {
		t.Errorf("afterwards: got %d %s", answer.StatusCode, got)
	}
}

// TestRPC_answeredEarly: over HTTP/1.1 a backend that has heard enough is heard
// while the client still sends, and what it sends is nobody's next request.
func TestRPC_answeredEarly(t *testing.T) {
	srv, _ := newServer(t, bridge.Config{RPC: true})
	var log bytes.Buffer
	server := httptest.NewUnstartedServer(srv)
	server.Config.ErrorLog = stdlog.New(&log, "", 0)
	server.Start()
	for path, contentType := range map[string]string{
		echopb.Echo_ClientStream_FullMethodName: "application/connect+proto",
		"/not.Here/Method":                      "application/grpc-web",
		unaryPath:                               "application/connect+nothing",
	} {
		body, more := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		go func() {
			// script.stop_after is 1; POST begins what would be a request.
			_, _ = io.WriteString(more, enveloped(0, "\x1a\x02\x68\x01"))
			_, _ = io.WriteString(more, "POST / HTTP/1.1\r\n\r\n")
		}()
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(answer.Body); err != nil || !answer.Close {
			t.Errorf("%s: %v, the connection is kept: %v", path, err, !answer.Close)
		}
		answer.Body.Close()
		more.Close()
	}
	server.Close()
	if log.Len() > 0 {
		t.Errorf("the server's log: %s", log.String())
	}
}
