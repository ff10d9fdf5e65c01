// Package look holds what the project's pages share: colours and sizes, controls,
// the choice between light and dark, the icon, and the policy.
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

// ContentSecurityPolicy is the policy that pages are served with, and work under:
// same-origin files only, and no text turned into markup or script.
const ContentSecurityPolicy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// With returns the files of a page, those in dir of page, with the shared ones
// beside them at the top: theme.css, common.css, theme.js, svg.js and favicon.svg.
func With(page fs.FS, dir string) fs.FS {
	return both{page: sub(page, dir), shared: sub(files, "files")}
}

func sub(files fs.FS, dir string) fs.FS {
	sub, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // only for a dir that is not a valid path
	}
	return sub
}

// both has the files of page, and those of shared that page does not have.
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
