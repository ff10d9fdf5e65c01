package demo_test

import (
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/pollbridge/pollbridge/internal/demo"
)

func TestPage_referencesOnlyItsOwnFiles(t *testing.T) {
	reference := map[string]*regexp.Regexp{
		".html": regexp.MustCompile(`(?:src|href)="([^"#?]+)`),
		".css":  regexp.MustCompile(`(?:url\(|@import )["']?([^"')]+)`),
		".js":   regexp.MustCompile(`(?:from|import) "([^"]+)"`),
	}
	for name, text := range pageFiles(t) {
		pattern, ok := reference[path.Ext(name)]
		if !ok {
			continue
		}
		for _, m := range pattern.FindAllStringSubmatch(text, -1) {
			if m[1] == "./" {
				continue // the page itself
			}
			if _, err := fs.Stat(demo.Page(), path.Clean(m[1])); err != nil {
				t.Errorf("%s refers to %s: %v", name, m[1], err)
			}
		}
	}
}

func TestPage_hasNothingInline(t *testing.T) {
	inline := regexp.MustCompile(`<style|<script>|\sstyle=|\son[a-z]+=|javascript:`)
	for name, text := range pageFiles(t) {
		if path.Ext(name) != ".html" {
			continue
		}
		if found := inline.FindString(text); found != "" {
			t.Errorf("%s has %q, which the policy forbids", name, found)
		}
	}
	if !strings.HasPrefix(demo.ContentSecurityPolicy, "default-src 'self';") {
		t.Errorf("policy %q does not begin with default-src 'self'", demo.ContentSecurityPolicy)
	}
}

// pageFiles returns every file of the page, text by name.
func pageFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(demo.Page(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(demo.Page(), name)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := files["index.html"]; !ok {
		t.Fatal("no index.html")
	}
	return files
}
