package bridge

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/pollbridge/pollbridge/internal/httpwrite"
	"github.com/pollbridge/pollbridge/jsclient"
	"github.com/pollbridge/pollbridge/transport/access"
)

// handleScripts serves the browser client and its adapters. They have no
// secrets, so pages of any origin may load them.
func handleScripts(mux *http.ServeMux, prefix string) {
	mux.Handle(prefix+"/client.js", script(jsclient.Module))
	mux.Handle(prefix+"/client.global.js", script(jsclient.Global))
	for name, text := range jsclient.Adapters() {
		mux.Handle(prefix+"/"+name, script(text))
	}
}

func script(text []byte) http.Handler {
	sum := sha256.Sum256(text)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	return httpwrite.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			access.NotAllowed(w, r, "GET, HEAD")
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("ETag", tag)
		h.Set("Cache-Control", "no-cache") // revalidate each time, mostly with a 304
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(text))
	}))
}
