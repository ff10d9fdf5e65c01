package admin_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/admin"
	"github.com/pollbridge/pollbridge/internal/look"
)

// TestPage: browsers get the page at /, others what there is; the page names only
// files that there are, and nothing of other hosts.
func TestPage(t *testing.T) {
	h := admin.Page(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a list") }))
	if w := ask(h, "GET", "/", "Accept", "*/*"); w.Body.String() != "a list" {
		t.Errorf("for curl: %s", w.Body)
	}
	w := ask(h, "GET", "/", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Content-Security-Policy") != look.ContentSecurityPolicy {
		t.Errorf("status %d, %v", w.Code, w.Header())
	}
	html := w.Body.String()
	names := regexp.MustCompile(`(?:src|href)="(ui/[^"]*)"`).FindAllStringSubmatch(html, -1)
	if len(names) < 6 || strings.Contains(html, "://") {
		t.Errorf("the page names %d files, or other hosts", len(names))
	}
	for _, name := range names {
		if w := ask(h, "GET", "/"+name[1]); w.Code != 200 || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: status %d, %v", name[1], w.Code, w.Header())
		}
	}
	for path, status := range map[string]int{"/ui/none.js": 404, "/ui/": 404, "/ui/../guard.go": 307, "/x": 404} {
		if w := ask(h, "GET", path, "Accept", "text/html"); w.Code != status {
			t.Errorf("%s: status %d, want %d", path, w.Code, status)
		}
	}
	if w := ask(h, "POST", "/"); w.Code != 405 {
		t.Errorf("POST: status %d", w.Code)
	}
}
