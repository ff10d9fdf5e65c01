package answer_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/netcheck"
	"github.com/pollbridge/pollbridge/internal/netcheck/answer"
	"github.com/pollbridge/pollbridge/transport/access"
)

const run = "abcdefghijklmnopqrstuv"

func serve(t *testing.T) *httptest.Server {
	t.Helper()
	policy, err := access.New(access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h, mux := answer.New(answer.Config{Access: policy, Release: "test"}), http.NewServeMux()
	h.Mount(mux, "/")
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		h.Close()
		server.Close()
	})
	return server
}

// ask posts a body and returns the status, the answer and its payload.
func ask(t *testing.T, server *httptest.Server, body string, header http.Header) (int, netcheck.Answer, []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, server.URL+"/echo", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	line, payload, _ := bytes.Cut(all, []byte{'\n'})
	var a netcheck.Answer
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatalf("%q: %v", all, err)
	}
	return resp.StatusCode, a, payload
}

// TestEcho: good requests are answered.
func TestEcho(t *testing.T) {
	server := serve(t)
	code, a, payload := ask(t, server, `{"run":"`+run+`","n":1,"down":1000,"hold_ms":1}`+"\npayload", nil)
	if code != 200 || a.Run != run || a.N != 1 || a.Up != 7 || a.Sum != crc32.Checksum([]byte("payload"), crc32.MakeTable(crc32.Castagnoli)) || len(payload) != 1000 {
		t.Errorf("status %d, %+v, %d bytes", code, a, len(payload))
	}
	if code, a, _ := ask(t, server, `{"run":"`+run+`","n":2,"status":418}`, nil); code != 418 || a.N != 2 {
		t.Errorf("status %d, %+v", code, a)
	}
	for range 2 {
		ask(t, server, `{"run":"`+run+`","n":3}`, nil)
	}
	_, a, _ = ask(t, server, `{"run":"`+run+`","n":4,"record":true}`, nil)
	var came []int
	for _, arrival := range a.Record.Arrivals {
		came = append(came, arrival.N)
	}
	if !slices.Equal(came, []int{1, 2, 3, 4}) || a.Record.Copies != 1 || a.Record.Peak != 1 || len(a.Record.Gone) != 0 {
		t.Errorf("%+v", a.Record)
	}
}

// TestSeen: an answer has the names of headers, and no value that may be secret.
func TestSeen(t *testing.T) {
	server := serve(t)
	header := http.Header{
		"Authorization": {"Bearer secret"}, "Cookie": {"a=secret"}, "X-Api-Key": {"secret"},
		"X-Forwarded-For": {"10.1.2.3, 10.1.2.4"}, "Via": {"1.1 squid"}, "Content-Type": {"text/plain"},
	}
	_, a, _ := ask(t, server, `{"run":"`+run+`","n":1,"seen":true}`, header)
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte("secret")) || bytes.Contains(text, []byte("10.1.2")) {
		t.Errorf("secrets in %s", text)
	}
	s := a.Seen
	if s.Release != "test" || s.Proto != "HTTP/1.1" || s.Via != "1.1 squid" || s.Forwarded != 2 || s.ContentType != "text/plain" ||
		!slices.Contains(s.Headers, "x-api-key") {
		t.Errorf("%+v", s)
	}
}

// TestRefusals: the refusal of a bad request names the mistake.
func TestRefusals(t *testing.T) {
	server := serve(t)
	for _, test := range []struct {
		body   string
		status int
		says   string
	}{
		{"", 400, "first line"},
		{"{", 400, "first line"},
		{`{"run":"short","n":1}`, 400, `run "short"`},
		{`{"run":"` + strings.Repeat("/", 22) + `","n":1}`, 400, "letters and digits"},
		{`{"run":"` + run + `"}`, 400, "n: got 0"},
		{`{"run":"` + run + `","n":1,"hold_ms":60001}`, 400, "hold_ms: got 60001, want 0 to 60000"},
		{`{"run":"` + run + `","n":1,"down":-1}`, 400, "down: got -1"},
		{`{"run":"` + run + `","n":1,"down":1048577}`, 400, "down: got 1048577"},
		{`{"run":"` + run + `","n":1,"status":200}`, 400, "status: got 200"},
		{`{"run":"` + run + `","n":1,"stream":"river"}`, 400, `stream: unknown form "river"`},
		{`{"run":"` + run + `","n":1}` + "\n" + strings.Repeat("x", netcheck.MaxPayload+8192), 400, "too large"},
	} {
		if code, a, _ := ask(t, server, test.body, nil); code != test.status || !strings.Contains(a.Error, test.says) {
			t.Errorf("%.80s: status %d, %q, want %d, %q", test.body, code, a.Error, test.status, test.says)
		}
	}
}

// TestBounds: a run and an address are limited.
func TestBounds(t *testing.T) {
	server := serve(t)
	moved := 0
	for n := 1; ; n++ {
		code, a, payload := ask(t, server, fmt.Sprintf(`{"run":%q,"n":%d,"down":1048576}`, run, n), nil)
		moved += len(payload)
		if code == http.StatusServiceUnavailable && strings.Contains(a.Error, "over its limit") {
			break
		}
		if moved > netcheck.MaxRun {
			t.Fatalf("%d bytes, at most %d", moved, netcheck.MaxRun)
		}
	}
	for i := range 15 {
		if code, a, _ := ask(t, server, fmt.Sprintf(`{"run":"%022d","n":1}`, i), nil); code != 200 {
			t.Errorf("run %d: status %d, %s", i, code, a.Error)
		}
	}
	if code, a, _ := ask(t, server, `{"run":"0000000000000000000099","n":1}`, nil); code != 503 || !strings.Contains(a.Error, "too many") {
		t.Errorf("one run too many: status %d, %q", code, a.Error)
	}
}

// TestMethods: each method and route has its status.
func TestMethods(t *testing.T) {
	server := serve(t)
	for _, test := range []struct {
		method, path, origin string
		status               int
	}{
		{http.MethodGet, "/echo", "", 405},
		{http.MethodPost, "/nonce", "", 405},
		{http.MethodGet, "/nonce", "", 200},
		{http.MethodOptions, "/echo", server.URL, 204},
		{http.MethodGet, "/nonce", "https://evil.test", 403},
		{http.MethodGet, "/ws?run=" + run + "&n=1", "", 426},
		{http.MethodGet, "/ws?run=x&n=1", "", 400},
	} {
		req, err := http.NewRequest(test.method, server.URL+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.origin != "" {
			req.Header.Set("Origin", test.origin)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != test.status || resp.Header.Get(access.Marker) == "" {
			t.Errorf("%s %s: status %d, marker %q", test.method, test.path, resp.StatusCode, resp.Header.Get(access.Marker))
		}
	}
}
