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
