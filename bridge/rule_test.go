package bridge_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/wire"
)

// W4: the HTTP statuses that the bridge itself gives, each with its marker.
func TestRule_statuses(t *testing.T) {
	const limit = 2 << 20 // the default
	srv, _ := newServer(t, bridge.Config{AllowOrigins: []string{"https://good.example"}})
	id, key := bytes.Repeat([]byte{7}, wire.IDSize), bytes.Repeat([]byte{8}, wire.KeySize)
	path := "/bridge/v1/" + wire.EncodeSession(id)
	batch := func(change func(*wire.Batch)) []byte {
		b := &wire.Batch{Session: id, Key: key, X: 1, NowMicros: 1, Awaiting: 1}
		change(b)
		return wire.AppendBatch(nil, b)
	}
	hello := func(b *wire.Batch) {
		b.Hello, b.Versions = &wire.Hello{Release: "test/1"}, &wire.Versions{Lowest: 1, Highest: 1}
	}
	old := func(b *wire.Batch) {
		hello(b)
		b.Versions = &wire.Versions{Lowest: 90, Highest: 99}
	}
	stale := func(b *wire.Batch) { b.Incarnation = 1 << 40 }
	for name, c := range map[string]struct {
		method, path, origin string
		body                 []byte
		want                 int
		code                 wire.CloseCode // of the answer's close
	}{
		"welcome":         {"POST", path + "/poll", "https://good.example", batch(hello), 200, 0},
		"no origin":       {"POST", path + "/poll", "", batch(hello), 200, 0},
		"garbled":         {"POST", path + "/poll", "", []byte("<html>"), 200, wire.CodeGarbled},
		"unknown session": {"POST", path + "/poll", "", batch(stale), 200, wire.CodeUnknown},
		"too old":         {"POST", path + "/poll", "", batch(old), 200, wire.CodeVersion},
		"too large":       {"POST", path + "/poll", "", make([]byte, limit+1), 200, wire.CodeTooLarge},
		"preflight":       {"OPTIONS", path + "/poll", "https://good.example", nil, 204, 0},
		"foreign origin":  {"POST", path + "/poll", "https://evil.example", batch(hello), 403, 0},
		"foreign socket":  {"GET", path + "/ws", "https://evil.example", nil, 403, 0},
		"no handshake":    {"GET", path + "/ws", "", nil, 400, 0},
		"no such path":    {"POST", path + "/else", "", nil, 404, 0},
		"no such method":  {"GET", path + "/poll", "", nil, 405, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(c.method, c.path, bytes.NewReader(c.body))
			r.Header.Set("Content-Type", "application/octet-stream")
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			w := httptest.NewRecorder()
			srv.ServeHTTP(w, r)
			got := w.Result()
			if got.StatusCode != c.want || got.Header.Get("Pollbridge") != "1" {
				t.Fatalf("got %d, marker %q, want %d", got.StatusCode, got.Header.Get("Pollbridge"), c.want)
			}
			if c.want != http.StatusOK {
				return
			}
			answer, err := io.ReadAll(got.Body)
			if err != nil {
				t.Fatal(err)
			}
			var b wire.Batch
			if err := wire.ParseBatch(answer, &b); err != nil {
				t.Fatal(err)
			}
			if c.code == 0 && b.Welcome == nil || c.code != 0 && (b.Close == nil || b.Close.Code != c.code) {
				t.Errorf("close %+v, welcome %+v", b.Close, b.Welcome)
			}
		})
	}
}
