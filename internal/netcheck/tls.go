package netcheck

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
)

// Binding is a text that both ends of a TLS connection know and nobody else: if
// they differ, somebody ends TLS between them. Empty: not to be had.
func Binding(state *tls.ConnectionState) string {
	key, err := state.ExportKeyingMaterial("EXPORTER-pollbridge-check", nil, 32)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// tls compares both ends of TLS.
func (r *runner) tls() {
	facts := map[string]string{"via": "", "version": r.seen.TLS}
	if r.seen.Via != "" {
		facts["via"] = " (Via: " + r.seen.Via + ")"
	}
	state := r.first.tls
	switch {
	case state == nil:
		r.say("tls", "plain", facts)
	case r.seen.TLS == "":
		r.say("tls", "terminated", facts)
	case r.seen.Binding == "" || Binding(state) == "":
		r.say("tls", "unknown", facts)
	case r.seen.Binding == Binding(state):
		r.say("tls", "ok", facts)
	default:
		r.say("tls", "intercepted", facts)
	}
}
