package page_test

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/netcheck/page"
)

// TestPage_references holds that the page asks for nothing but its own files,
// and has nothing inline, which its policy forbids.
func TestPage_references(t *testing.T) {
	html, err := fs.ReadFile(page.Files(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)`).FindAllStringSubmatch(string(html), -1) {
		name, ours := strings.CutPrefix(m[1], "check/")
		if _, err := fs.Stat(page.Files(), name); !ours || err != nil {
			t.Errorf("index.html refers to %s: %v", m[1], err)
		}
	}
	if found := regexp.MustCompile(`<style|<script>|\sstyle=|\son[a-z]+=|javascript:`).FindString(string(html)); found != "" {
		t.Errorf("index.html has %q, which the policy forbids", found)
	}
}
