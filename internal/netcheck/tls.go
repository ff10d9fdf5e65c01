package netcheck

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
)

// Binding returns a text that only the two ends of a TLS connection know, "" if
// there is none. If theirs differ, somebody ends TLS between them.
func Binding(state *tls.ConnectionState) string {
	key, err := state.ExportKeyingMaterial("EXPORTER-pollbridge-check", nil, 32)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}
