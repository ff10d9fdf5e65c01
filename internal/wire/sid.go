package wire

import (
	"encoding/base64"
	"fmt"
)

// sidSize is the length of a session's ID as a path spells it.
const sidSize = 22

// EncodeSession spells a session's ID as in the {sid} of a path: unpadded
// base64url, 22 characters for the IDSize bytes of an ID (O1).
func EncodeSession(id []byte) string {
	return base64.RawURLEncoding.EncodeToString(id)
}

// ParseSession reads what EncodeSession spells, and only that: no padding, no
// other alphabet, no second spelling of an ID.
func ParseSession(sid string) ([IDSize]byte, error) {
	var id [IDSize]byte
	if len(sid) != sidSize {
		return id, fmt.Errorf("session ID has %d characters, not %d", len(sid), sidSize)
	}
	n, err := base64.RawURLEncoding.Strict().Decode(id[:], []byte(sid))
	if err != nil || n != IDSize {
		return [IDSize]byte{}, fmt.Errorf("session ID %q is not unpadded base64url", sid)
	}
	return id, nil
}
