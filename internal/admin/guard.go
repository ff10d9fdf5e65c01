package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/pollbridge/pollbridge/transport/access"
)

// Guard returns a handler that passes to next only what may come: nothing that
// another site's page sends, by its own name or by one that leads to this machine,
// and, if there is a token, what has it. No browser adds the token by itself.
func (h *Handler) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		if p := h.refuse(r); p != nil {
			if p.status == http.StatusUnauthorized {
				header.Set("WWW-Authenticate", "Bearer")
			}
			h.refused.Add("remote", r.RemoteAddr, "path", r.URL.Path, "err", p.Text)
			fail(w, p)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refuse returns why a request may not come, nil if it may.
func (h *Handler) refuse(r *http.Request) *problem {
	if access.Rebound(r) {
		return &problem{http.StatusForbidden, "over a loopback connection the host must be a loopback name, such as localhost", nil}
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if h.cross.Check(r) != nil || site != "" && site != "same-origin" && site != "none" {
		return &problem{http.StatusForbidden, "pages of other origins may not ask for this", nil}
	}
	if h.cfg.Token != "" && !h.authorized(r) {
		return &problem{http.StatusUnauthorized, "want the admin token as Authorization: Bearer TOKEN", nil}
	}
	return nil
}

// authorized reports whether a request has the token. It takes as long for any
// that has not.
func (h *Handler) authorized(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	given, want := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(h.cfg.Token))
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1
}
