package admin

import (
	"embed"
	"net/http"
	"strings"

	"github.com/pollbridge/pollbridge/internal/look"
)

//go:embed page/*.html page/*.css page/*.js
var page embed.FS

// Page serves the page at / to browsers, its files below /ui/, and what other says
// to who does not ask for HTML at /. It needs no token: all that it shows it asks
// the API for.
func Page(other http.Handler) http.Handler {
	files := look.With(page, "page")
	serve := func(w http.ResponseWriter, r *http.Request, name string) {
		h := w.Header()
		h.Set("Content-Security-Policy", look.ContentSecurityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		http.ServeFileFS(w, r, files, name)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			serve(w, r, "index.html")
			return
		}
		other.ServeHTTP(w, r)
	})
	mux.HandleFunc("GET /ui/{file}", func(w http.ResponseWriter, r *http.Request) { serve(w, r, r.PathValue("file")) })
	return mux
}
