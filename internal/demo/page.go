package demo

import (
	"embed"
	"io/fs"

	"github.com/pollbridge/pollbridge/internal/look"
)

// ContentSecurityPolicy is the value of the header of that name that the page is
// to be served with, and works under: nothing but same-origin files, and no text
// turned into markup or script.
const ContentSecurityPolicy = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

//go:embed page/*.html page/*.css page/*.js
var page embed.FS

// Page returns the files of the page, index.html at the top. It finds the
// bridge's prefix in its own <meta name="bridge-prefix">, "/bridge" as embedded.
func Page() fs.FS {
	files, err := fs.Sub(page, "page")
	if err != nil {
		panic(err) // only for a path that is not valid, and "page" is
	}
	return look.With(files)
}
