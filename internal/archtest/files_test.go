package archtest_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	root = "../.."

	maxLines     = 500
	maxTestLines = 800
)

// skipped are folders of things that nobody wrote by hand.
var skipped = []string{".git", ".cache", ".test", "node_modules", "bin", "dist", "bundle", "gen"}

// source are the endings of what people write.
var source = []string{".go", ".ts", ".js", ".mjs", ".css", ".html", ".proto", ".sh"}

// walk calls f with the slash-separated path, from the module's root, and the
// content of each file whose name ends in one of the endings.
func walk(t *testing.T, endings []string, f func(path string, text []byte)) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skipped, d.Name()):
			return fs.SkipDir
		case d.IsDir() || !slices.Contains(endings, filepath.Ext(path)):
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
		if err == nil {
			f(path, text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFileLength(t *testing.T) {
	walk(t, source, func(path string, text []byte) {
		if isGenerated(path, text) {
			return
		}
		limit := maxLines
		if isTest(path) {
			limit = maxTestLines
		}
		if n := bytes.Count(text, []byte("\n")); n > limit {
			t.Errorf("%s: %d lines, at most %d: split it by duty", path, n, limit)
		}
	})
}

func TestNoPromises(t *testing.T) {
	promise := regexp.MustCompile(`\b(` + `TO` + `DO|FIX` + `ME|X` + `XX)\b`)
	walk(t, append(slices.Clone(source), ".md", ".yml", ".yaml"), func(path string, text []byte) {
		for i, line := range bytes.Split(text, []byte("\n")) {
			if m := promise.Find(line); m != nil {
				t.Errorf("%s:%d: %s: do it, or open an issue", path, i+1, m)
			}
		}
	})
}

// TestLockFiles keeps the names of package hosts out of npm's lock files.
func TestLockFiles(t *testing.T) {
	walk(t, []string{".json"}, func(path string, text []byte) {
		if filepath.Base(path) == "package-lock.json" && bytes.Contains(text, []byte(`"resolved": "http`)) {
			t.Errorf(`%s names the host that packages came from; lock again with npm's omit-lockfile-registry-resolved=true`, path)
		}
	})
}

var generatedMark = regexp.MustCompile(`(?m)^// (Code generated|@generated).*`)

func isGenerated(path string, text []byte) bool {
	return strings.HasSuffix(path, ".pb.go") || generatedMark.Match(text[:min(len(text), 400)])
}

func isTest(path string) bool {
	return strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".test.ts") ||
		strings.Contains(path, "transporttest/")
}
