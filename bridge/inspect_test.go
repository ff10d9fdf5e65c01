package bridge_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/pollbridge/pollbridge/bridge"
	"github.com/pollbridge/pollbridge/internal/admin"
	"github.com/pollbridge/pollbridge/internal/wire"
	"github.com/pollbridge/pollbridge/transport"
)

// openMany opens sessions by a Hello each.
func openMany(tb testing.TB, srv *bridge.Server, n int) {
	tb.Helper()
	for i := range n {
		id, key := make([]byte, wire.IDSize), make([]byte, wire.KeySize)
		_, _ = rand.Read(id)
		_, _ = rand.Read(key)
		batch := wire.AppendBatch(nil, &wire.Batch{
			Session: id, Key: key, X: 1, Hello: &wire.Hello{Release: "test/1"}, Versions: &wire.Versions{Lowest: 1, Highest: 1},
		})
		link := srv.Accept(tb.Context(), transport.Hello{
			Kind: transport.Longpoll, Session: wire.EncodeSession(id), Batch: batch, RemoteAddr: fmt.Sprintf("192.0.2.%d", i%200),
		})
		if _, err := link.Next(tb.Context(), 1<<20); err != nil {
			tb.Fatal(err)
		}
		link.Close()
	}
}

// TestAdmin_manySessions: the pages of a long list have each session once.
func TestAdmin_manySessions(t *testing.T) {
	const n = 10_000
	srv, _ := newServer(t, bridge.Config{})
	openMany(t, srv, n)
	handler, seen := srv.AdminHandler(), map[string]bool{}
	for offset := 0; offset < n; offset += admin.MaxLimit {
		w := get(handler, "GET", fmt.Sprintf("/api/v1/sessions?sort=principal&limit=%d&offset=%d", admin.MaxLimit, offset))
		var page admin.Sessions
		if err := json.NewDecoder(w.Body).Decode(&page); err != nil || w.StatusCode != http.StatusOK {
			t.Fatal(w.Status, err)
		}
		if page.Total != n || page.Matched != n || len(page.Sessions) != admin.MaxLimit {
			t.Fatalf("from %d on: %d of %d, %d on the page", offset, page.Matched, page.Total, len(page.Sessions))
		}
		for _, s := range page.Sessions {
			seen[s.ID] = true
		}
	}
	if len(seen) != n {
		t.Errorf("%d sessions on all pages, want %d", len(seen), n)
	}
}

// BenchmarkAdmin_sessions: what a page of 100 costs of 10,000 sessions.
func BenchmarkAdmin_sessions(b *testing.B) {
	srv, err := bridge.New(good())
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Shutdown(b.Context())
	openMany(b, srv, 10_000)
	handler := srv.AdminHandler()
	for b.Loop() {
		if w := get(handler, "GET", "/api/v1/sessions?sort=rate"); w.StatusCode != http.StatusOK {
			b.Fatal(w.Status)
		}
	}
}
