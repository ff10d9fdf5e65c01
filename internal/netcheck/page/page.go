// Package page holds the page of the network check.
package page

import (
	"embed"
	"io/fs"

	"github.com/pollbridge/pollbridge/internal/look"
)

//go:embed files
var files embed.FS

// Files returns the page's files. index.html is to be served at {prefix}/check,
// all of them at {prefix}/check/, and the script diagnose.js at {prefix}/, with
// look.ContentSecurityPolicy.
func Files() fs.FS { return look.With(files, "files") }
