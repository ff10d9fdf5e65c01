package demo

import (
	"embed"
	"io/fs"

	"github.com/pollbridge/pollbridge/internal/look"
)

//go:embed page/*.html page/*.css page/*.js
var page embed.FS

// Page returns the files of the page, index.html at the top. The page reads the
// bridge's prefix from its <meta name="bridge-prefix">, "/bridge" as embedded. It
// is to be served with look.ContentSecurityPolicy.
func Page() fs.FS { return look.With(page, "page") }
