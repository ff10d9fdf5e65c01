// Package look holds what the project's pages share: colours and sizes, the
// choice between light and dark, and the icon.
package look

import (
	"embed"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

//go:embed files
var files embed.FS

// With returns a page's files with the shared ones, theme.css, theme.js and
// favicon.svg, beside them at the top: for Open and fs.ReadDir.
func With(page fs.FS) fs.FS {
	shared, err := fs.Sub(files, "files")
	if err != nil {
		panic(err) // only for a path that is not valid, and "files" is
	}
	return both{page: page, shared: shared}
}

type both struct{ page, shared fs.FS }

// Open implements fs.FS.
func (b both) Open(name string) (fs.File, error) {
	f, err := b.page.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return b.shared.Open(name)
	}
	return f, err
}

// ReadDir implements fs.ReadDirFS.
func (b both) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(b.page, name)
	if err != nil || name != "." {
		return entries, err
	}
	shared, err := fs.ReadDir(b.shared, name)
	byName := func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) }
	return slices.SortedFunc(slices.Values(append(entries, shared...)), byName), err
}
