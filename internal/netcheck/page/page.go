// Package page holds the page of the network check.
package page

import (
	"embed"
	"io/fs"

	"github.com/pollbridge/pollbridge/internal/look"
)

// ContentSecurityPolicy is what the page is to be served with, and works under.
const ContentSecurityPolicy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

//go:embed files
var files embed.FS

// Files are the page's files. index.html is to be served at {prefix}/check,
// all of them at {prefix}/check/, and the script diagnose.js at {prefix}/.
func Files() fs.FS {
	sub, err := fs.Sub(files, "files")
	if err != nil {
		panic(err) // only for a path that is not valid, and "files" is
	}
	return look.With(sub)
}
