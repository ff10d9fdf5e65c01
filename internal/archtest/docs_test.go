package archtest_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLinks follows every relative link of the docs, headings included, and
// those by which what is published elsewhere points here.
func TestLinks(t *testing.T) {
	here := regexp.MustCompile(`^https://github\.com/pollbridge/pollbridge/(?:blob|tree)/main/`)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href|srcset)="([^"]+)"`)
	pages := map[string]string{}
	walk(t, []string{".md"}, func(p string, text []byte) { pages[p] = string(text) })
	if len(pages) == 0 {
		t.Fatal("no docs found")
	}
	for page, text := range pages {
		for _, m := range link.FindAllStringSubmatch(withoutCode(text), -1) {
			target, from := m[1]+m[2], path.Dir(page)
			if own := here.FindString(target); own != "" {
				target, from = target[len(own):], ""
			}
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file, heading, _ := strings.Cut(target, "#")
			to := page
			if file != "" {
				to = path.Join(from, file)
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(to))); err != nil {
				t.Errorf("%s: link to %s: no such file", page, target)
				continue
			}
			if heading != "" && strings.HasSuffix(to, ".md") && !hasHeading(pages[to], heading) {
				t.Errorf("%s: link to %s: no such heading", page, target)
			}
		}
	}
}

// TestNamedTests holds that each test which the docs name as the proof of a
// rule exists: `TestX`, `TestX/case` and `FuzzX` in Go, ts:"name" in
// TypeScript.
func TestNamedTests(t *testing.T) {
	var goTests, tsTests strings.Builder
	walk(t, []string{".go", ".ts"}, func(p string, text []byte) {
		switch {
		case strings.HasSuffix(p, ".go") && isTest(p):
			goTests.Write(text)
		case strings.HasSuffix(p, ".test.ts"):
			tsTests.Write(text)
		}
	})
	inGo := regexp.MustCompile(`\b((?:Test|Fuzz)[A-Z]\w*)(?:/([\w./-]*\w))?`)
	inTS := regexp.MustCompile(`ts:\s*"([^"]+)"`)
	for _, page := range []string{"docs/PROTOCOL.md", "docs/SECURITY.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range inGo.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(goTests.String(), "func "+m[1]+"(") {
				t.Errorf("%s names %s: no such test", page, m[1])
			} else if m[2] != "" && !hasCase(goTests.String(), m[2]) {
				t.Errorf("%s names %s/%s: no such case", page, m[1], m[2])
			}
		}
		for _, m := range inTS.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(tsTests.String(), m[1]) {
				t.Errorf("%s names ts:%q: no such test", page, m[1])
			}
		}
	}
}

// TestEveryRuleNamesATest holds that no rule of the protocol is without a test.
func TestEveryRuleNamesATest(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(`(?m)^- \*\*([A-Z]\d+)\*\* .*$`).FindAllStringSubmatch(string(text), -1)
	if len(rules) < 29 {
		t.Errorf("only %d rules found", len(rules))
	}
	held := regexp.MustCompile("\\*Held by\\* `(Test|Fuzz)")
	for _, m := range rules {
		if !held.MatchString(m[0]) {
			t.Errorf("docs/PROTOCOL.md: rule %s names no test", m[1])
		}
	}
}

// TestOperations holds that docs/OPERATIONS.md names every flag of bridge serve
// and every metric.
func TestOperations(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	flag, metric := regexp.MustCompile(`\bName: "([a-z-]+)"`), regexp.MustCompile(`"(pollbridge_[a-z_]+)"`)
	for file, names := range map[string]*regexp.Regexp{
		"cmd/bridge/internal/config/options.go":        flag,
		"cmd/bridge/internal/config/authoptions.go":    flag,
		"cmd/bridge/internal/config/clusteroptions.go": flag,
		"bridge/metrics.go":                            metric,
		"internal/auth/jwtauth/metrics.go":             metric,
	} {
		code, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Error(err)
			continue
		}
		found := names.FindAllStringSubmatch(string(code), -1)
		if len(found) < 3 {
			t.Errorf("%s: only %d names found", file, len(found))
		}
		for _, m := range found {
			if !strings.Contains(string(page), m[1]) {
				t.Errorf("docs/OPERATIONS.md does not name %s of %s", m[1], file)
			}
		}
	}
}

// hasCase tells whether a name of a subtest is written somewhere, with spaces
// or with the underscores that go test makes of them.
func hasCase(tests, name string) bool {
	return strings.Contains(tests, `"`+name+`"`) ||
		strings.Contains(tests, `"`+strings.ReplaceAll(name, "_", " ")+`"`)
}

var (
	fenced  = regexp.MustCompile("(?s)```.*?```")
	quoted  = regexp.MustCompile("`[^`\n]*`")
	heading = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func withoutCode(text string) string {
	return quoted.ReplaceAllString(fenced.ReplaceAllString(text, ""), "")
}

// hasHeading tells whether a page has a heading that forges show under this
// anchor.
func hasHeading(text, anchor string) bool {
	for _, m := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		slug := dropped.ReplaceAllString(strings.ToLower(m[1]), "")
		if strings.ReplaceAll(slug, " ", "-") == anchor {
			return true
		}
	}
	return false
}
