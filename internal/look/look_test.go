package look_test

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pollbridge/pollbridge/internal/demo"
	"github.com/pollbridge/pollbridge/internal/look"
	"github.com/pollbridge/pollbridge/internal/netcheck/page"
)

// read returns every file, text by name.
func read(t *testing.T, files fs.FS) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		texts[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func TestWith(t *testing.T) {
	files := look.With(fstest.MapFS{"page/index.html": {}, "page/parts/one.css": {}, "other.css": {}}, "page")
	var got []string
	for name := range read(t, files) {
		got = append(got, name)
	}
	slices.Sort(got)
	if want := []string{"common.css", "favicon.svg", "index.html", "parts/one.css", "svg.js", "theme.css", "theme.js"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if _, err := files.Open("other.css"); err == nil {
		t.Error("other.css is there")
	}
}

// TestPages: pages ask for nothing but their own files, and have nothing inline,
// which the policy forbids.
func TestPages(t *testing.T) {
	reference := map[string]*regexp.Regexp{
		".html": regexp.MustCompile(`(?:src|href)="([^"#?]+)`),
		".css":  regexp.MustCompile(`(?:url\(|@import )["']?([^"')]+)`),
		".js":   regexp.MustCompile(`(?:from|import) "([^"]+)"`),
	}
	inline := regexp.MustCompile(`<style|<script>|\sstyle=|\son[a-z]+=|javascript:`)
	elsewhere := []string{"./", "../diagnose.js"} // the page itself, and a script of the bridge
	for _, p := range []struct {
		files fs.FS
		under string // what names in index.html begin with
	}{{demo.Page(), ""}, {page.Files(), "check/"}} {
		texts := read(t, p.files)
		if texts["index.html"] == "" {
			t.Fatal("no index.html")
		}
		for name, text := range texts {
			if pattern, ok := reference[path.Ext(name)]; ok {
				for _, m := range pattern.FindAllStringSubmatch(text, -1) {
					to := path.Clean(m[1])
					if name == "index.html" {
						to = strings.TrimPrefix(to, p.under)
					}
					if texts[to] == "" && !slices.Contains(elsewhere, m[1]) {
						t.Errorf("%s refers to %s, which is not there", name, m[1])
					}
				}
			}
			if found := inline.FindString(text); path.Ext(name) == ".html" && found != "" {
				t.Errorf("%s has %q, which the policy forbids", name, found)
			}
		}
	}
	if !strings.HasPrefix(look.ContentSecurityPolicy, "default-src 'self';") {
		t.Errorf("policy %q does not begin with default-src 'self'", look.ContentSecurityPolicy)
	}
}
